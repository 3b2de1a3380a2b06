"""A directory served as a bucket of S3, to be listed and read; as quick as can be, or as slow.

    python -m tests.tools.bench.bucket DIRECTORY [median-ms p99-ms]

It stands in the place of `tests.tools.bench.s3` where there must be something to find.
"""

import itertools
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import orjson
import uvloop

from receiver.errors import NotFound
from receiver.store import DirectoryStore
from tests.tools.bench.programs import BUCKET
from tests.tools.bench.s3 import COUNTS, NO_SUCH_KEY, Answer, delayed, serve

_PAGE_KEYS = 1000
_LIST = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>{}'
    "</ListBucketResult>"
)
# All that S3 says of an object, for it has to be read.
_OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2026-11-21T19:00:00.000Z</LastModified>"
    "<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag><ChecksumAlgorithm>CRC32"
    "</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class Bucket:
    """Answers what the catalog asks."""

    def __init__(self, root: Path) -> None:
        self.counts: dict[str, int] = {}
        self._store = DirectoryStore(root)

    def answer(self, method: str, url: str, body: bytes, *, only_if_absent: bool) -> Answer:
        """Return status line and body."""
        path, query = urlsplit(url)[2:4]
        if path == COUNTS:
            return b"200 OK", orjson.dumps(self.counts)
        asked = dict(parse_qsl(query))
        what = "LIST" if "list-type" in asked else method
        self.counts[what] = self.counts.get(what, 0) + 1
        if what == "LIST":
            return b"200 OK", _LIST.format("".join(self._page(asked))).encode()
        try:
            return b"200 OK", self._store.get(unquote(path).removeprefix(f"/{BUCKET}/"))
        except NotFound:
            return b"404 Not Found", NO_SUCH_KEY

    def _page(self, asked: dict[str, str]) -> "itertools.chain[str]":
        prefix = asked.get("prefix", "")
        if "delimiter" in asked:
            folders = self._store.folders(prefix)
            return itertools.chain(
                ["<IsTruncated>false</IsTruncated>"],
                (f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in folders),
            )
        after = asked.get("continuation-token", asked.get("start-after", ""))
        page = list(itertools.islice(self._store.list(prefix, after=after), _PAGE_KEYS + 1))
        more = len(page) > _PAGE_KEYS
        return itertools.chain(
            [f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"],
            [f"<NextContinuationToken>{page[-2].key}</NextContinuationToken>"] * more,
            (_OBJECT.format(escape(found.key), found.bytes) for found in page[:_PAGE_KEYS]),
        )


if __name__ == "__main__":
    uvloop.run(serve(Bucket(Path(sys.argv[1])), delayed(*map(float, sys.argv[2:]))))

"""The statements of `infra/queries/`, and an archive to run them on.

The archive has gzip and zstd side by side, objects of several members, callbacks that came twice or
have no key, and one line longer than engines accept by default.
"""

import re
from pathlib import Path

import orjson

from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver

# By default Spark reads strings of up to 20 million characters, DuckDB objects of up to 16 MiB.
LONG_BODY_BYTES = 21_000_000

_QUERIES = Path(__file__).parents[3] / "infra" / "queries"
# In the examples of `infra/queries/`.
_ARCHIVE, _DATE = "data/archive", "2026-11-21"


def queries(engine: str, archive: str = _ARCHIVE, date: str = _DATE) -> list[str]:
    """Return the statements of `infra/queries/` for DuckDB or Spark: views, then questions."""
    found = statements((_QUERIES / f"{engine.lower()}.sql").read_text())
    return [text.replace(_ARCHIVE, archive).replace(_DATE, date) for text in found]


def athena() -> list[str]:
    """Return the statements of `infra/queries/athena.sql`."""
    return statements((_QUERIES / "athena.sql").read_text())


def statements(text: str) -> list[str]:
    """Split SQL whose strings contain no semicolon or dashes; drop comments."""
    parts = (part.strip() for part in re.sub(r"--.*", "", text).split(";"))
    return [part for part in parts if part]


def write_archive(root: Path) -> Path:
    """Have two receivers, one after the other, write an archive; return its directory."""
    _write(root, compression="gzip", rounds=12, body=_long_body())
    # The same seed, so it begins with the callbacks of the first: delivered again.
    _write(root, compression="zstd", rounds=24, body=None)
    return root / "archive"


def _write(root: Path, *, compression: str, rounds: int, body: bytes | None) -> None:
    settings = {
        "RECEIVER_BATCH_BYTES": str(16 << 20),
        "RECEIVER_BATCH_SECONDS": "60",
        "RECEIVER_COMPRESSION": compression,
    }
    source = Samples(seed=17)
    with Receiver(root, settings) as receiver:
        receiver.start()
        for _ in range(rounds):
            for sample in source.of_each():
                target = receiver.path(sample.provider, sample.kind, sample.rest)
                _take(receiver, sample.method, target, sample.wire, sample.headers)
        for _ in range(2):
            _take(receiver, "POST", receiver.path("outscraper", "webhook"), b"no JSON")
        if body is not None:
            target = receiver.path("dataforseo", "postback", "?id=long&tag=long")
            _take(receiver, "POST", target, body)
        receiver.terminate()


def _long_body() -> bytes:
    items = ["\u20ac" + "x" * 997] * (LONG_BODY_BYTES // 1000)
    task = {"id": "long", "status_code": 20000, "data": {"tag": "long"}, "result": items}
    return orjson.dumps({"status_code": 20000, "tasks": [task]})


def _take(
    receiver: Receiver,
    method: str,
    target: str,
    body: bytes,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    answer = receiver.request(method, target, body, headers, seconds=60)
    assert 200 == answer.status, answer

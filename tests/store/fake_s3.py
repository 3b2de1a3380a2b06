"""A small S3 on loopback that answers as a test wants it to."""

import hashlib
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from receiver.store.s3 import S3Store

# A status with the code of an error, or with a whole body.
Answer: TypeAlias = tuple[int, str | bytes]


class FakeS3(http.server.ThreadingHTTPServer):
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FakeHandler)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.objects: dict[str, bytes] = {}
        self.refusal: Callable[[str, dict[str, str]], Answer | None] = lambda *_: None
        self.etags = True
        self.content_type = "binary/octet-stream"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _FakeHandler(http.server.BaseHTTPRequestHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect") == "100-continue":
            pass  # `handle_expect_100` has answered it
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.asked.append((self.command, headers, body))
        refused = self.server.refusal(self.command, headers)
        if refused:
            self._send(refused[0], _error(refused[1]))
        elif self.command == "PUT":
            self.server.objects[self.path] = body
            self._send(200, b"", etag=f'"{hashlib.sha256(body).hexdigest()}"')
        elif self.command == "DELETE":
            self._send(204, b"")
        elif "list-type=2" in self.path:
            self._send(200, self._listing())
        else:
            self._send(200, self.server.objects[self.path], etag='"etag"')

    def _listing(self) -> bytes:
        """Return the next three keys of `objects`, as S3 returns a thousand."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        start = int(query.get("continuation-token", ["0"])[0])
        keys = [path.removeprefix("/bucket/") for path in sorted(self.server.objects)]
        more = len(keys) > start + 3
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size></Contents>"
            for key in keys[start : start + 3]
        )
        token = f"<NextContinuationToken>{start + 3}</NextContinuationToken>" * more
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{contents}</ListBucketResult>".encode()

    do_GET = do_PUT = do_DELETE = _answer

    def _send(self, status: int, body: bytes, etag: str | None = None) -> None:
        self.send_response(status)
        if etag and self.server.etags:
            self.send_header("etag", etag)
        self.send_header("content-type", self.server.content_type)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return


def _error(said: str | bytes) -> bytes:
    if isinstance(said, bytes):
        return said
    code, _, message = said.partition(": ")
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@contextmanager
def serving() -> Iterator[FakeS3]:
    """Serve for as long as the context lasts."""
    with FakeS3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fake_store(**options: Any) -> S3Store:
    return S3Store(bucket="bucket", prefix="prefix", timeout_seconds=10, **options)

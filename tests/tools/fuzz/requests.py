"""Requests as providers make them, and what is done to one of them before it is sent.

Each change knows the structure: it is made to a method, a target, a header or the framing of a
body, and what comes out is not HTTP any more only where that is meant.
"""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.tools.fuzz import bodies
from tests.tools.support.samples import Samples

_SAMPLES = Path(__file__).parents[2] / "samples"
_SAMPLE_TOKEN = b"sample-token-0123456789"
_WIRE_BYTES_MAX = 20_000
# 1,000 headers are taken, and a head of 128 KiB.
_LONG = (1_000, 9_000, 70_000, 140_000, 300_000)

_METHODS = (
    *(b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"),
    *(b"PROPFIND", b"M-SEARCH", b"QUERY", b"PRI", b"SOURCE", b"post", b"POS", b"", b"P\x00ST"),
    *(b"POST\t", b" POST", b"\xffPOST", b"A" * 5000),
)
_VERSIONS = (
    *(b"HTTP/1.0", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/11.1", b"http/1.1"),
    *(b"RTSP/1.0", b"HTTP/1.", b"", b"HTTP/1.1 ", b"HTTP/\xff"),
)
_ODD = (
    *(b"\x00", b"\r", b"\n", b"\r\n", b"\t", b"\x1b[2J", b"\x7f", b"\x80", b"\x9b31m", b"\xff"),
    *(b"%00", b"%0d%0aX: 1", b"%2f..%2f", b"%zz", b"%", b"/../", b"//", b"#f", b" ", b"\\", b"?"),
    *(b"$id", b"'", b'"', b"<script>", b"{}", b"&&=", b"\xc3\xbc", b"\xe2\x80\xae", b"***"),
)
_NAMES = (
    *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-Crawl-Name", b"X-A"),
    *(b"", b" ", b"X A", b"X-\x00", b"X-\xff", b"X_A", b"X:", b":", b"__proto__", b"(", b"Expect"),
    *(b"Content-Encoding", b"Content-Type", b"X-Hub-Signature-256", b"X-Forwarded-Proto"),
)
_FORWARDED = (
    *(b"203.0.113.7", b"127.0.0.1", b"127.0.0.1, " * 300, b"unknown", b"[::1", b"::ffff:1.2.3.4"),
    *(b"1.2.3.4:99999999999999999999", b",,,", b"\x9b31m", b"a" * 300, b"_hidden", b"999.1.1.1"),
)
_CONNECTION = (
    *(b"close", b"keep-alive", b"Upgrade", b"upgrade, close", b"content-length", b"host", b","),
    b"HTTP2-Settings, Upgrade",
)
_LENGTHS = (
    *(b"0", b"1", b"-1", b"+2", b"0x10", b"2, 2", b"2 2", b"", b" ", b"\xb2", b"1e3", b"2.0"),
    *(b"18446744073709551615", b"18446744073709551616", b"99999999999999999999999", b"67108865"),
    b"1048577",
)
_CODINGS = (
    *(b"chunked", b"Chunked", b" chunked ", b"gzip, chunked", b"chunked, chunked", b"identity"),
    *(
        b"chunked, identity",
        b"xchunked",
        b"chunked;a=b",
        b"\x0bchunked",
        b'"chunked"',
        b"",
        b"gzip",
    ),
)


@dataclass(slots=True)
class Request:
    """A request before it is written out; ``changes`` says what was done to it."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    # Where it is set, what follows the head in place of the body.
    framed: bytes | None = None
    line_end: bytes = b"\r\n"
    changes: list[str] = field(default_factory=list)

    def written(self) -> bytes:
        """Return the bytes that are sent."""
        end = self.line_end
        head = [b" ".join(part for part in (self.method, self.target, self.version) if part)]
        head += [name + b": " + value for name, value in self.headers]
        return end.join(head) + end + end + (self.body if self.framed is None else self.framed)

    def set(self, name: bytes, value: bytes) -> None:
        """Give a header, in place of those of its name."""
        self.headers = [header for header in self.headers if header[0].lower() != name.lower()]
        self.headers.append((name, value))


def make(random: random.Random, token: bytes) -> Request:
    """Return a request of any provider, as it should be."""
    if random.random() < 0.5:
        request = random.choice(_recorded())(token)
    else:
        sample = Samples(random.getrandbits(32)).next()
        while len(sample.wire) > _WIRE_BYTES_MAX:
            sample = Samples(random.getrandbits(32)).next()
        target = f"/{sample.provider}/{sample.kind}/".encode() + token + sample.rest.encode()
        headers = [(name.encode(), value.encode("latin-1")) for name, value in sample.headers]
        request = Request(sample.method.encode(), target, b"HTTP/1.1", headers, sample.wire)
    if not any(name.lower() == b"host" for name, _ in request.headers):
        request.headers.insert(0, (b"Host", b"hooks.example.net"))
    if request.method == b"POST":
        request.set(b"Content-Length", b"%d" % len(request.body))
    return request


@functools.cache
def _recorded() -> Sequence[Callable[[bytes], Request]]:
    """Return makers of the requests under `tests/samples`."""
    folders = sorted(path.parent for path in _SAMPLES.glob("*/*/request.json"))
    assert folders
    return [functools.partial(load, folder) for folder in folders]


def load(folder: Path, token: bytes) -> Request:
    request = orjson.loads((folder / "request.json").read_bytes())
    return Request(
        method=request["method"].encode(),
        target=request["target"].encode("latin-1").replace(_SAMPLE_TOKEN, token),
        version=f"HTTP/{request.get('http_version', '1.1')}".encode(),
        headers=[(name.encode(), value.encode("latin-1")) for name, value in request["headers"]],
        body=(folder / "body").read_bytes(),
    )


# What can be done to a request.


def change(random: random.Random, request: Request) -> None:
    """Do one thing to a request."""
    made = random.choice(_CHANGES)
    made(random, request)
    request.changes.append(made.__name__.strip("_"))


def _method(random: random.Random, request: Request) -> None:
    request.method = random.choice(_METHODS)


def _version(random: random.Random, request: Request) -> None:
    request.version = random.choice(_VERSIONS)


def _target(random: random.Random, request: Request) -> None:
    target = request.target
    place = random.randrange(len(target) + 1)
    end = random.randrange(place, len(target) + 1)
    request.target = random.choice(
        (
            target[:place] + random.choice(_ODD) + target[place:],
            target[:place] + target[end:],
            target[:place] + target[place:end] * 2 + target[end:],
            target[:place]
            + b"".join(b"%%%02x" % byte for byte in target[place:end])
            + target[end:],
            target.upper(),
            target + b"&id=" + random.choice(_ODD) + b"&tag=" + random.randbytes(8),
            target + b"&" + b"a" * random.choice(_LONG),
            b"http://hooks.example.net" + target,
            random.choice(
                (b"*", b"/", b"", b"//", b"hooks.example.net:443", b"/metrics", b"/readyz")
            ),
            target.partition(b"?")[0] + b"/" + b"x/" * random.randrange(500),
        )
    )


def _header(random: random.Random, request: Request) -> None:
    value = random.choice((random.choice(_ODD), random.randbytes(12), b"a", b""))
    header = (random.choice(_NAMES), value)
    request.headers.insert(random.randrange(len(request.headers) + 1), header)


def _long_header(random: random.Random, request: Request) -> None:
    length = random.choice(_LONG)
    header = random.choice(((b"X-Long", b"a" * length), (b"X" * length, b"a")))
    request.headers.append(header)


def _many_headers(random: random.Random, request: Request) -> None:
    count = random.choice((100, 900, 1100, 20_000))
    request.headers += [(b"X-%d" % (number % 7), b"") for number in range(count)]


def _repeated_header(random: random.Random, request: Request) -> None:
    if request.headers:
        name, value = random.choice(request.headers)
        request.headers.append((name, random.choice((value, value + b"1", b"x"))))


def _folded_header(random: random.Random, request: Request) -> None:
    request.headers.append((b"X-Folded", random.choice((b"a\r\n b", b"a\r\n\tContent-Length: 1"))))


def _no_host(random: random.Random, request: Request) -> None:
    request.headers = [header for header in request.headers if header[0].lower() != b"host"]


def _forwarded(random: random.Random, request: Request) -> None:
    request.headers.append((b"X-Forwarded-For", random.choice(_FORWARDED)))


def _connection(random: random.Random, request: Request) -> None:
    request.set(b"Connection", random.choice(_CONNECTION))
    if random.random() < 0.6:
        request.set(b"Upgrade", random.choice((b"websocket", b"h2c", b"TLS/1.0", b"")))


def _expectation(random: random.Random, request: Request) -> None:
    request.set(b"Expect", random.choice((b"100-continue", b"100-Continue", b"200-ok", b"")))


def _length(random: random.Random, request: Request) -> None:
    right = len(request.body)
    wrong = (b"%d" % (right + random.choice((-2, -1, 1, 2, 900))), *_LENGTHS)
    zeros = b"0" * random.choice((1, 30, 5000)) + b"%d" % right
    request.set(b"Content-Length", random.choice((*wrong, zeros)))


def _no_length(random: random.Random, request: Request) -> None:
    request.headers = [h for h in request.headers if h[0].lower() != b"content-length"]


def _both_lengths(random: random.Random, request: Request) -> None:
    request.framed = _in_chunks(random, request.body)
    place = random.randrange(len(request.headers) + 1)
    request.headers.insert(place, (b"Transfer-Encoding", random.choice(_CODINGS)))


def _chunked(random: random.Random, request: Request) -> None:
    _no_length(random, request)
    request.headers.append((b"Transfer-Encoding", b"chunked"))
    request.framed = _in_chunks(random, request.body)


def _odd_chunks(random: random.Random, request: Request) -> None:
    _no_length(random, request)
    request.headers.append((b"Transfer-Encoding", random.choice(_CODINGS)))
    framed = bytearray(_in_chunks(random, request.body))
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(framed) + 1)
        framed[place:place] = random.choice(
            (b"\r\n", b"\n", b"0\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b";a=" + b"b" * 9000)
        )
    request.framed = bytes(framed)


def _in_chunks(random: random.Random, body: bytes) -> bytes:
    """Write a body in chunks of any size, with extensions, zeros and trailers as they may be."""
    written = b""
    while body:
        size = random.choice((1, 7, 100, 5000, 70_000))
        piece, body = body[:size], body[size:]
        spelled = b"%x" % len(piece) if random.random() < 0.7 else b"%05X" % len(piece)
        extension = random.choice((b"", b"", b"", b";a", b';name="value"', b";a=b;c"))
        written += spelled + extension + b"\r\n" + piece + b"\r\n"
    trailer = random.choice(
        (b"", b"", b"X-T: 1\r\n", b"Content-Length: 5\r\n", b"Host: b\r\n" * 99)
    )
    return written + b"0\r\n" + trailer + b"\r\n"


def _body(random: random.Random, request: Request) -> None:
    request.body = bodies.make(random, request.body or bodies.small_sample(random))
    if request.framed is None:
        request.set(b"Content-Length", b"%d" % len(request.body))


def _coding_of_content(random: random.Random, request: Request) -> None:
    request.set(b"Content-Encoding", random.choice((b"gzip", b"br", b"gzip, gzip", b"\xff", b"")))


def _large_body(random: random.Random, request: Request) -> None:
    request.body = b" " * random.choice((65_535, 65_537, 300_000, 1 << 20, (1 << 20) + 1))
    request.set(b"Content-Length", b"%d" % len(request.body))


def _line_ends(random: random.Random, request: Request) -> None:
    request.line_end = random.choice((b"\n", b"\r", b"\n\r", b"\r\r\n"))


_CHANGES = (
    *(_method, _version, _target, _target, _target, _header, _header, _header, _long_header),
    *(_many_headers, _repeated_header, _folded_header, _no_host, _forwarded, _connection),
    *(_expectation, _length, _length, _no_length, _both_lengths, _chunked, _chunked, _odd_chunks),
    *(_odd_chunks, _body, _body, _body, _body, _coding_of_content, _large_body, _line_ends),
)

"""Bodies that a careless decoder stumbles over."""

import gzip
import random
import zlib
from collections.abc import Callable

from tests.tools.support.samples import Samples

_MEBI = 1 << 20
_NUMBERS = (b"1" * 5000, b"-0", b"1e400", b"1E-400", b"0.1", b"18446744073709551616", b"NaN")
_STRINGS = (
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\\u001b[2J"', b'"\\u009b2J"'),
    *(b'"\xed\xa0\x80"', b'"\xff"', b'"../../etc/passwd"', b'"a/../../b"', b'"\\u202e\\n"'),
    *(b'"%00%2e%2e"', b'"' + b"x" * 70_000 + b'"', b'""'),
)
_VALUES = (*_NUMBERS, *_STRINGS, b"null", b"true", b"[]", b"{}", b"[[1]]", b'{"id":1}')
_NAMES = (
    *(b"id", b"tasks", b"status_code", b"data", b"tag", b"postback_data", b"result"),
    *(b"name", b"type", b"jobStatus", b"status", b"jobs", b"roundsCompleted", b"\\u0069d", b""),
)


def make(random: random.Random, sample: bytes) -> bytes:
    """Return a body: a provider's own, changed, or one that means harm."""
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: _json(random),
        lambda: _json(random),
        lambda: _flipped(random, sample),
        lambda: sample[: random.randrange(len(sample) + 1)],
        lambda: sample + random.randbytes(random.randrange(40)),
        lambda: _deep(random),
        lambda: gzip.compress(_json(random), 1),
        lambda: gzip.compress(gzip.compress(sample, 1), 1),
        lambda: gzip.compress(sample, 1)[: random.randrange(30)],
        lambda: _flipped(random, gzip.compress(sample, 1)),
        lambda: gzip.compress(sample, 1) + random.choice((bytes(8), b"\x1f\x8b", b"{}")),
        lambda: gzip.compress(b"") * random.randrange(200),
        lambda: b"\x1f\x8b" + random.randbytes(random.randrange(200)),
        lambda: random.randbytes(random.randrange(2000)),
        lambda: zlib.compress(sample),
        lambda: random.choice((b"", b"\x00", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b" " * 99)),
    )
    if random.random() < 0.003:
        return bomb(random.randrange(1, 40))
    return random.choice(makers)()


def small_sample(random: random.Random) -> bytes:
    """Return a provider's body of a few kilobytes."""
    samples = Samples(random.getrandbits(32))
    maker = random.choice((samples.notification, samples.webhook, samples.odd_postback))
    return maker().content


def bomb(mebibytes: int) -> bytes:
    """Return gzip of so many mebibytes of zeros."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = [compressor.compress(bytes(_MEBI)) for _ in range(mebibytes)]
    return b"".join((*parts, compressor.flush()))


def _json(random: random.Random) -> bytes:
    """Return an object with names that mean something and values that do not fit."""
    return _object(random, 3)


def _object(random: random.Random, depth: int) -> bytes:
    fields = (
        b'"%s":%s' % (random.choice(_NAMES), _value(random, depth))
        for _ in range(random.randrange(1, 5))
    )
    return b"{" + b",".join(fields) + b"}"


def _value(random: random.Random, depth: int) -> bytes:
    if depth and random.random() < 0.5:
        inner = _object(random, depth - 1)
        return b"[" + inner + b"]" if random.random() < 0.5 else inner
    return random.choice(_VALUES)


def _deep(random: random.Random) -> bytes:
    depth = random.choice((100, 1000, 1500, 30_000))
    beginning = random.choice((b"", b'{"tasks":', b'{"tasks":[{"data":', b'{"jobs":'))
    return beginning + random.choice((b"[", b'{"jobs":', b'{"tasks":[')) * depth


def _flipped(random: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randrange(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)

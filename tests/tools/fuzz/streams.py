"""What one connection carries: requests, one after the other, or what was never a request.

A stream follows from a seed and its number alone, so that one can be sent again by itself.
"""

import random
from dataclasses import dataclass
from typing import Literal

from tests.tools.fuzz import requests

_INTERESTING = (b"\x00", b"\r", b"\n", b":", b" ", b"%", b"\xff", b"\t", b";", b"0", b"\r\n\r\n")
_TLS_HELLO = bytes.fromhex("16030100c4010000c00303") + bytes(range(32)) + bytes(160)
_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FOREIGN = (
    *(_TLS_HELLO, _HTTP_2, _HTTP_2 + bytes.fromhex("000000040000000000")),
    *(b"SSH-2.0-OpenSSH_9.2\r\n", b"\x05\x01\x00", b"\x04\x01\x00P\x00\x00\x00\x01\x00"),
    *(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)),
    *(b"EHLO a\r\n", b"\x00" * 500, b"\r\n" * 500, b"\n" * 70_000, b"", b"\x80\x2e\x01\x03\x01"),
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x85",
)

# How the client goes: it waits for its answers, closes, or resets.
Ending = Literal["waits", "closes", "resets"]


@dataclass(frozen=True, slots=True)
class Stream:
    """What is sent on one connection, and how: in pieces, and to which end."""

    number: int
    pieces: tuple[bytes, ...]
    ending: Ending
    changes: tuple[str, ...]
    # How many requests it began as.
    requests: int

    @property
    def content(self) -> bytes:
        """All that is sent."""
        return b"".join(self.pieces)


def make(seed: int, number: int, token: str) -> Stream:
    """Return a stream by its number."""
    random_ = random.Random(f"{seed}/{number}")
    content, changes, count = _content(random_, token.encode())
    if random_.random() < 0.15:
        content = _damaged(random_, content)
        changes.append("bytes")
    ending: Ending = "waits"
    if random_.random() < 0.1:
        ending = "closes" if random_.random() < 0.5 else "resets"
        if random_.random() < 0.7:
            content = content[: random_.randrange(len(content) + 1)]
            changes.append("cut short")
    return Stream(number, tuple(_pieces(random_, content)), ending, tuple(changes), count)


def _content(random: random.Random, token: bytes) -> tuple[bytes, list[str], int]:
    if random.random() < 0.03:
        first = random.choice(_FOREIGN)
        follows = requests.make(random, token).written() if random.random() < 0.5 else b""
        return first + follows, ["foreign"], 1
    count = random.choice((2, 3, 5, 15, 18)) if random.random() < 0.06 else 1
    made = [requests.make(random, token) for _ in range(count)]
    changes = ["pipelined"] if count > 1 else []
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3))):
        request = random.choice(made)
        requests.change(random, request)
        changes.append(request.changes[-1])
    return b"".join(request.written() for request in made), changes, count


def _damaged(random: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    # Mostly in the head, where each byte means something.
    head = content.find(b"\r\n\r\n") + 4 if random.random() < 0.8 else 0
    for _ in range(random.randrange(1, 4)):
        place = random.randrange((head or len(damaged)) + 1)
        end = min(len(damaged), place + random.randrange(1, 20))
        how = random.randrange(5)
        if how == 0:
            damaged[place:place] = random.choice(_INTERESTING)
        elif how == 1:
            damaged[place : place + 1] = random.choice(_INTERESTING)
        elif how == 2:
            damaged[place:end] = b""
        elif how == 3:
            damaged[place:place] = damaged[place:end]
        else:
            damaged[place : place + 1] = random.randbytes(1)
    return bytes(damaged)


def _pieces(random: random.Random, content: bytes) -> list[bytes]:
    if random.random() < 0.8 or len(content) < 2:
        return [content]
    if random.random() < 0.2:
        # The beginning byte by byte.
        single = min(random.randrange(1, 120), len(content))
        return [content[at : at + 1] for at in range(single)] + [content[single:]]
    places = sorted(random.sample(range(1, len(content)), min(len(content) - 1, 3)))
    ends = [*places, len(content)]
    return [content[start:end] for start, end in zip([0, *places], ends, strict=True)]

"""The stored record of one delivery: its bytes as they came, and when, how and from whom they came.

The head of a spool record is two lines of JSON, each an array in a fixed order:

    [delivery_id, received_at_us, provider, kind, origin, peer, instance]
    [method, target, [[name, value], …]]

The second line is the sender's text.  The token of the URL is replaced by ``***`` everywhere in it,
because proxies repeat the target in headers of their own.  Targets and headers are bytes on the
wire; they are kept as text in ISO 8859-1, which loses nothing (RFC 9110 §5.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import orjson

REDACTED = "***"

# Up to the end of the year 9999, the last year that a partition's name can hold.
_Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
_OURS = msgspec.json.Decoder(tuple[str, _Moment, str, str, str, str | None, str])
_THEIRS = msgspec.json.Decoder(tuple[str, str, list[tuple[str, str]]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One delivery.  ``body`` is the body as it came over the wire, undecoded."""

    delivery_id: str
    received_at_us: int
    provider: str
    kind: str
    origin: str
    peer: str | None
    instance: str
    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of the header with this lower-case name."""
        return next((value for known, value in self.headers if known == name), None)


def encode_head(
    ours: Sequence[str | int | None],
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    secret: bytes = b"",
) -> bytes:
    """Return the head of a spool record; ``ours`` is its first line, in order.

    ``secret`` is redacted wherever the request repeats it.  It must be URL-safe, so that JSON never
    escapes it and no other text looks like it.
    """
    theirs = _ascii(method, target, headers) or orjson.dumps(
        (
            method,
            target.decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
        )
    )
    if secret:
        theirs = theirs.replace(secret, REDACTED.encode())
    return orjson.dumps(ours) + b"\n" + theirs


def _ascii(method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the second line for a request that is all ASCII, None for another.

    Nearly all are, and Python decodes its default encoding in half the time of any other.
    """
    try:
        pairs = [(name.decode(), value.decode()) for name, value in headers]
        theirs = orjson.dumps((method, target.decode(), pairs))
    except UnicodeDecodeError:
        return None
    return theirs if theirs.isascii() else None


def received_at_us(head: bytes) -> int:
    """Return the time of arrival in a record's head.  Raises `ValueError`."""
    return _OURS.decode(head.partition(b"\n")[0])[1]


def decode(head: bytes, body: bytes) -> Envelope:
    """Return the envelope of a spool record.

    Raises `ValueError` if the head is not one that `encode_head` wrote.
    """
    ours, _, theirs = head.partition(b"\n")
    delivery_id, received_at_us, provider, kind, origin, peer, instance = _OURS.decode(ours)
    method, target, headers = _THEIRS.decode(theirs)
    return Envelope(
        delivery_id=delivery_id,
        received_at_us=received_at_us,
        provider=provider,
        kind=kind,
        origin=origin,
        peer=peer,
        instance=instance,
        method=method,
        target=target,
        headers=headers,
        body=body,
    )

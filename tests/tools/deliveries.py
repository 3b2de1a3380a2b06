"""Deliveries and segment files for tests, made as the door and the writer make them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from receiver import clock
from receiver.providers.envelope import Envelope, decode, encode_head
from receiver.spool import segment

# 2026-11-21 19:59:59.5 UTC: half a second before an hour and its partition end.
AT_US = 1_795_291_199_500_000
HOUR_US = 3_600_000_000


def head_of(
    delivery_id: str | None = None,
    *,
    at_us: int = AT_US,
    provider: str = "dataforseo",
    kind: str = "postback",
    origin: str = "callback",
    peer: str | None = "192.0.2.7",
    method: str = "POST",
    target: str = "/dataforseo/postback/***?id=task-1&tag=try",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return the head of a record."""
    ours = (delivery_id or clock.new_id(at_us), at_us, provider, kind, origin, peer, "tests")
    wire = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return encode_head(ours, method, target.encode("latin-1"), wire)


def envelope_of(body: bytes = b"", head: bytes | None = None) -> Envelope:
    """Return the envelope of one delivery."""
    return decode(head or head_of(), body)


def framed(process: str, records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return heads and bodies as the records that a process writes."""
    marker = segment.marker_of(process)
    return b"".join(segment.frame(marker, head, [body]) + body for head, body in records)


def segment_file(
    root: Path,
    records: Iterable[tuple[bytes, bytes]],
    *,
    process: str | None = None,
    number: int = 0,
    suffix: str = segment.SEALED,
) -> Path:
    """Write a segment of a process that is dead into a spool."""
    process = process or clock.new_id(AT_US)
    directory = root / process
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{segment.name_of(process, number)}{suffix}"
    path.write_bytes(framed(process, records))
    return path

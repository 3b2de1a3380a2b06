"""Reading the archive back: index entries, members, lines."""

from collections.abc import Iterator

import msgspec
import zstandard
from isal import isal_zlib

from receiver.errors import Damaged
from receiver.store import Store


class Columns(msgspec.Struct, frozen=True, gc=False):
    """What a line and its index entry both say of a callback."""

    delivery_id: str
    provider: str
    kind: str
    origin: str
    task_id: str | None
    tag: str | None
    key: str | None
    status: str | None
    received_at: str
    body_bytes: int
    invalid: str | None


class Entry(Columns, frozen=True, gc=False):
    """A line of the index: what a callback is, and where its line stands."""

    segment: str
    position: int
    of: int
    object: str
    member_offset: int
    member_bytes: int
    line_offset: int
    line_bytes: int


_ENTRY = msgspec.json.Decoder(Entry)


def entries(content: bytes) -> list[Entry]:
    """Return the entries of an index object.

    Raises `Damaged` if it is damaged.
    """
    try:
        return _ENTRY.decode_lines(inflate(content, gzip=True))
    except msgspec.MsgspecError as exc:
        raise Damaged(f"an index object is damaged: {exc}") from exc


def inflate(member: bytes, *, gzip: bool) -> bytes:
    """Return what one or several members hold.

    Raises `Damaged` if they are damaged or cut short.
    """
    return b"".join(_inflate(member, gzip=gzip))


def line(store: Store, entry: Entry) -> bytes:
    """Return an entry's line, without its newline, by one ranged read.

    Raises `Damaged` if it is not there.
    """
    member = store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
    content = inflate(member, gzip=entry.object.endswith(".gz"))
    found = content[entry.line_offset : entry.line_offset + entry.line_bytes]
    if len(found) != entry.line_bytes:
        raise Damaged(f"{entry.object} does not hold what its index says")
    return found


def _inflate(content: bytes, *, gzip: bool) -> Iterator[bytes]:
    while content:
        held, content = _first_member(content) if gzip else _first_frame(content)
        yield held


def _first_member(content: bytes) -> tuple[bytes, bytes]:
    """Return what the first gzip member holds, and what follows it."""
    member = isal_zlib.decompressobj(31)
    try:
        held = member.decompress(content)
    except isal_zlib.error as exc:  # type: ignore[misc] # typed as a value
        raise Damaged(f"a member is damaged: {exc}") from exc
    if not member.eof:
        raise Damaged("a member is cut short")
    return held, member.unused_data


def _first_frame(content: bytes) -> tuple[bytes, bytes]:
    """Return what the first zstd frame holds, and what follows it."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        held = frame.decompress(content)
    except zstandard.ZstdError as exc:
        raise Damaged(f"a frame is damaged: {exc}") from exc
    if not frame.eof:
        raise Damaged("a frame is cut short")
    return held, frame.unused_data

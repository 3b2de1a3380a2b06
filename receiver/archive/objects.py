"""The objects of one segment, built in memory.

What is held is compressed and about as large as the segment, besides one step of one body.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import orjson
import zstandard
from isal import isal_zlib

from receiver.archive import line
from receiver.archive.body import Body
from receiver.archive.keys import callbacks_key, index_key
from receiver.providers import Recognised
from receiver.providers.envelope import Envelope

MEMBER_BYTES = 256 << 10
# isal's level 1 costs what level 0 costs and saves a sixth of the bytes.
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_ZSTD_LEVEL = 3


class Compression(Protocol):
    """How members are made: each can be read alone, and one after the other all together."""

    @property
    def suffix(self) -> str:
        """The end of an object's key."""
        ...

    def member(self, content: bytes) -> bytes:
        """Return content as one member."""
        ...

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield one member made of pieces."""
        ...


class _Gzip:
    suffix = ".jsonl.gz"

    def member(self, content: bytes) -> bytes:
        return isal_zlib.compress(content, _GZIP_LEVEL, _GZIP_WINDOW)

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
        for piece in pieces:
            yield compressor.compress(piece)
        yield compressor.flush()


class _Zstd:
    suffix = ".jsonl.zst"

    def member(self, content: bytes) -> bytes:
        return _zstd().compress(content)

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        compressor = _zstd().compressobj()
        for piece in pieces:
            yield compressor.compress(piece)
        yield compressor.flush()


def _zstd() -> zstandard.ZstdCompressor:
    # Without its checksum, which gzip always has, a frame that was damaged inflates to nonsense.
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)


COMPRESSIONS: Mapping[str, Compression] = {"gzip": _Gzip(), "zstd": _Zstd()}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line went, apart from its member, which is known later."""

    # The line's place in the index, and how its entry begins there.
    position: int
    entry: bytes
    line_offset: int
    line_bytes: int


# An entry of the index, encoded: before and behind the number of lines, which is known last.  As
# dicts a segment of small callbacks would take fifty times its size.
_Entry: TypeAlias = tuple[bytes, bytes]


class _Object:
    """One callbacks object while it grows."""

    def __init__(self, key: str, compression: Compression, entries: list[_Entry]) -> None:
        self.key = key
        self._entries = entries
        self._compression = compression
        self._members: list[bytes] = []
        self._bytes = 0
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._places: list[_Place] = []

    def add(self, content: bytes, position: int, entry: bytes) -> None:
        if self._lines and self._lines_bytes + len(content) > MEMBER_BYTES:
            self._close_member()
        self._places.append(_Place(position, entry, self._lines_bytes, len(content) - 1))
        self._lines.append(content)
        self._lines_bytes += len(content)

    def add_pieces(self, pieces: Iterator[bytes], position: int, entry: bytes) -> None:
        """Add a long line, as a member of its own."""
        self._close_member()
        length = 0

        def counted() -> Iterator[bytes]:
            nonlocal length
            for piece in pieces:
                length += len(piece)
                yield piece

        member = b"".join(self._compression.stream(counted()))
        self._places.append(_Place(position, entry, 0, length - 1))
        self._finish(member)

    def content(self) -> bytes:
        self._close_member()
        return b"".join(self._members)

    def _close_member(self) -> None:
        if self._lines:
            self._finish(self._compression.member(b"".join(self._lines)))
            self._lines.clear()
            self._lines_bytes = 0

    def _finish(self, member: bytes) -> None:
        for place in self._places:
            rest = {
                "object": self.key,
                "member_offset": self._bytes,
                "member_bytes": len(member),
                "line_offset": place.line_offset,
                "line_bytes": place.line_bytes,
            }
            self._entries[place.position] = (
                place.entry,
                orjson.dumps(rest, option=orjson.OPT_APPEND_NEWLINE)[1:],
            )
        self._places.clear()
        self._members.append(member)
        self._bytes += len(member)


class SegmentObjects:
    """Turns the records of one segment into the objects of the archive."""

    def __init__(self, segment: str, compression: Compression) -> None:
        self._segment = segment
        self._compression = compression
        self._objects: dict[str, _Object] = {}
        self._entries: list[_Entry] = []
        self._first_at_us: int | None = None
        # Provider and reason of every record that is not as expected.
        self.invalid: list[tuple[str, str]] = []

    @property
    def partitions(self) -> int:
        """How many callbacks objects it has become so far."""
        return len(self._objects)

    @property
    def records(self) -> int:
        """How many records were added."""
        return len(self._entries)

    @property
    def delivery_ids(self) -> frozenset[str]:
        """The records that were added."""
        # Not kept beside the entries, for it is seldom asked for.
        return frozenset(orjson.loads(before + b"}")["delivery_id"] for before, _ in self._entries)

    @property
    def index_key(self) -> str:
        """Where the index goes."""
        return index_key(self._segment, first_at_us=self._first_at_us)

    def add(self, envelope: Envelope, body: Body, recognised: Recognised) -> None:
        """Add a record; its position is the order of these calls."""
        if self._first_at_us is None:
            self._first_at_us = envelope.received_at_us
        key = callbacks_key(
            self._segment,
            received_at_us=envelope.received_at_us,
            provider=envelope.provider,
            kind=envelope.kind,
            suffix=self._compression.suffix,
        )
        growing = self._objects.get(key)
        if growing is None:
            growing = self._objects[key] = _Object(key, self._compression, self._entries)
        before, behind = line.columns(envelope, body, recognised)
        entry = {
            name: before[name]
            for name in (
                "delivery_id",
                "provider",
                "kind",
                "origin",
                "task_id",
                "tag",
                "key",
                "status",
                "received_at",
            )
        }
        entry |= {
            "body_bytes": behind["body_bytes"],
            "invalid": behind["invalid"],
            "segment": self._segment,
            "position": len(self._entries),
        }
        if behind["invalid"]:
            self.invalid.append((envelope.provider, behind["invalid"]))
        position = len(self._entries)
        encoded = orjson.dumps(entry)[:-1]
        self._entries.append((encoded, b""))
        if body.whole:
            growing.add(line.whole(before, body, behind), position, encoded)
        else:
            growing.add_pieces(line.pieces(before, body, behind), position, encoded)

    def callbacks(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every callbacks object; each is given up as it is yielded."""
        while self._objects:
            key = next(iter(self._objects))
            yield key, self._objects.pop(key).content()

    def index(self) -> tuple[str, bytes]:
        """Return key and content of the index; only after all of `callbacks` was yielded."""
        assert not self._objects
        count = b',"of":%d,' % len(self._entries)
        lines = [before + count + behind for before, behind in self._entries]
        content = COMPRESSIONS["gzip"].member(b"".join(lines))
        return self.index_key, content

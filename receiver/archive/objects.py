"""The objects of one segment, built in memory.

What is held is compressed and about as large as the segment, besides one step of one body.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import zstandard
from isal import isal_zlib

from receiver.archive import line
from receiver.archive.keys import callbacks_key, index_key
from receiver.body import Body
from receiver.envelope import Envelope
from receiver.providers import Recognised

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
        """Return content as one member; the same bytes for the same content."""
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
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(content)

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        for piece in pieces:
            yield compressor.compress(piece)
        yield compressor.flush()


COMPRESSIONS: Mapping[str, Compression] = {"gzip": _Gzip(), "zstd": _Zstd()}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line went, apart from its member, which is known later."""

    entry: dict[str, Any]
    line_offset: int
    line_bytes: int


class _Object:
    """One callbacks object while it grows."""

    def __init__(self, key: str, compression: Compression) -> None:
        self.key = key
        self._compression = compression
        self._members: list[bytes] = []
        self._bytes = 0
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._places: list[_Place] = []

    def add(self, content: bytes, entry: dict[str, Any]) -> None:
        if self._lines and self._lines_bytes + len(content) > MEMBER_BYTES:
            self._close_member()
        self._places.append(_Place(entry, self._lines_bytes, len(content) - 1))
        self._lines.append(content)
        self._lines_bytes += len(content)

    def add_pieces(self, pieces: Iterator[bytes], entry: dict[str, Any]) -> None:
        """Add a long line, as a member of its own."""
        self._close_member()
        length = 0

        def counted() -> Iterator[bytes]:
            nonlocal length
            for piece in pieces:
                length += len(piece)
                yield piece

        member = b"".join(self._compression.stream(counted()))
        self._places.append(_Place(entry, 0, length - 1))
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
            place.entry.update(
                object=self.key,
                member_offset=self._bytes,
                member_bytes=len(member),
                line_offset=place.line_offset,
                line_bytes=place.line_bytes,
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
        self._entries: list[dict[str, Any]] = []
        self._first_at_us: int | None = None

    @property
    def records(self) -> int:
        """How many records were added."""
        return len(self._entries)

    @property
    def invalid(self) -> list[tuple[str, str]]:
        """Provider and reason of every record that is not as expected."""
        return [
            (entry["provider"], entry["invalid"]) for entry in self._entries if entry["invalid"]
        ]

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
            growing = self._objects[key] = _Object(key, self._compression)
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
        self._entries.append(entry)
        if body.whole:
            growing.add(line.whole(before, body, behind), entry)
        else:
            growing.add_pieces(line.pieces(before, body, behind), entry)

    def callbacks(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every callbacks object; each is given up as it is yielded."""
        while self._objects:
            key = next(iter(self._objects))
            yield key, self._objects.pop(key).content()

    def index(self) -> tuple[str, bytes]:
        """Return key and content of the index; only after all of `callbacks` was yielded."""
        assert not self._objects
        lines = []
        for entry in self._entries:
            place = {
                name: entry.pop(name)
                for name in ("object", "member_offset", "member_bytes", "line_offset", "line_bytes")
            }
            lines.append(
                orjson.dumps(
                    entry | {"of": len(self._entries)} | place,
                    option=orjson.OPT_APPEND_NEWLINE,
                )
            )
        content = COMPRESSIONS["gzip"].member(b"".join(lines))
        return index_key(self._segment, first_at_us=self._first_at_us), content

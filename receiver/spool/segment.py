"""A segment: one file of the spool, written once from front to back.

    segment  = record*
    record   = marker        8 bytes   of the spool directory, see `marker_of`
               head_bytes    uint32    little-endian, like all numbers here
               body_bytes    uint32
               content_crc   uint32    CRC-32 (ISO 3309) of head and body
               header_crc    uint32    CRC-32 of the 20 bytes before it
               head          see `envelope`
               body          as it came

The file's name is ``<process id>-<number>``: a UUIDv7, and a number that counts from 0 without
gaps.  Its suffix is its state:

    .open   being written by the one process that holds its directory's lock
    .seg    sealed: complete, synced, never changed again
    .torn   set aside by its writer after a failed write or sync

Damage does not end the reading.  A record that is complete but fails a checksum is `Damage`, and
the reader goes on at the next valid header behind it.  The end of a file that was not sealed may
never have been written completely, and so was never acknowledged: a record that runs past the end
of the file, or zeros that the file system left, is `Torn`.

The marker is derived from the process's random id, which no sender knows, so a body cannot
contain bytes that a reader would take for a record.
"""

import hashlib
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from isal import isal_zlib

from receiver import clock

OPEN, SEALED, TORN = ".open", ".seg", ".torn"
SUFFIXES = (OPEN, SEALED, TORN)

_FIELDS = struct.Struct("<8sIII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size
_SEARCH_BYTES = 1 << 20
_NAME = re.compile(rf"({clock.ID})-(0|[1-9][0-9]{{0,17}})")


class Name(NamedTuple):
    """The parts of a segment's name."""

    process: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A complete record; ``head`` and ``body`` passed their checksum."""

    offset: int
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that were written completely and are not a record now."""

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Torn:
    """The incomplete end of a file that was not sealed; nothing in it was acknowledged."""

    offset: int
    end: int


def name_of(process: str, number: int) -> str:
    """Return a segment's name."""
    return f"{process}-{number}"


def parse(name: str) -> Name | None:
    """Return the parts of a segment's name, exactly as `name_of` wrote it; None for other text."""
    found = _NAME.fullmatch(name)
    return found and Name(found[1], int(found[2]))


def process_of(name: str) -> str:
    """Return the id of the process that wrote a segment.  Raises `ValueError`, see `parse`."""
    return _parsed(name).process


def number_of(name: str) -> int:
    """Return a segment's number.  Raises `ValueError`, see `parse`."""
    return _parsed(name).number


def _parsed(name: str) -> Name:
    parts = parse(name)
    if parts is None:
        raise ValueError(f"not the name of a segment: {name}")
    return parts


def marker_of(process: str) -> bytes:
    """Return the marker of all records that a process writes."""
    return hashlib.blake2b(process.encode(), digest_size=8, person=b"segment1").digest()


def frame(marker: bytes, head: bytes, chunks: Sequence[bytes]) -> bytes:
    """Return a record's header and head; the chunks of its body must be written after them."""
    crc = isal_zlib.crc32(head)
    body_bytes = 0
    for chunk in chunks:
        crc = isal_zlib.crc32(chunk, crc)
        body_bytes += len(chunk)
    fields = _FIELDS.pack(marker, len(head), body_bytes, crc)
    return b"".join((fields, _CRC.pack(isal_zlib.crc32(fields)), head))


def read(path: Path) -> Iterator[Record | Damage | Torn]:
    """Yield the parts of a segment file, front to back, with one record in memory at a time.

    Together they cover every byte of the file as it was when reading began.  Raises `OSError` if
    the file cannot be read.
    """
    fd = _open(path)
    try:
        yield from _Reader(fd, _marker_in(path), sealed=path.suffix == SEALED).parts()
    except OSError as exc:
        exc.filename = str(path)
        raise
    finally:
        os.close(fd)


def heads(path: Path) -> Iterator[bytes]:
    """Yield the heads of a segment's records without checking them or reading their bodies."""
    fd = _open(path)
    try:
        yield from _Reader(fd, _marker_in(path), sealed=False).heads()
    finally:
        os.close(fd)


def first_head(path: Path) -> bytes | None:
    """Return the unchecked head of a segment's first record; None if it has no valid header."""
    fd = _open(path)
    try:
        return _Reader(fd, _marker_in(path), sealed=path.suffix == SEALED).first_head()
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    # A link would have another file archived, or put into quarantine, as what it is not.
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _marker_in(path: Path) -> bytes:
    # Not `parse`: a stray file is read as well, and holds no record with such a marker.
    return marker_of(path.stem.rpartition("-")[0])


class _Reader:
    """Reads one segment file by position, so that a writer may append meanwhile."""

    def __init__(self, fd: int, marker: bytes, *, sealed: bool) -> None:
        self._fd = fd
        self._marker = marker
        self._sealed = sealed
        self._size = os.fstat(fd).st_size

    def parts(self) -> Iterator[Record | Damage | Torn]:
        offset = 0
        while offset < self._size:
            sizes = self._header(offset)
            if sizes is None:
                following = self._next_header(offset + 1)
                yield self._end(offset) if following is None else Damage(offset, following)
                offset = self._size if following is None else following
                continue
            head_bytes, body_bytes, crc = sizes
            end = offset + HEADER_BYTES + head_bytes + body_bytes
            if end > self._size:
                yield self._cut(offset)
                return
            head = os.pread(self._fd, head_bytes, offset + HEADER_BYTES)
            body = _pread_all(self._fd, body_bytes, offset + HEADER_BYTES + head_bytes)
            if isal_zlib.crc32(body, isal_zlib.crc32(head)) == crc:
                yield Record(offset, head, body)
            else:
                yield Damage(offset, end)
            offset = end

    def first_head(self) -> bytes | None:
        # A damaged header could claim gigabytes, so its checksum comes first.
        sizes = self._header(0)
        return None if sizes is None else os.pread(self._fd, sizes[0], HEADER_BYTES)

    def heads(self) -> Iterator[bytes]:
        offset = 0
        while offset < self._size:
            sizes = self._header(offset)
            if sizes is None:
                following = self._next_header(offset + 1)
                offset = self._size if following is None else following
                continue
            head_bytes, body_bytes, _ = sizes
            if offset + HEADER_BYTES + head_bytes + body_bytes <= self._size:
                yield os.pread(self._fd, head_bytes, offset + HEADER_BYTES)
            offset += HEADER_BYTES + head_bytes + body_bytes

    def _header(self, offset: int) -> tuple[int, int, int] | None:
        header = os.pread(self._fd, HEADER_BYTES, offset)
        if len(header) < HEADER_BYTES:
            return None
        marker, head_bytes, body_bytes, crc = _FIELDS.unpack_from(header)
        if marker != self._marker:
            return None
        if _CRC.unpack_from(header, _FIELDS.size)[0] != isal_zlib.crc32(header[: _FIELDS.size]):
            return None
        return head_bytes, body_bytes, crc

    def _next_header(self, start: int) -> int | None:
        """Return the offset of the next valid header, or None."""
        overlap = len(self._marker) - 1
        while start < self._size:
            window = os.pread(self._fd, _SEARCH_BYTES + overlap, start)
            found = window.find(self._marker)
            while found >= 0:
                if self._header(start + found) is not None:
                    return start + found
                found = window.find(self._marker, found + 1)
            start += _SEARCH_BYTES
        return None

    def _end(self, offset: int) -> Damage | Torn:
        """Tell whether a rest without a valid header was never written or is damaged."""
        if self._size - offset < HEADER_BYTES or self._is_zero(offset):
            return self._cut(offset)
        return Damage(offset, self._size)

    def _cut(self, offset: int) -> Damage | Torn:
        # A sealed file was complete, so bytes that it lacks were lost later.
        return Damage(offset, self._size) if self._sealed else Torn(offset, self._size)

    def _is_zero(self, offset: int) -> bool:
        while offset < self._size:
            if os.pread(self._fd, _SEARCH_BYTES, offset).strip(b"\0"):
                return False
            offset += _SEARCH_BYTES
        return True


def _pread_all(fd: int, count: int, offset: int) -> bytes:
    # A read is short at about 2 GiB, at a signal, and at the end of the file.
    content = os.pread(fd, count, offset)
    while len(content) < count:
        more = os.pread(fd, count - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def read_bytes(path: Path, part: Damage | Torn) -> bytes:
    """Return the bytes of damage or of a torn end."""
    fd = _open(path)
    try:
        return _pread_all(fd, part.end - part.offset, part.offset)
    finally:
        os.close(fd)

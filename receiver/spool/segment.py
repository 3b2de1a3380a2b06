"""A segment: one file of the spool, written once from front to back.

    segment  = record*
    record   = marker        8 bytes   of the spool directory, see `marker_of`
               head_bytes    uint32    little-endian, like all numbers here
               body_bytes    uint32
               content_crc   uint32    CRC-32 (ISO 3309) of head and body
               header_crc    uint32    CRC-32 of the 20 bytes before it
               head          see `envelope`
               body          as it came

The file's name is ``<process id>-<number>`` and its suffix is its state:

    .open   being written by the one process that holds its directory's lock
    .seg    sealed: complete, synced, never changed again
    .torn   set aside by its writer after a failed write or sync

Reading never stops at damage.  A record whose bytes are all there but fail a checksum is
`Damage`, and the reader looks for the next whole record behind it.  In a file that was not sealed
an end that was never wholly written, and so never acknowledged, is `Torn`: a record that runs past
the end of the file, or zeros that the file system left.

The marker is made from the process's random id, which no sender knows, so a body cannot hold a
record that a reader would take for one of ours.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

OPEN, SEALED, TORN = ".open", ".seg", ".torn"
SUFFIXES = (OPEN, SEALED, TORN)

_FIELDS = struct.Struct("<8sIII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size
_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record; ``head`` and ``body`` passed their checksum."""

    offset: int
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that were whole once and are not a record now."""

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Torn:
    """The unwritten rest of a file that was not sealed; nothing in it was acknowledged."""

    offset: int
    end: int


def name_of(process: str, number: int) -> str:
    """Return a segment's name; numbers count from 0 without gaps."""
    return f"{process}-{number}"


def marker_of(process: str) -> bytes:
    """Return the marker of all records that a process writes."""
    return hashlib.blake2b(process.encode(), digest_size=8, person=b"segment1").digest()


def process_of(name: str) -> str:
    """Return the id of the process that wrote a segment."""
    return name.rpartition("-")[0]


def number_of(name: str) -> int:
    """Return a segment's number.  Raises `ValueError` for what is no segment's name."""
    return int(name.rpartition("-")[2])


def frame(marker: bytes, head: bytes, chunks: Sequence[bytes]) -> bytes:
    """Return header and head of a record; the chunks of its body must be written behind them."""
    crc = isal_zlib.crc32(head)
    body_bytes = 0
    for chunk in chunks:
        crc = isal_zlib.crc32(chunk, crc)
        body_bytes += len(chunk)
    fields = _FIELDS.pack(marker, len(head), body_bytes, crc)
    return b"".join((fields, _CRC.pack(isal_zlib.crc32(fields)), head))


def read(path: Path) -> Iterator[Record | Damage | Torn]:
    """Yield what a segment file holds, front to back, holding one record in memory at a time.

    Together the parts cover every byte of the file as it was when reading began.  Raises
    `OSError` where the file cannot be read at all.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        yield from _Reader(
            fd, marker_of(process_of(path.stem)), sealed=path.suffix == SEALED
        ).parts()
    except OSError as exc:
        exc.filename = str(path)
        raise
    finally:
        os.close(fd)


def heads(path: Path) -> Iterator[bytes]:
    """Yield the heads of a segment's records, unchecked, without reading their bodies."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield from _Reader(fd, marker_of(process_of(path.stem)), sealed=False).heads()
    finally:
        os.close(fd)


def first_head(path: Path) -> bytes | None:
    """Return the head of a segment's first record, unchecked; None if it has no whole header."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return _Reader(
            fd, marker_of(process_of(path.stem)), sealed=path.suffix == SEALED
        ).first_head()
    finally:
        os.close(fd)


class _Reader:
    """Reads one open segment file by position, so that a writer may append meanwhile."""

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
        # A damaged header could claim gigabytes, so it is checked before it is believed.
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
        """Return the offset of the next header that is whole, or None."""
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
        """Judge a rest that holds no header: never written, or damaged?"""
        if self._size - offset < HEADER_BYTES or self._is_zero(offset):
            return self._cut(offset)
        return Damage(offset, self._size)

    def _cut(self, offset: int) -> Damage | Torn:
        # Sealing waits for every byte, so what is short in a sealed file was lost later.
        return Damage(offset, self._size) if self._sealed else Torn(offset, self._size)

    def _is_zero(self, offset: int) -> bool:
        while offset < self._size:
            if os.pread(self._fd, _SEARCH_BYTES, offset).strip(b"\0"):
                return False
            offset += _SEARCH_BYTES
        return True


def _pread_all(fd: int, count: int, offset: int) -> bytes:
    # One call reads at most about 2 GiB; bodies are far smaller, but a signal can cut it short.
    content = os.pread(fd, count, offset)
    while len(content) < count:
        more = os.pread(fd, count - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def read_bytes(path: Path, part: Damage | Torn) -> bytes:
    """Return the bytes of a part that is not a record."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return _pread_all(fd, part.end - part.offset, part.offset)
    finally:
        os.close(fd)

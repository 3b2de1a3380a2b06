"""Checking one callbacks object against the entries of its index."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from receiver.archive import steps
from receiver.archive.reading import Columns, Entry, inflate
from receiver.archive.spans import SPAN_BYTES
from receiver.errors import Damaged, NotFound

# Reads a range of the object: where it begins, and its length.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is amiss, and where."""

    what: str
    where: str
    detail: str


_LINE = msgspec.json.Decoder(Columns)
_NAMES = Columns.__struct_fields__


def check_size(name: str, held: Iterable[Entry], size: int) -> Iterator[Problem]:
    """Yield whether an object is not as long as its members together, without a gap."""
    end = 0
    for offset, length in _members(held):
        if offset != end:
            yield Problem("damage", name, f"its index leaves out bytes from {end} to {offset}")
        end = offset + length
    if size != end:
        yield Problem("damage", name, f"{size} bytes, and its index accounts for {end}")


def check_lines(name: str, held: Iterable[Entry], read: Read) -> Iterator[Problem]:
    """Yield what is amiss with the members of an object, and with the lines in them.

    Holds some megabytes, or one compressed member where that is longer.
    """
    by_member: dict[int, list[Entry]] = collections.defaultdict(list)
    for entry in held:
        by_member[entry.member_offset].append(entry)
    gzip = name.endswith(".gz")
    for span in _spans(_members(held)):
        start, end = span[0][0], span[-1][0] + span[-1][1]
        try:
            content = read(start, end - start)
        except NotFound:
            yield Problem("missing", name, "the index names it")
            return
        for offset, length in span:
            member = content[offset - start : offset - start + length]
            where = f"{name}@{offset}"
            try:
                if len(member) != length:
                    raise Damaged("a member is cut short")
                yield from _check_member(member, where, by_member[offset], gzip=gzip)
            except Damaged as exc:
                yield Problem("damage", where, str(exc))


def _members(held: Iterable[Entry]) -> list[tuple[int, int]]:
    return sorted({(entry.member_offset, entry.member_bytes) for entry in held})


def _spans(members: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Group members that are read by one request."""
    span: list[tuple[int, int]] = []
    for offset, length in members:
        if span and offset + length - span[0][0] > SPAN_BYTES:
            yield span
            span = []
        span.append((offset, length))
    if span:
        yield span


def _check_member(member: bytes, where: str, held: list[Entry], *, gzip: bool) -> Iterator[Problem]:
    if len(held) == 1 and held[0].line_bytes > steps.LONG_BYTES:
        yield from _check_long(member, where, held[0], gzip=gzip)
        return
    content = inflate(member, gzip=gzip)
    counted = content.count(b"\n")
    if counted != len(held):
        yield Problem("count", where, f"{counted} lines, {len(held)} in the index")
    for entry in held:
        line = content[entry.line_offset : entry.line_offset + entry.line_bytes]
        try:
            read = msgspec.structs.asdict(_LINE.decode(line))
        except msgspec.MsgspecError as exc:
            yield Problem("damage", where, f"{entry.delivery_id}: {exc}")
        else:
            yield from _compare(where, entry, read)


def _check_long(member: bytes, where: str, entry: Entry, *, gzip: bool) -> Iterator[Problem]:
    """Check the one line of a member without holding it."""
    size = newlines = 0

    def counted() -> Iterator[bytes]:
        nonlocal size, newlines
        for step in steps.inflated(member, gzip=gzip):
            size += len(step)
            newlines += step.count(b"\n")
            yield step

    read, _ = steps.columns(counted())
    if (newlines, size) != (1, entry.line_bytes + 1) or entry.line_offset:
        detail = f"{newlines} lines of {size} bytes, in the index one of {entry.line_bytes + 1}"
        yield Problem("count", where, detail)
    yield from _compare(where, entry, read)


def _compare(where: str, entry: Entry, line: Mapping[str, Any]) -> Iterator[Problem]:
    if line.get("delivery_id") != entry.delivery_id:
        detail = f"{line.get('delivery_id')} stands where {entry.delivery_id} should"
        yield Problem("damage", where, detail)
        return
    differing = [name for name in _NAMES if line.get(name) != getattr(entry, name)]
    if differing:
        detail = f"{entry.delivery_id}: its entry has another {', '.join(differing)}"
        yield Problem("damage", where, detail)

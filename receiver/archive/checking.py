"""Checking one callbacks object against the entries that its index has of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from receiver.archive import long_lines, members, schema, shape
from receiver.archive.reading import Get, span_members, spans
from receiver.archive.schema import Entry
from receiver.errors import Damaged, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of the archive."""

    # gap, orphan, missing, damage, count or foreign
    what: str
    where: str
    detail: str


_INDEXED = msgspec.json.Decoder(schema.Indexed)


def check_size(name: str, held: Iterable[Entry], size: int) -> Iterator[Finding]:
    """Yield a finding if the members do not make up an object of this size, without a gap."""
    end = 0
    for offset, length in sorted({(entry.member_offset, entry.member_bytes) for entry in held}):
        if offset != end:
            detail = f"its index leaves out bytes from {end} to {offset}"
            yield Finding(what="damage", where=name, detail=detail)
        end = offset + length
    if size != end:
        detail = f"{size} bytes, and its index accounts for {end}"
        yield Finding(what="damage", where=name, detail=detail)


def check_lines(name: str, held: Iterable[Entry], get: Get) -> Iterator[Finding]:
    """Yield what is wrong with the members of an object, and with the lines in them.

    Holds one span in memory, or one compressed member where that is longer.
    """
    for span in spans(sorted(held, key=attrgetter("member_offset"))):
        try:
            found = list(span_members(get, span))
        except NotFound:
            yield Finding(what="missing", where=name, detail="the index names it")
            return
        for member, of_member in found:
            where = f"{name}@{of_member[0].member_offset}"
            try:
                if len(member) != of_member[0].member_bytes:
                    raise Damaged("a member is cut short")
                yield from _check_member(member, where, of_member)
            except Damaged as exc:
                yield Finding(what="damage", where=where, detail=str(exc))


def _check_member(member: bytes, where: str, held: list[Entry]) -> Iterator[Finding]:
    if len(held) == 1 and held[0].line_bytes > long_lines.LONG_BYTES:
        yield from _check_long(member, where, held[0])
        return
    content = members.of(held[0].object).inflate(member)
    counted = content.count(b"\n")
    if counted != len(held):
        detail = f"{counted} lines, {len(held)} in the index"
        yield Finding(what="count", where=where, detail=detail)
    for entry in held:
        line = content[entry.line_offset : entry.line_offset + entry.line_bytes]
        try:
            read = msgspec.structs.asdict(shape.bounded(_INDEXED.decode(line)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            detail = f"{entry.delivery_id}: {exc}"
            yield Finding(what="damage", where=where, detail=detail)
        else:
            yield from _compare(where, entry, read)


def _check_long(member: bytes, where: str, entry: Entry) -> Iterator[Finding]:
    """Check the one line of a member without holding it."""
    size = newlines = 0

    def counted() -> Iterator[bytes]:
        nonlocal size, newlines
        steps = members.of(entry.object).steps(member)
        for step in members.limited(steps, bytes_max=entry.line_offset + entry.line_bytes + 1):
            size += len(step)
            newlines += step.count(b"\n")
            yield step

    read, _ = long_lines.columns(counted(), entry)
    if (newlines, size) != (1, entry.line_bytes + 1) or entry.line_offset:
        detail = f"{newlines} lines of {size} bytes, in the index one of {entry.line_bytes + 1}"
        yield Finding(what="count", where=where, detail=detail)
    yield from _compare(where, entry, read)


def _compare(where: str, entry: Entry, line: Mapping[str, Any]) -> Iterator[Finding]:
    if line.get("delivery_id") != entry.delivery_id:
        detail = f"{line.get('delivery_id')} is where {entry.delivery_id} should be"
        yield Finding(what="damage", where=where, detail=detail)
        return
    differing = [name for name in schema.INDEXED if line.get(name) != getattr(entry, name)]
    if differing:
        detail = f"{entry.delivery_id}: its entry has another {', '.join(differing)}"
        yield Finding(what="damage", where=where, detail=detail)

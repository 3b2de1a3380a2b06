"""Writing: the records of one segment become lines, objects and an index.

Objects are built in memory, compressed: about as large as the segment, plus one step of one body.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from receiver import clock
from receiver.archive import members, schema
from receiver.archive.body import Body
from receiver.archive.keys import callbacks_key, index_key
from receiver.archive.members import Compression
from receiver.providers import Recognised
from receiver.providers.envelope import Envelope

# Lines are added to a member up to this size; a longer line is a member of its own.
MEMBER_BYTES = 256 << 10
# Bytes of a body encoded at a time: a multiple of three, so that base64 pieces join.
_BASE64_BYTES = 192 << 10


def columns(envelope: Envelope, body: Body, recognised: Recognised) -> dict[str, Any]:
    """Return the columns of a line, in order; the two for the content of the body are null.

    What an adapter recognised beyond the bound of `schema.BOUNDED` is null, too, and `invalid` says
    so unless there is another reason.
    """
    said = {name: getattr(recognised, name) for name in schema.BOUNDED}
    kept = {
        name: text if schema.fits(text, schema.BOUNDED[name]) else None
        for name, text in said.items()
    }
    too_long = None if kept == said else schema.TOO_LONG
    return {
        "delivery_id": envelope.delivery_id,
        "provider": envelope.provider,
        "kind": envelope.kind,
        "origin": envelope.origin,
        "task_id": kept["task_id"],
        "tag": kept["tag"],
        "key": kept["key"],
        "status": kept["status"],
        "received_at": clock.rfc3339(envelope.received_at_us),
        "method": envelope.method,
        "target": envelope.target,
        "headers": envelope.headers,
        "peer": envelope.peer,
        "content_type": envelope.header("content-type"),
        "body": None,
        "body_base64": None,
        "body_bytes": body.size,
        "wire_bytes": len(body.wire),
        "wire_sha256": hashlib.sha256(body.wire).hexdigest(),
        "invalid": body.invalid or _reason(recognised) or too_long,
        "instance": envelope.instance,
    }


def _reason(recognised: Recognised) -> str | None:
    """Return why an adapter calls a callback invalid, in a form that can be read back."""
    reason = recognised.invalid
    return reason if reason is None or schema.is_name(reason) else "not_recognised"


def whole_line(columns: dict[str, Any], body: Body) -> bytes:
    """Return the line of a body that is held whole, with its newline."""
    if body.is_text:
        content = {schema.BODY: body.text}
    else:
        content = {schema.BODY_BASE64: base64.b64encode(body.content).decode()}
    return orjson.dumps(columns | content, option=orjson.OPT_APPEND_NEWLINE)


def line_pieces(columns: dict[str, Any], body: Body) -> Iterator[bytes]:
    """Yield the same line in pieces, in memory bounded by a step of the body."""
    before = {name: columns[name] for name in schema.BEFORE_BODY}
    behind = {name: columns[name] for name in schema.BEHIND_BODY}
    yield orjson.dumps(before)[:-1]
    if body.is_text:
        yield b',"body":"'
        yield from _text_pieces(body)
        yield b'","body_base64":null,'
    else:
        yield b',"body":null,"body_base64":"'
        yield from _base64_pieces(body)
        yield b'",'
    yield orjson.dumps(behind, option=orjson.OPT_APPEND_NEWLINE)[1:]


def _text_pieces(body: Body) -> Iterator[bytes]:
    rest = b""
    for step in body.steps():
        content = rest + step
        # A character may be cut between two steps.
        cut = _last_whole_character(content)
        rest = content[cut:]
        yield orjson.dumps(content[:cut].decode())[1:-1]
    assert not rest, "the body was judged to be UTF-8"


def _last_whole_character(content: bytes) -> int:
    """Return the end of the last character that is complete."""
    for back in range(1, min(4, len(content)) + 1):
        byte = content[-back]
        if byte & 0xC0 == 0x80:
            continue  # within a character
        wanted = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return len(content) if wanted == back else len(content) - back
    return len(content)


def _base64_pieces(body: Body) -> Iterator[bytes]:
    rest = b""
    for step in body.steps():
        rest += step
        cut = len(rest) - len(rest) % _BASE64_BYTES
        yield base64.b64encode(rest[:cut])
        rest = rest[cut:]
    yield base64.b64encode(rest)


# An entry of the index, encoded: what precedes the number of entries, which is known last, and what
# follows it.  As dicts, a segment of small callbacks would take fifty times its size.
_Encoded: TypeAlias = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A line in a member that is not complete yet."""

    # The position of its entry in the index, and the beginning of that.
    position: int
    entry: bytes
    line_offset: int
    line_bytes: int


class _Object:
    """One callbacks object while it grows; it completes the entries of its lines."""

    def __init__(self, key: str, compression: Compression, entries: list[_Encoded]) -> None:
        self.key = key
        self._entries = entries
        self._compression = compression
        self._members: list[bytes] = []
        self._bytes = 0
        # The lines of the member that comes next.
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._placed: list[_Placed] = []

    def add(self, line: bytes, position: int, entry: bytes) -> None:
        if self._lines and self._lines_bytes + len(line) > MEMBER_BYTES:
            self._end_member()
        self._placed.append(_Placed(position, entry, self._lines_bytes, len(line) - 1))
        self._lines.append(line)
        self._lines_bytes += len(line)

    def add_pieces(self, pieces: Iterator[bytes], position: int, entry: bytes) -> None:
        """Add a long line, as a member of its own."""
        self._end_member()
        length = 0

        def counted() -> Iterator[bytes]:
            nonlocal length
            for piece in pieces:
                length += len(piece)
                yield piece

        member = b"".join(self._compression.stream(counted()))
        self._placed.append(_Placed(position, entry, 0, length - 1))
        self._add_member(member)

    def content(self) -> bytes:
        self._end_member()
        return b"".join(self._members)

    def _end_member(self) -> None:
        if self._lines:
            self._add_member(self._compression.member(b"".join(self._lines)))
            self._lines.clear()
            self._lines_bytes = 0

    def _add_member(self, member: bytes) -> None:
        for placed in self._placed:
            rest = {
                "object": self.key,
                "member_offset": self._bytes,
                "member_bytes": len(member),
                "line_offset": placed.line_offset,
                "line_bytes": placed.line_bytes,
            }
            self._entries[placed.position] = (
                placed.entry,
                orjson.dumps(rest, option=orjson.OPT_APPEND_NEWLINE)[1:],
            )
        self._placed.clear()
        self._members.append(member)
        self._bytes += len(member)


class SegmentObjects:
    """The objects of the archive that the records of one segment become."""

    def __init__(self, segment: str, compression: Compression) -> None:
        self._segment = segment
        self._compression = compression
        self._objects: dict[str, _Object] = {}
        self._entries: list[_Encoded] = []
        self._first_at_us: int | None = None
        # Provider and reason of each record that is not as expected.
        self.invalid: list[tuple[str, str]] = []

    @property
    def partitions(self) -> int:
        """Number of callbacks objects so far."""
        return len(self._objects)

    @property
    def records(self) -> int:
        """Number of records added."""
        return len(self._entries)

    @property
    def delivery_ids(self) -> frozenset[str]:
        """Delivery ids of the records added."""
        # Read from the entries: they are seldom asked for, so they are not kept as well.
        return frozenset(orjson.loads(before + b"}")["delivery_id"] for before, _ in self._entries)

    @property
    def index_key(self) -> str:
        """Key of the index."""
        return index_key(self._segment, first_at_us=self._first_at_us)

    def add(self, envelope: Envelope, body: Body, recognised: Recognised) -> None:
        """Add a record; the order of these calls is that of the index."""
        if self._first_at_us is None:
            self._first_at_us = envelope.received_at_us
        line = columns(envelope, body, recognised)
        if line["invalid"]:
            self.invalid.append((envelope.provider, line["invalid"]))
        position = len(self._entries)
        entry = {name: line[name] for name in schema.INDEXED}
        entry |= {"segment": self._segment, "position": position}
        encoded = orjson.dumps(entry)[:-1]
        self._entries.append((encoded, b""))
        growing = self._object(envelope)
        if body.whole:
            growing.add(whole_line(line, body), position, encoded)
        else:
            growing.add_pieces(line_pieces(line, body), position, encoded)

    def callbacks(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of each callbacks object; each is given up as it is yielded."""
        while self._objects:
            key = next(iter(self._objects))
            yield key, self._objects.pop(key).content()

    def index(self) -> tuple[str, bytes]:
        """Return key and content of the index; call it after all of `callbacks` was yielded."""
        assert not self._objects
        count = b',"of":%d,' % len(self._entries)
        lines = [before + count + behind for before, behind in self._entries]
        return self.index_key, members.INDEX.member(b"".join(lines))

    def _object(self, envelope: Envelope) -> _Object:
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
        return growing

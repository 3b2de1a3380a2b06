"""Reading index objects: the entries of a segment, each of them checked.

An entry's segment and object are implied by the index object's key and by the entry's other
columns, so an entry that names others is damaged.  Damaged entries are passed over; the others of
the same index object count.  Memory is bounded by the size of the object, whatever it inflates to.
"""

import collections
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from receiver.archive import keys, members, shape
from receiver.archive.schema import Entry
from receiver.errors import Damaged

_log = logging.getLogger(__name__)

# An entry does not compress to less: its delivery id alone holds 62 random bits.
_ENTRY_BYTES_MIN = 8
# Archives exist whose entries repeat ids of megabytes; they are read, and those ids are dropped.
_LINE_BYTES_MAX = 64 << 20
# Damaged entries that are described; the others are counted.
_NAMED_MAX = 10

_ENTRY = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class Index:
    """The good entries of an index object, and how many others there are."""

    entries: list[Entry]
    damaged: int
    # What is wrong with the first of them.
    details: tuple[str, ...]


def entries(key: str, content: bytes) -> list[Entry]:
    """Return the good entries of the index object of a key; damaged ones are logged.

    Raises `Damaged` if it cannot be inflated to its end, or has damaged entries only.
    """
    index = read(key, content)
    if index.damaged and not index.entries:
        raise Damaged(f"an index object is damaged: {index.details[0]}")
    if index.damaged:
        # `receiver verify` reports them, too.
        extra = {"key": key, "damaged": index.damaged, "error": "; ".join(index.details)}
        _log.error("entries of an index object are damaged", extra=extra)
    return index.entries


def read(key: str, content: bytes) -> Index:
    """Return the entries of the index object of a key, in order.

    Raises `Damaged` if the object cannot be inflated to its end.
    """
    reader = _Reader(keys.segment_of(key), len(content) // _ENTRY_BYTES_MIN + 1)
    for lines in _lines(content):
        reader.take(lines)
        if reader.is_full:
            break
    return reader.index()


class _Reader:
    """Takes the entries of one index object, a few lines at a time."""

    def __init__(self, segment: str, entries_max: int) -> None:
        self._segment = segment
        self._entries_max = entries_max
        self._good: list[Entry] = []
        self._ids: set[str] = set()
        self._objects: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._damaged = 0
        self._details: list[str] = []

    def take(self, lines: bytes | None) -> None:
        """Take whole lines, or None for one that is too long."""
        if lines is None:
            self._note(f"it is longer than {_LINE_BYTES_MAX} bytes")
            return
        try:
            found: Iterable[Entry] = _ENTRY.decode_lines(lines)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = self._one_by_one(lines)
        for entry in found:
            try:
                self._check(entry)
            except ValueError as exc:
                self._note(str(exc))
            else:
                self._ids.add(entry.delivery_id)
                self._good.append(shape.bounded(entry))

    @property
    def is_full(self) -> bool:
        """Whether there were more lines than the object's size allows."""
        return len(self._good) + self._damaged > self._entries_max

    def index(self) -> Index:
        """Return what was taken."""
        # The compression is a setting, and a segment is shipped under one.
        suffixes = collections.Counter(keys.suffix_of(entry.object) for entry in self._good)
        if len(suffixes) > 1:
            ((usual, _),) = suffixes.most_common(1)
            odd = [entry for entry in self._good if not entry.object.endswith(usual)]
            self._good = [entry for entry in self._good if entry.object.endswith(usual)]
            for entry in odd:
                self._note(f"{entry.delivery_id}: its object has another suffix than the others")
        return Index(self._good, self._damaged, tuple(self._details))

    def _one_by_one(self, lines: bytes) -> Iterator[Entry]:
        for line in lines.splitlines():
            try:
                yield _ENTRY.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
                self._note(str(exc))

    def _check(self, entry: Entry) -> None:
        shape.check(entry)
        shape.check_place(entry)
        if entry.segment != self._segment:
            raise ValueError("its segment is not that of the index object")
        if entry.object not in self._expected(entry):
            raise ValueError("its object is not one of its segment, hour, provider and kind")
        if entry.delivery_id in self._ids:
            raise ValueError("its delivery_id is that of another entry")
        if len(self._good) >= self._entries_max:
            raise ValueError("there are more entries than the object's size allows")

    def _expected(self, entry: Entry) -> tuple[str, ...]:
        """Return the keys of the objects that an entry's line may be in."""
        names = (_hour(entry), entry.provider, entry.kind)
        known = self._objects.get(names)
        if known is None:
            known = self._objects[names] = keys.callbacks_keys(self._segment, *names)
        return known

    def _note(self, detail: str) -> None:
        if len(self._details) < _NAMED_MAX:
            self._details.append(f"entry {len(self._good) + self._damaged}: {detail}")
        self._damaged += 1


def _hour(entry: Entry) -> str:
    """Return the hour of an entry, as far as its text has it."""
    return entry.received_at[:13]


def _lines(content: bytes) -> Iterator[bytes | None]:
    """Yield what an index object holds, in runs of whole lines; None for a line too long to hold.

    Raises `Damaged`, also after yielding what could be read.
    """
    rest: list[bytes] = []
    size = 0
    for step in members.INDEX.steps(content, members_max=len(content)):
        begun, newline, behind = step.partition(b"\n")
        size += len(begun)
        if size > _LINE_BYTES_MAX:
            rest.clear()
        else:
            rest.append(begun)
        if not newline:
            continue
        yield None if size > _LINE_BYTES_MAX else b"".join(rest)
        cut = behind.rfind(b"\n") + 1
        if cut:
            yield behind[:cut]
        rest = [behind[cut:]]
        size = len(rest[0])
    if size:
        yield None if size > _LINE_BYTES_MAX else b"".join(rest)

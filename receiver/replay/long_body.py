"""A body that is too long to be held: read out of the archive in steps, each time it is needed.

Neither the line nor its compressed member is held, but for a part of the member and a step of the
line, so memory is bounded whatever the body.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from receiver.archive import long_lines
from receiver.archive.members import GZIP
from receiver.archive.schema import Entry
from receiver.store import Store

# What a long body may hold at a time: a part of its member, and steps in several forms.
HELD_BYTES = 32 << 20
_PART_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class LongBody:
    """The body of an archived line.

    ``size`` is that of what `steps` yields: the decoded body, or that as gzip.
    """

    member: "Member"
    entry: Entry
    size: int
    gzip: bool = False

    def steps(self) -> Iterator[bytes]:
        """Yield the body as it is sent.  Raises `Damaged`, `NotFound` and `StoreError`."""
        plain = long_lines.body(self.member.line(self.entry))
        return GZIP.stream(plain) if self.gzip else plain

    def measured(self) -> "tuple[LongBody, str]":
        """Read the body once; return it with its true size, and its SHA-256 in hex."""
        digest, size = hashlib.sha256(), 0
        for step in self.steps():
            digest.update(step)
            size += len(step)
        return LongBody(self.member, self.entry, size, self.gzip), digest.hexdigest()


class Member:
    """A compressed member in the archive, of which one part is held at a time."""

    def __init__(self, store: Store, entry: Entry) -> None:
        self._store = store
        self._entry = entry
        self._start = 0
        self._part = b""

    def line(self, entry: Entry) -> Iterator[bytes]:
        """Yield an entry's line in steps."""
        # Reading in steps asks bytes for nothing but their length and slices.
        return long_lines.line(cast("bytes", self), entry)

    def __len__(self) -> int:
        return self._entry.member_bytes

    def __getitem__(self, wanted: slice) -> bytes:
        start, end, _ = wanted.indices(len(self))
        if not self._start <= start <= end <= self._start + len(self._part):
            length = max(end - start, min(_PART_BYTES, len(self) - start))
            self._part = self._store.get(
                self._entry.object, start=self._entry.member_offset + start, length=length
            )
            self._start = start
        return self._part[start - self._start : end - self._start]

"""The tables of a catalog, and how a segment's entries get in and out.

An entry's row holds what only it has.  What many share is a label; what an object's key can be
computed from is kept once for each segment.  Rows of one segment follow each other, in the order
of its objects, so they are dropped by their numbers, and read in the order of the archive without
being sorted.

Each index serves a filter that has to be quick by itself, and holds the time, so that the newest
come first without a sort, and the label, so that other filters need no look at the row.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import TypeAlias

from receiver import clock
from receiver.archive.keys import INDEX_SUFFIX
from receiver.archive.reading import Entry, entries
from receiver.errors import StoreError

_log = logging.getLogger(__name__)

FORMAT = 3
SCHEMA = (
    """
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, suffix TEXT NOT NULL,
        lines INTEGER NOT NULL, first_row INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE labels (
        id INTEGER PRIMARY KEY, provider TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL,
        status TEXT, invalid TEXT
    )
    """,
    """
    CREATE TABLE entries (
        received_us INTEGER NOT NULL, label INTEGER NOT NULL, delivery_id TEXT NOT NULL,
        task_id TEXT, tag TEXT, key TEXT, body_bytes INTEGER NOT NULL,
        segment INTEGER NOT NULL, position INTEGER NOT NULL,
        member_offset INTEGER NOT NULL, member_bytes INTEGER NOT NULL,
        line_offset INTEGER NOT NULL, line_bytes INTEGER NOT NULL
    )
    """,
    "CREATE INDEX entries_by_time ON entries (received_us, label)",
    "CREATE INDEX entries_by_task_id ON entries (task_id, label) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_by_tag ON entries (tag, received_us, label) WHERE tag IS NOT NULL",
    "CREATE INDEX entries_by_key ON entries (key, received_us, label) WHERE key IS NOT NULL",
)

_Row: TypeAlias = tuple[int | str | None, ...]
_Label: TypeAlias = tuple[str, str, str, str | None, str | None]


class Labels:
    """The numbers of labels; to be used by one connection, and only while it may write."""

    def __init__(self) -> None:
        self._known: dict[_Label, int] = {}

    def number(self, database: sqlite3.Connection, entry: Entry) -> int:
        """Return the number of an entry's label, a new one if there is none."""
        label = (entry.provider, entry.kind, entry.origin, entry.status, entry.invalid)
        known = self._known.get(label)
        if known is None:
            known = self._known[label] = _number(database, label)
        return known


def take(
    database: sqlite3.Connection, labels: Labels, key: str, content: bytes | None
) -> int | None:
    """Take in an index object within a transaction; return how many entries that were.

    Returns None where nothing was taken in: it was here already, or there is nothing any more.
    """
    if content is None or _has(database, key):
        return None
    segment, first_row = _next(database)
    try:
        found = sorted(entries(content), key=attrgetter("object"))
        rows = list(_rows(database, labels, found, segment))
    except (StoreError, ValueError) as exc:
        # What an index object cannot tell any more `receiver verify` reports.
        _log.error("index object is damaged", extra={"key": key, "error": str(exc)})
        return None
    suffix = found[0].object.rpartition(segment_name(key))[2] if found else ""
    database.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?)", (segment, key, suffix, len(rows), first_row)
    )
    database.executemany("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
    return len(rows)


def drop(database: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Forget index objects within a transaction."""
    for key in keys:
        database.execute(
            "DELETE FROM entries WHERE rowid >= (SELECT first_row FROM segments WHERE key = ?1)"
            " AND rowid < (SELECT first_row + lines FROM segments WHERE key = ?1)",
            (key,),
        )
        database.execute("DELETE FROM segments WHERE key = ?", (key,))


def known_keys(database: sqlite3.Connection, *, after: str, before: str) -> list[str]:
    """Return the keys of index objects that were taken in, between two others, sorted."""
    query = "SELECT key FROM segments WHERE key > ? AND key < ? ORDER BY key"
    return [key for (key,) in database.execute(query, (after, before))]


def known_days(database: sqlite3.Connection, *, after: str, before: str) -> Iterator[str]:
    """Yield the folders of the days that have keys between two others, sorted."""
    query = "SELECT min(key) FROM segments WHERE key > ? AND key < ?"
    while found := database.execute(query, (after, before)).fetchone()[0]:
        folder = "/".join(found.split("/", 2)[:2])
        yield f"{folder}/"
        # What goes on with a slash sorts before what goes on with a zero.
        after = f"{folder}0"


def segment_name(key: str) -> str:
    """Return the segment of an index object."""
    return key.rpartition("/")[2].removesuffix(INDEX_SUFFIX)


def _has(database: sqlite3.Connection, key: str) -> bool:
    return bool(database.execute("SELECT 1 FROM segments WHERE key = ?", (key,)).fetchone())


def _next(database: sqlite3.Connection) -> tuple[int, int]:
    """Return the numbers that the next segment and the next entry get."""
    query = (
        "SELECT (SELECT coalesce(max(id), 0) + 1 FROM segments),"
        " (SELECT coalesce(max(rowid), 0) + 1 FROM entries)"
    )
    segment, first_row = database.execute(query).fetchone()
    return segment, first_row


def _number(database: sqlite3.Connection, label: _Label) -> int:
    query = (
        "SELECT id FROM labels WHERE provider = ? AND kind = ? AND origin = ?"
        " AND status IS ? AND invalid IS ?"
    )
    found = database.execute(query, label).fetchone()
    if found is not None:
        return int(found[0])
    added = database.execute("INSERT INTO labels VALUES (NULL, ?, ?, ?, ?, ?)", label).lastrowid
    assert added is not None
    return added


def _rows(
    database: sqlite3.Connection, labels: Labels, found: Iterable[Entry], segment: int
) -> Iterator[_Row]:
    for entry in found:
        yield (
            clock.read_rfc3339(entry.received_at),
            labels.number(database, entry),
            entry.delivery_id,
            entry.task_id,
            entry.tag,
            entry.key,
            entry.body_bytes,
            segment,
            entry.position,
            entry.member_offset,
            entry.member_bytes,
            entry.line_offset,
            entry.line_bytes,
        )

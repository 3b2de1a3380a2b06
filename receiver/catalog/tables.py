"""The tables of a catalog, and how a segment's entries get in and out.

An entry's row holds only what is its own.  What many entries share is a label, and what an object's
key can be computed from is kept once for each segment.  Rows of one segment follow each other in
the order of its objects, so that they are dropped by their numbers, and read in the order of the
archive without being sorted.

Each index serves a filter that has to be quick by itself.  It also has the time, so that the newest
come first without a sort, and the label, so that other filters need no look at the row.
"""

import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import TypeAlias

from receiver import clock
from receiver.archive import keys
from receiver.archive.index import entries
from receiver.archive.schema import ENTRY, Entry, names
from receiver.errors import StoreError

_log = logging.getLogger(__name__)

# The columns of an entry that many share; those that are stored as something else; and its own.
LABEL = ("provider", "kind", "origin", "status", "invalid")
# Senders choose a status, so it leads the index: there can be as many labels as callbacks.
LABEL_LOOKUP = ("status", "invalid", "provider", "kind", "origin")
STORED_AS = {
    "received_at": "e.received_us",
    "segment": "segments.key",
    "of": "segments.lines",
    "object": "segments.suffix",
}
OWN = tuple(name for name in names(ENTRY) if name not in {*LABEL, *STORED_AS})


def _declared(wanted: Iterable[str]) -> str:
    """Return the declarations of columns of an entry."""
    types = {"text": "TEXT NOT NULL", "text?": "TEXT", "number": "INTEGER NOT NULL"}
    columns = {column.name: types.get(column.type) for column in ENTRY}
    return ", ".join(f"{name} {columns[name]}" for name in wanted)


SCHEMA = (
    """
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, suffix TEXT NOT NULL,
        lines INTEGER NOT NULL, first_row INTEGER NOT NULL
    )
    """,
    f"CREATE TABLE labels (id INTEGER PRIMARY KEY, {_declared(LABEL)})",
    f"CREATE INDEX labels_by_value ON labels ({', '.join(LABEL_LOOKUP)})",
    f"""
    CREATE TABLE entries (
        received_us INTEGER NOT NULL, label INTEGER NOT NULL, segment INTEGER NOT NULL,
        {_declared(OWN)}
    )
    """,
    "CREATE INDEX entries_by_time ON entries (received_us, label)",
    "CREATE INDEX entries_by_task_id ON entries (task_id, label) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_by_tag ON entries (tag, received_us, label) WHERE tag IS NOT NULL",
    "CREATE INDEX entries_by_key ON entries (key, received_us, label) WHERE key IS NOT NULL",
)
# Whatever changes in the tables makes another format; SQLite keeps it as a signed number.
FORMAT = zlib.crc32("".join(SCHEMA).encode()) >> 1 or 1

# How the number of a label is found; its parameters are the label's columns.
_IS_LABEL = " AND ".join(f"{name} IS ?" for name in LABEL)
NUMBER = f"SELECT id FROM labels INDEXED BY labels_by_value WHERE {_IS_LABEL}"  # noqa: S608

_Row: TypeAlias = tuple[int | str | None, ...]
_Label: TypeAlias = tuple[str | None, ...]
_label_of, _own_of = attrgetter(*LABEL), attrgetter(*OWN)


class Labels:
    """The numbers of labels; for use by one connection, and only while it may write."""

    def __init__(self) -> None:
        self._known: dict[_Label, int] = {}

    def number(self, database: sqlite3.Connection, entry: Entry) -> int:
        """Return the number of an entry's label, a new one if there is none."""
        label: _Label = _label_of(entry)
        known = self._known.get(label)
        if known is None:
            known = self._known[label] = _number(database, label)
        return known


def take(
    database: sqlite3.Connection, labels: Labels, key: str, content: bytes | None
) -> int | None:
    """Take in an index object, within a transaction; return the number of its entries.

    Returns None if nothing was taken in: it was here already, or is gone from the archive.
    """
    if content is None or _has(database, key):
        return None
    segment, first_row = _next(database)
    try:
        found = sorted(entries(key, content), key=attrgetter("object"))
        rows = _rows(database, labels, found, segment)
    except StoreError as exc:
        # `receiver verify` reports what such an index object no longer tells.
        _log.error("index object is damaged", extra={"key": key, "error": str(exc)})
        return None
    suffix = keys.suffix_of(found[0].object) if found else ""
    _insert(database, "segments", [(segment, key, suffix, len(rows), first_row)])
    _insert(database, "entries", rows)
    return len(rows)


def drop(database: sqlite3.Connection, index_keys: Iterable[str]) -> None:
    """Forget index objects, within a transaction."""
    for key in index_keys:
        database.execute(
            "DELETE FROM entries WHERE rowid >= (SELECT first_row FROM segments WHERE key = ?1)"
            " AND rowid < (SELECT first_row + lines FROM segments WHERE key = ?1)",
            (key,),
        )
        database.execute("DELETE FROM segments WHERE key = ?", (key,))


def known_keys(database: sqlite3.Connection, *, after: str, before: str) -> list[str]:
    """Return the keys of the index objects taken in that sort between two texts, sorted."""
    query = "SELECT key FROM segments WHERE key > ? AND key < ? ORDER BY key"
    return [key for (key,) in database.execute(query, (after, before))]


def known_days(database: sqlite3.Connection, *, after: str, before: str) -> Iterator[str]:
    """Yield the prefixes of the days that have keys between two texts, sorted."""
    query = "SELECT min(key) FROM segments WHERE key > ? AND key < ?"
    while found := database.execute(query, (after, before)).fetchone()[0]:
        day = keys.day_prefix(keys.INDEX, keys.day_of(found))
        yield day
        after = keys.end_of(day)


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
    found = database.execute(NUMBER, label).fetchone()
    if found is not None:
        return int(found[0])
    (number,) = database.execute("SELECT coalesce(max(id), 0) + 1 FROM labels").fetchone()
    _insert(database, "labels", [(number, *label)])
    return int(number)


def _insert(database: sqlite3.Connection, table: str, rows: list[_Row]) -> None:
    if rows:
        places = ", ".join("?" * len(rows[0]))
        database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608


def _rows(
    database: sqlite3.Connection, labels: Labels, found: Iterable[Entry], segment: int
) -> list[_Row]:
    return [
        (
            clock.read_rfc3339(entry.received_at),
            labels.number(database, entry),
            segment,
            *_own_of(entry),
        )
        for entry in found
    ]

"""Filters as SQL, and rows as entries of the index.

Which index serves a query is said here, not left to SQLite's guesses: key and task are rare, a
tag can stand on a million rows, and else the time leads.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from receiver import clock
from receiver.archive import callbacks_key
from receiver.archive.reading import Entry
from receiver.catalog.filters import Filters, Shard
from receiver.catalog.tables import segment_name
from receiver.providers.base import brings_result

Order = Literal["arrival", "newest", "object"]
_ORDERS: Mapping[Order, str] = {
    "arrival": "e.received_us, e.delivery_id",
    "newest": "e.received_us DESC, e.delivery_id DESC",
    "object": "e.rowid",
}
_LEADING = ("key", "task_id", "tag")
_COLUMNS = (
    "e.received_us, e.delivery_id, labels.provider, labels.kind, labels.origin, e.task_id, e.tag,"
    " e.key, labels.status, e.body_bytes, labels.invalid, segments.key, e.position,"
    " segments.lines, segments.suffix, e.member_offset, e.member_bytes, e.line_offset, e.line_bytes"
)
# A row of a key is the latest if there is none behind it that passes, too.
_LATEST = (
    "(e.key IS NULL OR NOT EXISTS (SELECT 1 FROM entries AS n INDEXED BY entries_by_key"
    " WHERE n.key = e.key AND n.received_us >= e.received_us"
    " AND (n.received_us > e.received_us OR n.delivery_id > e.delivery_id)"
    " AND (SELECT provider FROM labels WHERE id = n.label) = labels.provider AND {passes}))"
)
# Asked of rows that pass all else.
_IN_SHARD = "in_shard(labels.provider, coalesce(e.key, e.delivery_id), :index, :of)"


def labels(database: sqlite3.Connection, filters: Filters) -> list[int] | None:
    """Return the numbers of the labels that pass, or None where all do."""
    wanted = ("provider", "kind", "origin", "status")
    conditions = [f"{name} = :{name}" for name in wanted if getattr(filters, name) is not None]
    if filters.invalid == "*":
        conditions.append("invalid IS NOT NULL")
    elif filters.invalid is not None:
        conditions.append("coalesce(invalid, '') = :invalid")
    if not conditions:
        return None
    query = f"SELECT id FROM labels WHERE {' AND '.join(conditions)}"  # noqa: S608
    return [number for (number,) in database.execute(query, values(filters))]


def labels_of_results(
    database: sqlite3.Connection, provider: str, kinds: Iterable[str]
) -> list[int]:
    """Return the numbers of a provider's labels of some kinds, less those that bring nothing."""
    wanted = set(kinds)
    query = "SELECT id, kind, invalid FROM labels WHERE provider = ?"
    return [
        number
        for number, kind, invalid in database.execute(query, (provider,))
        if kind in wanted and brings_result(kind, invalid)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for; ``labels`` are the numbers of those that pass, None where all do."""

    filters: Filters
    labels: list[int] | None
    latest: bool = False
    shard: Shard | None = None

    def select(self, order: Order) -> str:
        """Return the query of what passes; its parameters are `values`."""
        index, passes = self._source(by_row=order == "object")
        return (
            f"SELECT {_COLUMNS} FROM entries AS e {index}"  # noqa: S608
            " CROSS JOIN labels ON labels.id = e.label"
            " CROSS JOIN segments ON segments.id = e.segment"
            f" WHERE {passes} ORDER BY {_ORDERS[order]} LIMIT :limit"
        )

    def count(self) -> str:
        """Return the query of how many pass, and of the bytes of their bodies."""
        # Without a lead all rows are looked at, and they are in order.
        index, passes = self._source(by_row=not self._is_led())
        return (
            "SELECT count(*), coalesce(sum(e.body_bytes), 0)"  # noqa: S608
            f" FROM entries AS e {index} CROSS JOIN labels ON labels.id = e.label WHERE {passes}"
        )

    def values(self, limit: int | None = None) -> dict[str, object]:
        """Return the parameters of the queries."""
        return {
            **values(self.filters),
            "index": None if self.shard is None else self.shard.index,
            "of": None if self.shard is None else self.shard.of,
            "limit": -1 if limit is None else limit,
        }

    def _source(self, *, by_row: bool) -> tuple[str, str]:
        """Return which index leads, and what rows must be."""
        index, passes = f"INDEXED BY entries_by_{self._leading() or 'time'}", self._passes("e")
        if by_row and self._is_led():
            # Sorts numbers, not rows.
            passes = f"e.rowid IN (SELECT e.rowid FROM entries AS e {index} WHERE {passes})"  # noqa: S608
        if by_row:
            index = "NOT INDEXED"
        if self.latest:
            passes += f" AND {_LATEST.format(passes=self._passes('n'))}"
        if self.shard is not None:
            passes += f" AND {_IN_SHARD}"
        return index, passes

    def _leading(self) -> str | None:
        return next((name for name in _LEADING if getattr(self.filters, name) is not None), None)

    def _is_led(self) -> bool:
        """Say whether an index leaves out what need not be looked at."""
        times = (self.filters.since_us, self.filters.until_us)
        return self._leading() is not None or times != (None, None)

    def _passes(self, row: str) -> str:
        """Return the filters as conditions; names and numbers are ours, values are bound."""
        conditions = [
            f"{row}.{name} = :{name}"
            for name in _LEADING
            if getattr(self.filters, name) is not None
        ]
        if self.filters.since_us is not None:
            conditions.append(f"{row}.received_us >= :since")
        if self.filters.until_us is not None:
            conditions.append(f"{row}.received_us < :until")
        if self.labels is not None:
            conditions.append(f"{row}.label IN ({','.join(map(str, self.labels))})")
        return " AND ".join(conditions) or "1"


def values(filters: Filters) -> dict[str, object]:
    """Return the parameters that filters are."""
    times = {"since": filters.since_us, "until": filters.until_us}
    return {**filters.equal(), "invalid": filters.invalid, **times}


def entry(row: tuple[Any, ...]) -> Entry:
    """Return what a row of `select` says."""
    (received_us, delivery_id, provider, kind, origin, task_id, tag, key, status) = row[:9]
    (body_bytes, invalid, index_key, position, lines, suffix, *place) = row[9:]
    member_offset, member_bytes, line_offset, line_bytes = place
    segment = segment_name(index_key)
    return Entry(
        delivery_id=delivery_id,
        provider=provider,
        kind=kind,
        origin=origin,
        task_id=task_id,
        tag=tag,
        key=key,
        status=status,
        received_at=clock.rfc3339(received_us),
        body_bytes=body_bytes,
        invalid=invalid,
        segment=segment,
        position=position,
        of=lines,
        object=callbacks_key(
            segment, received_at_us=received_us, provider=provider, kind=kind, suffix=suffix
        ),
        member_offset=member_offset,
        member_bytes=member_bytes,
        line_offset=line_offset,
        line_bytes=line_bytes,
    )

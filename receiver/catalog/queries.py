"""Filters as SQL, and rows as entries of the index.

The index that serves a query is chosen here, not by SQLite's estimates: key and task are rare, a
tag can be on a million rows, and otherwise the time leads.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from receiver import clock
from receiver.archive import keys
from receiver.archive.schema import ENTRY, Entry, names
from receiver.catalog.filters import Filters, Shard
from receiver.catalog.tables import LABEL, STORED_AS
from receiver.providers.base import brings_result

Order = Literal["arrival", "newest", "object"]
_ORDERS: Mapping[Order, str] = {
    "arrival": "e.received_us, e.delivery_id",
    "newest": "e.received_us DESC, e.delivery_id DESC",
    "object": "e.rowid",
}
_LEADING = ("key", "task_id", "tag")
_NAMES = names(ENTRY)
_STORED_AS = {name: f"labels.{name}" for name in LABEL} | STORED_AS
_COLUMNS = ", ".join(_STORED_AS.get(name, f"e.{name}") for name in _NAMES)
_RECEIVED_AT, _SEGMENT, _OBJECT = map(_NAMES.index, ("received_at", "segment", "object"))
_PROVIDER, _KIND = map(_NAMES.index, ("provider", "kind"))
# A row of a key is the latest if no later one passes the filters, too.  A valid one is never
# outdone by one that is not, and outdoes it whenever it came.
_OTHER = (
    "SELECT 1 FROM entries AS n INDEXED BY entries_by_key"
    " CROSS JOIN labels AS other ON other.id = n.label"
    " WHERE n.key = e.key AND other.provider = labels.provider AND {passes}"
)
_LATEST = (
    f"(e.key IS NULL OR (NOT EXISTS ({_OTHER} AND n.received_us >= e.received_us"
    " AND (n.received_us > e.received_us OR n.delivery_id > e.delivery_id)"
    " AND (other.invalid IS NULL OR labels.invalid IS NOT NULL))"
    f" AND (labels.invalid IS NULL OR NOT EXISTS ({_OTHER} AND other.invalid IS NULL))))"
)
# Evaluated last, for rows that pass everything else.
_IN_SHARD = "in_shard(labels.provider, coalesce(e.key, e.delivery_id), :index, :of)"


def labels(database: sqlite3.Connection, filters: Filters) -> list[int] | None:
    """Return the numbers of the labels that pass the filters, or None if all do."""
    equal = filters.equal()
    conditions = [f"{name} = :{name}" for name in LABEL if name in equal]
    if filters.invalid == "*":
        conditions.append("invalid IS NOT NULL")
    elif filters.invalid is not None:
        conditions.append("coalesce(invalid, '') = :invalid")
    if not conditions:
        return None
    query = f"SELECT id FROM labels WHERE {' AND '.join(conditions)}"  # noqa: S608
    return [number for (number,) in database.execute(query, values(filters))]


def labels_of_results(
    database: sqlite3.Connection, provider: str, kinds: Iterable[str], *, brings: bool = True
) -> list[int]:
    """Return the numbers of a provider's labels of these kinds that bring a result, or do not."""
    wanted = set(kinds)
    query = "SELECT id, kind, invalid FROM labels WHERE provider = ?"
    return [
        number
        for number, kind, invalid in database.execute(query, (provider,))
        if kind in wanted and brings_result(kind, invalid) is brings
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search; ``labels`` are the numbers of the labels that pass, None if all do."""

    filters: Filters
    labels: list[int] | None
    latest: bool = False
    shard: Shard | None = None

    def select(self, order: Order) -> str:
        """Return the query for the entries that pass; its parameters are `values`."""
        index, passes = self._source(by_row=order == "object")
        return (
            f"SELECT {_COLUMNS} FROM entries AS e {index}"  # noqa: S608
            " CROSS JOIN labels ON labels.id = e.label"
            " CROSS JOIN segments ON segments.id = e.segment"
            f" WHERE {passes} ORDER BY {_ORDERS[order]} LIMIT :limit"
        )

    def count(self) -> str:
        """Return the query for the number of entries that pass, and the bytes of their bodies."""
        # Without a leading index all rows are read, and that is quickest in their order.
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
        """Return the index that leads, and the condition on rows."""
        index, passes = f"INDEXED BY entries_by_{self._leading() or 'time'}", self._passes("e")
        if by_row and self._is_led():
            # So that numbers are sorted, not rows.
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
        """Say whether an index narrows the search."""
        times = (self.filters.since_us, self.filters.until_us)
        return self._leading() is not None or times != (None, None)

    def _passes(self, row: str) -> str:
        """Return the filters as conditions on a row; values are bound."""
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
    """Return the filters as parameters."""
    times = {"since": filters.since_us, "until": filters.until_us}
    return {**filters.equal(), "invalid": filters.invalid, **times}


def entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry that a row of `Query.select` stands for."""
    # By position: a struct is made ten times as fast as from names.
    values = list(row)
    received_us, suffix = row[_RECEIVED_AT], row[_OBJECT]
    segment = keys.segment_of(row[_SEGMENT])
    values[_RECEIVED_AT] = clock.rfc3339(received_us)
    values[_SEGMENT] = segment
    values[_OBJECT] = keys.callbacks_key(
        segment,
        received_at_us=received_us,
        provider=row[_PROVIDER],
        kind=row[_KIND],
        suffix=suffix,
    )
    return Entry(*values)

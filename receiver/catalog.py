"""The catalog: a cache of the archive's index in SQLite.

The archive is the truth: a catalog that is lost or damaged is built again from it, and several
processes may use one at a time.  `sync` brings it up to date in steps: only days that may have
changed are listed, and only index objects that are new are read, several at a time.  A segment
can arrive days after its partition (an outage, a drained disk); a day is listed as long as the
caller asks for it.
"""

import itertools
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from receiver import clock
from receiver.archive import callbacks_key
from receiver.archive.keys import INDEX_SUFFIX
from receiver.archive.reading import Entry, entries
from receiver.errors import NotFound, StoreError
from receiver.filters import Filters, Shard
from receiver.store import Store

_log = logging.getLogger(__name__)

_FORMAT = 2
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_READS_AT_ONCE = 16
_BATCH = 64
# What an object's key can be computed from is not kept for each of its lines.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS segments (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, day TEXT NOT NULL,
        name TEXT NOT NULL, suffix TEXT NOT NULL, lines INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS segments_by_day ON segments (day);
    CREATE TABLE IF NOT EXISTS entries (
        received_us INTEGER NOT NULL, delivery_id TEXT NOT NULL,
        provider TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL,
        task_id TEXT, tag TEXT, key TEXT, status TEXT, body_bytes INTEGER NOT NULL, invalid TEXT,
        segment INTEGER NOT NULL, position INTEGER NOT NULL,
        member_offset INTEGER NOT NULL, member_bytes INTEGER NOT NULL,
        line_offset INTEGER NOT NULL, line_bytes INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS entries_by_time ON entries (received_us);
    CREATE INDEX IF NOT EXISTS entries_by_task ON entries (task_id, provider, kind);
    CREATE INDEX IF NOT EXISTS entries_by_tag ON entries (tag) WHERE tag IS NOT NULL;
    CREATE INDEX IF NOT EXISTS entries_by_key ON entries (key, provider);
"""
_COLUMNS = (
    "received_us, delivery_id, provider, kind, origin, task_id, tag, found.key, status, body_bytes,"
    " invalid, name, position, lines, suffix, member_offset, member_bytes, line_offset, line_bytes"
)


Order = Literal["arrival", "newest", "object"]
_ORDERS: Mapping[Order, str] = {
    "arrival": "received_us, delivery_id",
    "newest": "received_us DESC, delivery_id DESC",
    "object": "segment, provider, kind, position",
}


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync read."""

    segments: int
    entries: int


class Catalog:
    """A catalog file and the store whose index it repeats.  Methods block."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._store = store

    def sync(self, *, since: datetime) -> Synced:
        """Take in the index of all days from ``since`` until tomorrow.

        Safe to stop at any moment and to run in several processes; what was read stays read.
        """
        with self._open() as database:
            segments = entries = 0
            for batch in _batches(self._new_keys(database, since)):
                segments += len(batch)
                entries += self._take(database, batch)
            return Synced(segments, entries)

    def archived(self, provider: str, task_ids: Iterable[str], *, kinds: Iterable[str]) -> set[str]:
        """Return those of some tasks of which the archive has a line of one of these kinds."""
        wanted = list(kinds)
        marks = ",".join("?" * len(wanted))
        query = (
            "SELECT 1 FROM entries WHERE task_id = ? AND provider = ?"  # noqa: S608
            f" AND kind IN ({marks}) LIMIT 1"
        )
        with self._open() as database:
            return {
                task_id
                for task_id in task_ids
                if database.execute(query, (task_id, provider, *wanted)).fetchone()
            }

    def has_key(self, provider: str, key: str) -> bool:
        """Say whether the archive has a line with this key."""
        query = "SELECT 1 FROM entries WHERE key = ? AND provider = ? LIMIT 1"
        with self._open() as database:
            return database.execute(query, (key, provider)).fetchone() is not None

    def arrivals(self, provider: str, *, kind: str, since: str) -> dict[str, str]:
        """Return the tasks with a line of this kind since a moment, and when the first came."""
        query = (
            "SELECT task_id, min(received_us) FROM entries"
            " WHERE provider = ? AND kind = ? AND received_us >= ? AND task_id IS NOT NULL"
            " GROUP BY task_id"
        )
        with self._open() as database:
            rows = database.execute(query, (provider, kind, clock.read_rfc3339(since)))
            return {task_id: clock.rfc3339(first_us) for task_id, first_us in rows}

    def find(
        self,
        filters: Filters,
        *,
        order: Order = "arrival",
        limit: int | None = None,
        latest: bool = False,
        shard: Shard | None = None,
    ) -> Iterator[Entry]:
        """Yield the entries that pass.

        ``latest`` leaves the newest of each provider's key; what has no key stays.  The order
        ``object`` is the one in which the archive is read with the fewest requests.
        """
        source, values = _source(filters, latest=latest, shard=shard)
        query = (
            f"SELECT {_COLUMNS} FROM ({source}) AS found JOIN segments ON segments.id = segment"  # noqa: S608
            f" ORDER BY {_ORDERS[order]} LIMIT ?"
        )
        with self._open() as database:
            _know(database, shard)
            for row in database.execute(query, (*values, -1 if limit is None else limit)):
                yield _entry(row)

    def count(
        self, filters: Filters, *, latest: bool = False, shard: Shard | None = None
    ) -> tuple[int, int]:
        """Return how many entries `find` yields, and the bytes of their bodies."""
        source, values = _source(filters, latest=latest, shard=shard)
        query = f"SELECT count(*), coalesce(sum(body_bytes), 0) FROM ({source})"  # noqa: S608
        with self._open() as database:
            _know(database, shard)
            callbacks, body_bytes = database.execute(query, values).fetchone()
            return callbacks, body_bytes

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file; build it again where it turns out to be damaged.

        Raises `StoreError` where it cannot be used at this moment.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                database = self._connect()
            except (sqlite3.DatabaseError, _OtherFormat) as exc:
                if not _is_useless(exc):
                    raise
                self._forget(exc)
                database = self._connect()
            with closing(database):
                yield database
        except sqlite3.DatabaseError as exc:
            if _is_useless(exc):
                # Damage that only reading found; who asked has to begin anew, with `sync`.
                self._forget(exc)
            raise StoreError(f"the catalog {self._path} failed: {exc}") from exc
        except OSError as exc:
            raise StoreError(f"cannot make {self._path.parent}: {exc.strerror}") from exc

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=60.0)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            # A cache may lose its last transactions: they are read again.
            database.execute("PRAGMA synchronous = OFF")
            (known,) = database.execute("PRAGMA user_version").fetchone()
            if known not in (0, _FORMAT):
                raise _OtherFormat(f"format {known}")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            database.close()
            raise
        return database

    def _forget(self, why: Exception) -> None:
        _log.warning("catalog is damaged and built again", extra={"error": str(why)})
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _new_keys(self, database: sqlite3.Connection, since: datetime) -> Iterator[str]:
        day = since.astimezone(UTC).date()
        last = (datetime.now(UTC) + timedelta(days=1)).date()
        while day <= last:
            known = {
                row[0]
                for row in database.execute("SELECT key FROM segments WHERE day = ?", (str(day),))
            }
            for listed in self._store.list(f"index/date={day}/"):
                if listed.key not in known:
                    yield listed.key
            day += timedelta(days=1)

    def _take(self, database: sqlite3.Connection, keys: list[str]) -> int:
        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="catalog") as pool:
            read = list(pool.map(self._read, keys))
        count = 0
        with database:
            database.execute("BEGIN IMMEDIATE")
            for key, found in zip(keys, read, strict=True):
                if found is not None:
                    count += _insert(database, key, found)
        return count

    def _read(self, key: str) -> list[Entry] | None:
        try:
            content = self._store.get(key)
        except NotFound:
            return None  # removed by a lifecycle rule since it was listed
        try:
            return entries(content)
        except StoreError as exc:
            # What an index object cannot tell any more `receiver verify` reports.
            _log.error("index object is damaged", extra={"key": key, "error": str(exc)})
            return None


class _OtherFormat(Exception):
    """The file was written by another version."""


def _is_useless(exc: Exception) -> bool:
    """Say whether a file must be built again; one that is only busy or unreachable must not."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return isinstance(exc, _OtherFormat) or code in _DAMAGED


def _batches(keys: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(keys, _BATCH)):
        yield batch


def _insert(database: sqlite3.Connection, key: str, found: list[Entry]) -> int:
    day = key.partition("date=")[2].partition("/")[0]
    name = key.rpartition("/")[2].removesuffix(INDEX_SUFFIX)
    suffix = found[0].object.rpartition(name)[2] if found else ""
    cursor = database.execute(
        "INSERT OR IGNORE INTO segments (key, day, name, suffix, lines) VALUES (?, ?, ?, ?, ?)",
        (key, day, name, suffix, len(found)),
    )
    if not cursor.rowcount:
        return 0  # another process took it in
    segment = cursor.lastrowid
    database.executemany(
        "INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            (
                clock.read_rfc3339(entry.received_at),
                entry.delivery_id,
                entry.provider,
                entry.kind,
                entry.origin,
                entry.task_id,
                entry.tag,
                entry.key,
                entry.status,
                entry.body_bytes,
                entry.invalid,
                segment,
                entry.position,
                entry.member_offset,
                entry.member_bytes,
                entry.line_offset,
                entry.line_bytes,
            )
            for entry in found
        ),
    )
    return len(found)


def _source(filters: Filters, *, latest: bool, shard: Shard | None) -> tuple[str, list[object]]:
    """Return the entries that pass as SQL, and the values bound in it."""
    conditions, values = _conditions(filters)
    if shard is not None:
        conditions += " AND in_shard(provider, coalesce(key, delivery_id))"
    source = f"SELECT *, rowid FROM entries WHERE {conditions}"  # noqa: S608
    if latest:
        source = (
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY provider, key"  # noqa: S608
            f" ORDER BY received_us DESC, delivery_id DESC) AS age FROM ({source}))"
            " WHERE age = 1 OR key IS NULL"
        )
    return source, values


def _know(database: sqlite3.Connection, shard: Shard | None) -> None:
    """Let SQL ask which part a key is in."""
    if shard is not None:
        database.create_function("in_shard", 2, shard.holds, deterministic=True)


def _conditions(filters: Filters) -> tuple[str, list[object]]:
    """Return the filters as SQL; column names are ours, values are bound."""
    conditions, values = ["1"], list[object]()
    for name, value in filters.equal().items():
        conditions.append(f"{name} = ?")
        values.append(value)
    if filters.since_us is not None:
        conditions.append("received_us >= ?")
        values.append(filters.since_us)
    if filters.until_us is not None:
        conditions.append("received_us < ?")
        values.append(filters.until_us)
    if filters.invalid == "*":
        conditions.append("invalid IS NOT NULL")
    elif filters.invalid is not None:
        conditions.append("coalesce(invalid, '') = ?")
        values.append(filters.invalid)
    return " AND ".join(conditions), values


def _entry(row: tuple[Any, ...]) -> Entry:
    (received_us, delivery_id, provider, kind, origin, task_id, tag, key, status) = row[:9]
    (body_bytes, invalid, name, position, lines, suffix, *place) = row[9:]
    member_offset, member_bytes, line_offset, line_bytes = place
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
        segment=name,
        position=position,
        of=lines,
        object=callbacks_key(
            name, received_at_us=received_us, provider=provider, kind=kind, suffix=suffix
        ),
        member_offset=member_offset,
        member_bytes=member_bytes,
        line_offset=line_offset,
        line_bytes=line_bytes,
    )

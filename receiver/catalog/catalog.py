"""The catalog's queries."""

import logging
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from receiver import clock
from receiver.archive.schema import Entry
from receiver.catalog import queries, syncing
from receiver.catalog.file import File, Replaced, Unusable
from receiver.catalog.filters import Filters, Shard
from receiver.catalog.queries import Order
from receiver.catalog.syncing import Synced
from receiver.store import Store

_log = logging.getLogger(__name__)


class Catalog:
    """A catalog file and the store whose index it caches.  Methods block.

    Queries see what the last sync took in, and what other processes have taken in since.  They
    raise `StoreError` where the file cannot be used.
    """

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._store = store
        self._file = File(path)
        self._syncing = threading.Lock()

    def sync(self, *, since: datetime | None = None, until: datetime | None = None) -> Synced:
        """Take in the index objects of the hours from ``since`` to ``until``, both included.

        It may be killed at any moment, and several processes may sync one file; what was taken in
        is kept.  If the file cannot be used, a temporary one takes its place from here on.  Raises
        `StoreError` where the store fails.
        """
        with self._syncing:
            try:
                return self._sync(since, until)
            except Unusable as exc:
                if self._file.is_temporary:
                    raise
                _log.warning(
                    "catalog cannot be used; reading the index without it, which takes longer",
                    extra={
                        "error": str(exc),
                        "hint": "set RECEIVER_CATALOG to a directory that can be written",
                    },
                )
                self._file = File(None)
                return self._sync(since, until)

    def archived(self, provider: str, task_ids: Iterable[str], *, kinds: Iterable[str]) -> set[str]:
        """Return the given tasks that have a line of one of these kinds in the archive.

        A postback that brought no result does not count.
        """
        query = "SELECT DISTINCT label FROM entries INDEXED BY entries_by_task_id WHERE task_id = ?"
        with self._file.reading() as database:
            # A set: senders choose how many labels there are, and SQLite would sort them each time.
            numbers = set(queries.labels_of_results(database, provider, kinds))
            return {
                task_id
                for task_id in task_ids
                if any(label in numbers for (label,) in database.execute(query, (task_id,)))
            }

    def fruitless(self, provider: str, task_ids: Iterable[str], *, at_least: int) -> set[str]:
        """Return the given tasks of which so many fetched results are held, none of them valid."""
        query = (
            "SELECT count(*) FROM entries INDEXED BY entries_by_task_id"
            " WHERE task_id = ? AND label IN ({})"
        )
        with self._file.reading() as database:
            numbers = queries.labels_of_results(database, provider, ["result"], brings=False)
            if not numbers:
                return set()
            query = query.format(",".join(map(str, numbers)))
            return {
                task_id
                for task_id in task_ids
                if database.execute(query, (task_id,)).fetchone()[0] >= at_least
            }

    def has_key(self, provider: str, key: str) -> bool:
        """Return whether the archive has a line with this key."""
        return any(True for _ in self.find(Filters(provider=provider, key=key), limit=1))

    def arrivals(self, provider: str, *, kind: str, since: str) -> dict[str, str]:
        """Return the tasks that have a line of this kind since a moment, and when it came first."""
        filters = Filters(provider=provider, kind=kind, since_us=clock.read_rfc3339(since))
        first: dict[str, str] = {}
        for entry in self.find(filters):
            if entry.task_id is not None:
                first.setdefault(entry.task_id, entry.received_at)
        return first

    def find(
        self,
        filters: Filters,
        *,
        order: Order = "arrival",
        limit: int | None = None,
        latest: bool = False,
        shard: Shard | None = None,
    ) -> Iterator[Entry]:
        """Yield the entries that pass the filters.

        ``latest`` leaves the newest of each provider's key, a valid one if there is any, and those
        without a key.  The order ``object`` is the one in which the archive is read with the fewest
        requests.
        """
        with self._file.reading() as database:
            passing = queries.labels(database, filters)
            if passing == []:
                return
            query = queries.Query(filters=filters, labels=passing, latest=latest, shard=shard)
            for row in database.execute(query.select(order), query.values(limit)):
                yield queries.entry(row)

    def count(
        self, filters: Filters, *, latest: bool = False, shard: Shard | None = None
    ) -> tuple[int, int]:
        """Return the number of entries that `find` yields, and the bytes of their bodies."""
        with self._file.reading() as database:
            passing = queries.labels(database, filters)
            if passing == []:
                return 0, 0
            query = queries.Query(filters=filters, labels=passing, latest=latest, shard=shard)
            callbacks, body_bytes = database.execute(query.count(), query.values()).fetchone()
            return callbacks, body_bytes

    def _sync(self, since: datetime | None, until: datetime | None) -> Synced:
        try:
            return self._sync_once(since, until)
        except Replaced:
            return self._sync_once(since, until)

    def _sync_once(self, since: datetime | None, until: datetime | None) -> Synced:
        with self._file.writing() as database:
            return syncing.sync(database, self._store, since=since, until=until)

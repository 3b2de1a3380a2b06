"""Which callbacks a replay sends: by id or by filters, the same in every run of a job."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from receiver import clock
from receiver.archive.schema import Entry
from receiver.catalog import Catalog, Order
from receiver.catalog.filters import Filters, Shard


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a selection; ``bytes`` are those of the decoded bodies."""

    callbacks: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The callbacks that were asked for; with ``ids``, only those deliveries and tasks."""

    ids: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    order: Order = "arrival"
    limit: int | None = None
    latest: bool = False
    shard: Shard | None = None

    def plain(self) -> dict[str, Any]:
        """Return the selection as plain data for JSON; `of` reads it back."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Selection":
        """Return the selection that `plain` returned."""
        shard = plain["shard"] and Shard(**plain["shard"])
        more = {"ids": tuple(plain["ids"]), "filters": Filters(**plain["filters"]), "shard": shard}
        return cls(**{**plain, **more})

    @property
    def since_us(self) -> int | None:
        """The earliest arrival that it can contain, None if that is unknown."""
        if not self.ids:
            return self.filters.since_us
        if all(map(is_delivery_id, self.ids)):
            return min(map(clock.id_time_us, self.ids))
        return None

    def entries(self, catalog: Catalog) -> Iterator[Entry]:
        """Yield the entries, in order."""
        if not self.ids:
            yield from catalog.find(
                self.filters,
                order=self.order,
                limit=self.limit,
                latest=self.latest,
                shard=self.shard,
            )
            return
        found = itertools.chain.from_iterable(_of_id(catalog, known) for known in self.ids)
        yield from itertools.islice(found, self.limit)

    def absent(self, catalog: Catalog) -> list[str]:
        """Return the ids that match no callback."""
        return [known for known in self.ids if next(_of_id(catalog, known), None) is None]

    def size(self, catalog: Catalog) -> Size:
        """Count the callbacks."""
        if not self.ids and self.limit is None:
            return Size(*catalog.count(self.filters, latest=self.latest, shard=self.shard))
        callbacks = total = 0
        for entry in self.entries(catalog):
            callbacks += 1
            total += entry.body_bytes
        return Size(callbacks, total)


def is_delivery_id(text: str) -> bool:
    """Return whether a text has the form of a delivery id, from which its time can be read."""
    return clock.is_id(text)


def _of_id(catalog: Catalog, known: str) -> Iterator[Entry]:
    filters = Filters(task_id=known)
    if is_delivery_id(known):
        at_us = clock.id_time_us(known)
        filters = Filters(since_us=at_us, until_us=at_us + 1000)
    return (entry for entry in catalog.find(filters) if known in (entry.delivery_id, entry.task_id))

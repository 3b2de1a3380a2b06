"""Which callbacks a replay sends: by their ids, or by filters; the same at every run of a job."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from receiver import clock
from receiver.archive.schema import Entry
from receiver.catalog import Catalog, Order
from receiver.catalog.filters import Filters, Shard

_DELIVERY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True)
class Size:
    """How much a selection is; ``bytes`` are those of the decoded bodies."""

    callbacks: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was asked for.  With ``ids`` (of deliveries or tasks), only those."""

    ids: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    order: Order = "arrival"
    limit: int | None = None
    latest: bool = False
    shard: Shard | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it; `of` reads it back."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Selection":
        """Return the selection that `plain` wrote."""
        shard = plain["shard"] and Shard(**plain["shard"])
        more = {"ids": tuple(plain["ids"]), "filters": Filters(**plain["filters"]), "shard": shard}
        return cls(**{**plain, **more})

    @property
    def since_us(self) -> int | None:
        """The arrival of the oldest that can be in it, None if that is not known."""
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
        """Return the ids of which there is nothing."""
        return [known for known in self.ids if next(_of_id(catalog, known), None) is None]

    def size(self, catalog: Catalog) -> Size:
        """Count it."""
        if not self.ids and self.limit is None:
            return Size(*catalog.count(self.filters, latest=self.latest, shard=self.shard))
        callbacks = total = 0
        for entry in self.entries(catalog):
            callbacks += 1
            total += entry.body_bytes
        return Size(callbacks, total)


def is_delivery_id(text: str) -> bool:
    """Say whether a text can be a delivery id, which gives away its time."""
    return _DELIVERY_ID.match(text) is not None


def _of_id(catalog: Catalog, known: str) -> Iterator[Entry]:
    filters = Filters(task_id=known)
    if is_delivery_id(known):
        at_us = clock.id_time_us(known)
        filters = Filters(since_us=at_us, until_us=at_us + 1000)
    return (entry for entry in catalog.find(filters) if known in (entry.delivery_id, entry.task_id))

"""The rows that are figures of their own: each has a module with a function `measure`.

A new row is a module and a line in `ROWS`; what it returns is printed and written as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.tools.bench.process import Program
from tests.tools.bench.sides import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report; with a goal, whether it is met.  ``raw`` goes into `bench.json`."""

    name: str
    value: str
    goal: str | None = None
    met: bool = True
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a row is given."""

    setting: Setting
    stub: Program
    pairs: int
    seconds: int
    # In the catalog that is looked into.
    entries: int
    # Little of everything, to see that it works.
    quick: bool
    progress: Callable[[str], None]


Measure = Callable[[Asked], list[Figure]]


def rows() -> Mapping[str, Measure]:
    """Return the rows by name; imported late, for each brings what only it needs."""
    from tests.tools.bench import archive_ack, balancer, catalog, reading, replay

    return {
        "archive-ack": archive_ack.measure,
        "balancer": balancer.measure,
        "verify": reading.measure_verify,
        "export": reading.measure_export,
        "find": catalog.measure_find,
        "sync": catalog.measure_sync,
        "replay": replay.measure,
    }

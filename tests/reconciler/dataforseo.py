"""Sweeps of DataForSEO, for tests: a sweep, and finished tasks for it to find."""

from typing import Any

from receiver.reconciler import DataForSeoSweep
from tests.reconciler.place import HOUR, own_url
from tests.tools.simulators.dataforseo import DataForSeo

ORGANIC = "serp/google/organic"
# Of a result, up to the id of its task.
PATH = f"/v3/{ORGANIC}/task_get/advanced/"


def sweep_of(provider: str = "dataforseo", **options: Any) -> DataForSeoSweep:
    """Return a sweep, of the family `serp` by default."""
    return DataForSeoSweep(
        **{
            "families": ["serp"],
            "tags": "*",
            "own_urls": [own_url(provider, "postback"), own_url(provider, "pingback")],
            "grace_seconds": 600.0,
            **options,
        }
    )


def age(simulator: DataForSeo, seconds: float = 2 * HOUR) -> None:
    """Let everything so far grow older."""
    simulator.clock.advance(seconds)


def ready(simulator: DataForSeo, count: int, **options: Any) -> list[str]:
    """List finished tasks that are old enough to be missing."""
    ids = simulator.add_ready(ORGANIC, count, **options)
    age(simulator)
    return ids

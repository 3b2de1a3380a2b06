"""The lease of a process that is gone, as the archive holds it."""

import time
from pathlib import Path

import orjson

from tests.tools.support.wait import wait_for

# Others leave a lease alone for this long after its end: clocks differ.
_GRACE_SECONDS = 10


def wait_until_free(archive: Path, name: str) -> None:
    """Wait until the next instance that asks for a lease is given it."""
    path = archive / "leases" / f"{name}.json"

    def free() -> bool:
        ends = orjson.loads(path.read_bytes())["expires_at_us"] / 1e6
        return bool(time.time() > ends + _GRACE_SECONDS)

    wait_for(free, f"the lease {name} runs out", seconds=60)

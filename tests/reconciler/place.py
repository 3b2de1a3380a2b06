"""An instance without its door: store, spool, catalog, sweeps, and an archive to look into."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from receiver.archive import COMPRESSIONS
from receiver.catalog import Catalog
from receiver.providers import PROVIDERS, dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.conversation import CallPolicy
from receiver.reconciler import Repair, Sweep, SweepRun, SweepSummary, run_sweep
from receiver.reconciler.caller import Caller
from receiver.reconciler.sink import Sink
from receiver.shipper import Shipper
from receiver.store import DirectoryStore, Store
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.clock import Clock
from tests.tools.simulators.server import Simulator
from tests.tools.support.oracle import DirectoryArchive, read_lines

TOKEN = "canary-token-3f9d2c81b7a64e05"
HOUR = 3600.0
DAY = 24 * HOUR
CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "dataforseo": {"headers": {"Authorization": "Basic bG9naW46cGFzc3dvcmQ="}},
    "dataforapps": {"headers": {"Authorization": "Basic bG9naW46cGFzc3dvcmQ="}},
    "diffbot": {"secret_query": {"token": "token"}},
    "outscraper": {"headers": {"X-API-KEY": "key"}},
}
POLICIES: Mapping[str, CallPolicy] = {
    "dataforseo": dataforseo_api.POLICY,
    "dataforapps": dataforseo_api.POLICY,
    "diffbot": diffbot_api.POLICY,
    "outscraper": outscraper_api.POLICY,
}


def past(seconds: float) -> Clock:
    """Return a clock that is behind by so much; `advance` it by as much, and it is now."""
    return Clock(start=time.time() - seconds)


def own_url(provider: str, kind: str) -> str:
    """Return the piece by which a URL is known to be ours."""
    return f"/{provider}/{kind}/{TOKEN}"


class Place:
    """One instance and the provider that it sweeps."""

    def __init__(
        self,
        root: Path,
        provider: str,
        simulator: Simulator,
        *,
        instance: str = "here",
        store: Store | None = None,
    ) -> None:
        self.provider = provider
        self.spool = root / instance / "spool"
        self.spool.mkdir(parents=True)
        self.archive = DirectoryArchive(root / "archive")
        self.store: Store = store or DirectoryStore(root / "archive")
        self._catalog = root / instance / "catalog.sqlite"
        self._instance = instance
        self._simulator = simulator
        self._run: SweepRun | None = None

    def new_run(self, *, real_time: bool = False, **options: Any) -> SweepRun:
        """Return a run whose calls wait on the simulator's clock, or in real time."""
        clocks: dict[str, Any] = {"now": self._simulator.clock.time, "sleep": self._sleep}
        return SweepRun(
            provider=self.provider,
            instance=self._instance,
            store=self.store,
            catalog=Catalog(self._catalog, self.store),
            caller=Caller(
                provider=self.provider,
                base_url=self._simulator.url,
                policy=POLICIES[self.provider],
                **CREDENTIALS[self.provider],
                body_bytes_max=options.pop("body_bytes_max", 256 << 20),
                **({} if real_time else clocks),
            ),
            sink=Sink(
                self.spool,
                instance=self._instance,
                batch_bytes=1 << 20,
                batch_seconds=10.0,
                spool_bytes_max=options.pop("spool_bytes_max", 1 << 30),
                disk_reserve_bytes=0,
            ),
            spool_root=self.spool,
            lease_seconds=options.pop("lease_seconds", 60.0),
            tasks_max=options.pop("tasks_max", 100_000),
            **options,
        )

    async def _sleep(self, seconds: float) -> None:
        self._simulator.clock.advance(seconds)
        await asyncio.sleep(0)

    def sweep(self, sweep: Sweep, **options: Any) -> SweepSummary:
        """Sweep once, and ship what was fetched."""
        self._run = self.new_run(**options)
        try:
            return asyncio.run(run_sweep(sweep, self._run))
        finally:
            self.ship()

    def ship(self) -> None:
        """Put what is in the spool into the archive."""
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=64 << 20,
            concurrency=2,
        ).ship(self.spool)

    def arrived(
        self, kind: str, tasks: Iterable[str], *, bodies: Mapping[str, bytes] | None = None
    ) -> None:
        """Spool callbacks as the door does."""
        segment_file(
            self.spool,
            [
                (
                    head_of(
                        provider=self.provider,
                        kind=kind,
                        at_us=int(time.time() * 1e6),
                        target=f"/{self.provider}/{kind}/***?id={task_id}&tag=ours",
                    ),
                    (bodies or {}).get(task_id, b""),
                )
                for task_id in tasks
            ],
        )

    # What came of it.

    def outcomes(self) -> dict[str, str]:
        """Return what the last sweep's report says of each task."""
        return {repair.task_id: repair.outcome for repair in self.repairs()}

    def repairs(self) -> list[Repair]:
        """Return what the last sweep did, in order."""
        assert self._run is not None
        return self._run.report.repairs

    def lines(self, **wanted: str) -> dict[str, dict[str, Any]]:
        """Return the archive's lines by task, each task once."""
        lines = [
            line
            for line in read_lines(self.archive)
            if all(line[name] == value for name, value in wanted.items())
        ]
        by_task = {str(line["task_id"]): line for line in lines}
        assert len(lines) == len(by_task)
        return by_task

    def reports(self) -> list[list[dict[str, Any]]]:
        """Return the reports, oldest first, as their lines."""
        keys = self.archive.keys("sweeps/date=")
        return [[orjson.loads(line) for line in self.archive.get(key).splitlines()] for key in keys]

    def unfinished(self) -> list[str]:
        """Return the tasks on lists of what is unfinished."""
        return [
            task["task_id"]
            for key in self.archive.keys("sweeps/unfinished/")
            for task in orjson.loads(self.archive.get(key))["tasks"]
        ]


def body_of(line: Mapping[str, Any]) -> Any:
    """Return the JSON that a line of the archive holds."""
    return orjson.loads(line["body"])


def result_of(line: Mapping[str, Any]) -> Any:
    """Return `result` of a line that holds DataForSEO's envelope."""
    return body_of(line)["tasks"][0]["result"]

"""The figures beside the table: half load, shipping alone, S3 requests, memory."""

import shutil
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from tests.tools.bench import machine, s3, ship, sides
from tests.tools.bench.pairs import Pair, Ratio, percentile, take_turns
from tests.tools.bench.process import Program, memory_peak_bytes, until
from tests.tools.bench.sides import Setting, Side

Progress = Callable[[str], None]

# So many connections that a pause between two callbacks of one is long beside an answer's time.
PACED_CONNECTIONS = 256
_STABLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfLoad:
    """Latency at half of the receiver's greatest rate, and the syncs it must be excused for."""

    rate: float
    p50_ms: float
    p99_ms: float
    route_p50_ms: float
    route_p99_ms: float
    sync_p50_ms: float
    sync_p99_ms: float

    @property
    def ratio(self) -> float:
        """How much of the allowance is used: the p99 over that of the route and one usual sync."""
        return self.p99_ms / (self.route_p99_ms + self.sync_p50_ms)

    @property
    def ratio_to_slow_sync(self) -> float:
        """The same with one slow sync, the 99th of a hundred."""
        return self.p99_ms / (self.route_p99_ms + self.sync_p99_ms)


def half_load(
    route: Side, receiver: Side, *, rate_max: float, pairs: int, seconds: int, progress: Progress
) -> HalfLoad:
    """Post at half of a rate to both sides in turn, with syncs measured in between."""
    pause_ms = max(1, round(PACED_CONNECTIONS / (rate_max / 2) * 1000))
    taken: list[Pair] = []
    syncs: list[float] = []
    for _ in range(pairs):
        syncs += machine.sync_seconds(route.setting.directory)
        taken += take_turns(
            route,
            receiver,
            pairs=1,
            connections=PACED_CONNECTIONS,
            seconds=seconds,
            pause_ms=pause_ms,
            progress=progress,
        )
    return HalfLoad(
        rate=statistics.median(pair.run.requests_per_second for pair in taken),
        p50_ms=statistics.median(pair.run.p50_ms for pair in taken),
        p99_ms=statistics.median(pair.run.p99_ms for pair in taken),
        route_p50_ms=statistics.median(pair.reference.p50_ms for pair in taken),
        route_p99_ms=statistics.median(pair.reference.p99_ms for pair in taken),
        sync_p50_ms=percentile(syncs, 50) * 1e3,
        sync_p99_ms=percentile(syncs, 99) * 1e3,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipping:
    """CPU time of shipping alone for each callback: median, least, most."""

    cpu_us: float
    cpu_us_least: float
    cpu_us_most: float
    callbacks_per_second: float
    memory_peak_bytes: int
    # How much more the other checkout uses.
    beside: Ratio | None


def shipping(
    setting: Setting,
    *,
    archive: str | None,
    environ: dict[str, str],
    rounds: int,
    callbacks: int,
    progress: Progress,
) -> Shipping:
    """Fill a spool and ship it, repeatedly; without ``archive``, to a directory.

    Another checkout takes its turn in each round.
    """
    spool, directory = setting.directory / "spool-to-ship", setting.directory / "archive-shipped"
    cores = setting.cores.server | setting.cores.load

    def shipment(python: str) -> ship.Shipment:
        ship.fill(spool, callbacks)
        try:
            to = archive or str(directory)
            return ship.empty(spool, to, environ, cores, python=python)
        finally:
            shutil.rmtree(spool)
            shutil.rmtree(directory, ignore_errors=True)

    shipments, others = [], []
    for number in range(1, rounds + 1):
        progress(f"shipping {callbacks} callbacks to {archive or 'a directory'}, round {number}")
        if setting.beside is not None:
            others.append(shipment(setting.beside))
        shipments.append(shipment(sys.executable))
    cpu_us = [shipment.cpu_us for shipment in shipments]
    more = [other.cpu_us / us for other, us in zip(others, cpu_us, strict=False)]
    return Shipping(
        cpu_us=statistics.median(cpu_us),
        cpu_us_least=min(cpu_us),
        cpu_us_most=max(cpu_us),
        callbacks_per_second=statistics.median(s.callbacks / s.seconds for s in shipments),
        memory_peak_bytes=max(shipment.memory_peak_bytes for shipment in shipments),
        beside=Ratio.of(more) if more else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Requests:
    """What a real receiver asks of S3 at an even rate, with default settings."""

    rate: float
    callbacks: int
    requests: int
    server_memory_peak_bytes: int
    parent_memory_peak_bytes: int

    @property
    def per_million(self) -> float:
        """Requests for each million callbacks."""
        return self.requests / self.callbacks * 1e6


def s3_requests(
    setting: Setting, stub: Program, *, rate: int, seconds: int, progress: Progress
) -> S3Requests:
    """Post at an even rate and count what the stub of S3 is asked for.

    Only segments that were archived while the load lasted, or that the load filled, are counted,
    with their callbacks: the last one is sealed because the load ends, and would not have been.
    """
    progress(f"S3 requests at {rate} callbacks a second, {seconds} s")
    with sides.shipping_to_s3(setting, stub.url) as side:
        before = requests_of(stub)
        run = side.run(
            connections=PACED_CONNECTIONS,
            seconds=seconds,
            pause_ms=round(PACED_CONNECTIONS / rate * 1000),
        )
        callbacks, requests = _when_stable(side, stub)
        return S3Requests(
            rate=run.requests_per_second,
            callbacks=callbacks,
            requests=requests - before,
            server_memory_peak_bytes=memory_peak_bytes(side.server),
            parent_memory_peak_bytes=memory_peak_bytes(side.program.pid),
        )


def _when_stable(side: Side, stub: Program) -> tuple[int, int]:
    """Return archived callbacks and requests when neither changes and there are some."""
    last, since = (0, 0), time.monotonic()

    def stable() -> bool:
        nonlocal last, since
        now = _archived(side), requests_of(stub)
        if now != last:
            last, since = now, time.monotonic()
        return now[0] > 0 and time.monotonic() - since > _STABLE_SECONDS

    until(stable, "a segment is archived")
    return last


def _archived(side: Side) -> int:
    for line in _get(side.program.said("admin on ") + "/metrics").decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name == "receiver_shipped_records_total":
            return int(float(value))
    return 0


def requests_of(stub: Program) -> int:
    """Return how much the stub of S3 was asked for."""
    return sum(orjson.loads(_get(stub.url + s3.COUNTS)).values())


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content = answer.read()
    assert isinstance(content, bytes)
    return content

"""Every metric, by name and meaning, and how the figures of several processes become one.

A server process counts in its own registry and sends `snapshot` to its parent; the parent's
`Instance` collector adds them up.  What a process that was killed had not sent yet, at most a
second's worth, is missing from the counters, never from the spool.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import REGISTRY, Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

acknowledged = Counter(
    "receiver_acknowledged", "Callbacks answered 2xx: durable.", ["provider", "kind"]
)
acknowledged_bytes = Counter(
    "receiver_acknowledged_bytes", "Body bytes of acknowledged callbacks.", ["provider", "kind"]
)
rejected = Counter("receiver_rejected", "Requests not acknowledged.", ["provider", "reason"])
connections = Gauge("receiver_connections", "Open connections to the server processes.")
inflight_bytes = Gauge("receiver_inflight_bytes", "Body bytes read and not yet durable.")
commit_seconds = Histogram(
    "receiver_commit_seconds",
    "Write and sync of one group of callbacks.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10),
)
commit_records = Histogram(
    "receiver_commit_records",
    "Callbacks that shared one sync.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024),
)
archive_ack_seconds = Histogram(
    "receiver_archive_ack_seconds",
    "From durable on disk to confirmed by the archive, for each segment (RECEIVER_ACK=archive).",
    buckets=(0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 4, 8, 16),
)
spool_failures = Counter("receiver_spool_failures", "Writes, syncs and seals that failed.")

spool_bytes = Gauge("receiver_spool_bytes", "Bytes in the spool, of all processes.")
spool_left_bytes = Gauge("receiver_spool_left_bytes", "Bytes the spool may still take.")
disk_left_bytes = Gauge(
    "receiver_disk_left_bytes", "Free bytes of the spool's disk, less the reserve."
)
spool_segments = Gauge("receiver_spool_segments", "Segment files in the spool.", ["state"])
lag_seconds = Gauge(
    "receiver_lag_seconds", "Age of the oldest acknowledged callback not yet in the archive."
)
shipped_segments = Counter("receiver_shipped_segments", "Segments that the archive confirmed.")
shipped_records = Counter("receiver_shipped_records", "Callbacks put into the archive.")
shipped_bytes = Counter("receiver_shipped_bytes", "Bytes put into the archive, compressed.")
invalid = Counter("receiver_invalid", "Archived, but not as expected.", ["provider", "reason"])
quarantined = Counter("receiver_quarantined", "Damaged parts of segments put into quarantine.")
last_ship_seconds = Gauge(
    "receiver_last_ship_timestamp_seconds", "When a segment last reached the archive."
)
swept = Counter(
    "receiver_swept",
    "Tasks that sweeps dealt with; `repaired` had not come.",
    ["provider", "outcome"],
)
last_sweep_seconds = Gauge(
    "receiver_last_sweep_timestamp_seconds", "When a sweep last came to its end.", ["provider"]
)
leases_lost = Counter(
    "receiver_leases_lost", "Leases that ran out or were taken over while they were needed."
)
clock_seconds = Gauge("receiver_clock_timestamp_seconds", "This machine's clock.")
forwarded = Counter(
    "receiver_forwarded", "Callbacks that the target confirmed, or that were given up.", ["outcome"]
)
forward_lag_seconds = Gauge(
    "receiver_forward_lag_seconds",
    "Age of the oldest archived callback that the target has not confirmed.",
)
pass_failures = Counter("receiver_pass_failures", "Passes that ended in an error.", ["pass"])
server_processes = Gauge("receiver_server_processes", "Server processes that are running.")
server_restarts = Counter(
    "receiver_server_restarts", "Server processes that died and were replaced."
)
log_dropped = Counter(
    "receiver_log_dropped", "Log lines dropped: nobody read them in time, or the disk was full."
)

Samples: TypeAlias = list[tuple[str, dict[str, str], float]]


def snapshot(registry: CollectorRegistry = REGISTRY) -> Samples:
    """Return all of this process's own samples as plain data."""
    return [
        (sample.name, sample.labels, sample.value)
        for metric in _ours(registry)
        for sample in metric.samples
    ]


class Instance(Collector):
    """The sum over all processes of an instance: this one, its children, and those that ended."""

    def __init__(self) -> None:
        self._living: dict[int, Samples] = {}
        self._ended: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def update(self, process: int, samples: Samples) -> None:
        """Take the newest snapshot of a child."""
        self._living[process] = samples

    def retire(self, process: int) -> None:
        """Keep what an ended child has counted, and forget its gauges."""
        gauges = {metric.name for metric in _ours(REGISTRY) if metric.type == "gauge"}
        _add(
            self._ended,
            [sample for sample in self._living.pop(process, []) if sample[0] not in gauges],
        )

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values summed."""
        sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        own = list(_ours(REGISTRY))
        # Own samples first: they bring the buckets of a histogram in order.
        _add(sums, snapshot())
        for samples in self._living.values():
            _add(sums, samples)
        for key, value in self._ended.items():
            sums[key] = sums.get(key, 0.0) + value
        for metric in own:
            names = {metric.name + suffix for suffix in ("", "_total", "_bucket", "_sum", "_count")}
            summed = Metric(metric.name, metric.documentation, metric.type)
            for (name, labels), value in sums.items():
                if name in names:
                    summed.add_sample(name, dict(labels), value)
            yield summed

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def _ours(registry: CollectorRegistry) -> Iterator[Metric]:
    return (metric for metric in registry.collect() if metric.name.startswith("receiver_"))


def _add(
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float],
    samples: Iterable[tuple[str, dict[str, str], float]],
) -> None:
    for name, labels, value in samples:
        key = name, tuple(labels.items())
        sums[key] = sums.get(key, 0.0) + value

"""`RECEIVER_ACK=archive`: how long a callback waits for the archive, and what that asks of S3."""

import statistics
from dataclasses import asdict

from tests.tools.bench import figures, sides
from tests.tools.bench.process import Program
from tests.tools.bench.rows import Asked, Figure
from tests.tools.bench.sides import Run

# Median and 99th percentile of S3 for a small object.
_DELAY_MS = (30, 200)
_CONNECTIONS = (16, 64, 256)


def measure(asked: Asked) -> list[Figure]:
    """Post as fast as answers come, over some numbers of connections, to a slow stub of S3."""
    stub = sides.s3(asked.setting, delay_ms=_DELAY_MS)
    try:
        with sides.archive_ack(asked.setting, stub.url) as side:
            side.run(connections=16, seconds=1)
            return [_figure(asked, side, stub, count) for count in _CONNECTIONS]
    finally:
        stub.end()


def _figure(asked: Asked, side: sides.Side, stub: Program, connections: int) -> Figure:
    runs: list[Run] = []
    before = figures.requests_of(stub)
    posted = 0.0
    for number in range(asked.pairs):
        asked.progress(f"archive-ack, {connections} connections, run {number + 1}")
        run = side.run(connections=connections, seconds=max(3, asked.seconds))
        posted += run.requests_per_second * max(3, asked.seconds) + connections
        runs.append(run)
    per_million = (figures.requests_of(stub) - before) / posted * 1e6

    def median(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    return Figure(
        name=f"ACK=archive, S3 answers in {_DELAY_MS[0]} ms (p99 {_DELAY_MS[1]} ms), "
        f"{connections} connections",
        value=f"p50 {median('p50_ms'):.0f} ms, p99 {median('p99_ms'):.0f} ms, "
        f"{median('requests_per_second'):,.0f} callbacks/s, CPU {median('cpu_us'):.0f} µs each "
        f"and {median('parent_cpu_us'):.0f} of the parent, {per_million:,.0f} requests per million",
        raw={"runs": [asdict(run) for run in runs], "requests_per_million": per_million},
    )

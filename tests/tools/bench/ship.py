"""Shipping alone: a spool is filled, and a process of its own empties it.

    python -m tests.tools.bench.ship    with RECEIVER_SPOOL, RECEIVER_ARCHIVE … in the environment

prints what it took as JSON.  Filling goes through the package's own writer and framing, so the
segments are those that a server process would have left.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from receiver import clock, config, log
from receiver.instance import Receiver
from receiver.providers.envelope import encode_head
from receiver.spool import Writer, segment
from tests.tools.bench import callback
from tests.tools.bench.process import Failed

_BODIES = 64
_GROUP = 64
_SEGMENT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Shipment:
    """What one emptying of a spool came to."""

    callbacks: int
    cpu_us: float
    seconds: float
    memory_peak_bytes: int


def fill(root: Path, callbacks: int) -> None:
    """Fill a spool with standard callbacks, and leave it as a writer that has ended does."""
    bodies = [(callback.query(seed), callback.standard(seed)) for seed in range(_BODIES)]
    writer = Writer(root)
    for start in range(0, callbacks, _GROUP):
        group = [
            bodies[number % _BODIES] for number in range(start, min(callbacks, start + _GROUP))
        ]
        buffers: list[bytes] = []
        for query, body in group:
            buffers.append(segment.frame(writer.marker, _head(query, body), [body]))
            buffers.append(body)
        writer.write(buffers, records=len(group))
        if writer.bytes >= _SEGMENT_BYTES:
            writer.seal()
    writer.close()


def _head(query: str, body: bytes) -> bytes:
    at_us = clock.now_us()
    ours = (
        clock.new_id(at_us),
        at_us,
        "dataforseo",
        "postback",
        "callback",
        "127.0.0.1",
        "bench",
    )
    headers = [
        (b"host", b"127.0.0.1:8000"),
        (b"user-agent", b"DataForSEO"),
        (b"content-encoding", b"gzip"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return encode_head(ours, "POST", b"/dataforseo/postback/***?" + query.encode(), headers)


def empty(spool: Path, archive: str, environ: Mapping[str, str], cores: frozenset[int]) -> Shipment:
    """Ship a spool with default settings in a process of its own, and return what that took."""
    given = {"RECEIVER_SPOOL": str(spool), "RECEIVER_ARCHIVE": archive} | dict(environ)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.bench.ship"],
        cwd=spool.parent,
        env=clean | {"PYTHONPATH": str(Path(__file__).parents[3])} | given,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"shipping: {done.stderr.decode(errors='replace').strip()}")
    return Shipment(**orjson.loads(done.stdout))


def main() -> None:
    """Ship all there is and say what it took, without what it took to start."""
    log.configure(form="json", level="warning", stream=sys.stderr)
    settings = config.load()
    shipper = Receiver(settings).shipper
    before = resource.getrusage(resource.RUSAGE_SELF)
    began_us = clock.now_us()
    shipped = shipper.ship(settings.spool)
    seconds = (clock.now_us() - began_us) / 1e6
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(
        orjson.dumps(
            {
                "callbacks": shipped.records,
                "cpu_us": cpu / shipped.records * 1e6,
                "seconds": seconds,
                "memory_peak_bytes": used.ru_maxrss * 1024,
            }
        ).decode()
    )


if __name__ == "__main__":
    main()

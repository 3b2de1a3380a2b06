"""Shipping alone: a spool is filled, and the command `receiver ship` empties it.

Filling goes through the package's own writer and framing, so that the segments are those that a
server process would have left.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from receiver import clock
from receiver.providers.envelope import encode_head
from receiver.spool import Writer, segment
from tests.tools.bench import callback
from tests.tools.bench.process import Failed

_BODIES = 64
_GROUP = 64
_SEGMENT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Shipment:
    """The cost of shipping one spool."""

    callbacks: int
    cpu_us: float
    seconds: float
    memory_peak_bytes: int


def fill(root: Path, callbacks: int) -> None:
    """Fill a spool with standard callbacks, as a writer leaves it that has ended."""
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


def empty(
    spool: Path,
    archive: str,
    environ: Mapping[str, str],
    cores: frozenset[int],
    *,
    python: str = sys.executable,
) -> Shipment:
    """Ship a spool with `receiver ship` and default settings; return the cost without start-up."""
    nothing = spool.with_name(f"{spool.name}-empty")
    nothing.mkdir()
    command = [python, "-m", "receiver", "ship", "--output", "json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    given = clean | {"RECEIVER_ARCHIVE": archive} | dict(environ)
    start = _measure(command, given | {"RECEIVER_SPOOL": str(nothing)}, cores)
    whole = _measure(command, given | {"RECEIVER_SPOOL": str(spool)}, cores)
    nothing.rmdir()
    return Shipment(
        callbacks=whole.callbacks,
        cpu_us=(whole.cpu_seconds - start.cpu_seconds) / whole.callbacks * 1e6,
        seconds=whole.seconds - start.seconds,
        memory_peak_bytes=whole.memory_peak_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    callbacks: int
    cpu_seconds: float
    seconds: float
    memory_peak_bytes: int


def _measure(
    command: Sequence[str], environ: Mapping[str, str], cores: frozenset[int]
) -> _Measured:
    """Run `receiver ship` to its end; the CPU time is that of all its processes."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=environ["RECEIVER_SPOOL"],
            env=environ,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            stdout=output,
            stderr=errors,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise Failed(f"{' '.join(command)}: {errors.read().decode(errors='replace').strip()}")
        return _Measured(
            callbacks=orjson.loads(output.read())["records"],
            cpu_seconds=used.ru_utime + used.ru_stime,
            seconds=time.monotonic() - began,
            memory_peak_bytes=used.ru_maxrss * 1024,
        )

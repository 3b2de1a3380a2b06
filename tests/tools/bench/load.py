"""Load, from wrk (https://github.com/wg/wrk), on the cores of this process."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.tools.bench.process import Failed

_SCRIPT = Path(__file__).with_name("load.lua")
# A provider gives up after ten seconds (providers.md §1.2).
_TIMEOUT = "10s"


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def missing() -> str | None:
    """Return why there can be no load, or None if there can."""
    if shutil.which("wrk") is None:
        return "wrk is not installed; `make system-tools` (as root) installs it on Debian"
    return None


def run(
    url: str,
    body: Path,
    *,
    connections: int,
    seconds: int,
    pause_ms: int | None = None,
) -> Load:
    """Post a body over so many connections, each as soon as the last was answered.

    With a pause, each connection waits a random time, ``pause_ms`` on average, before it posts:
    the rate is then given by the load and not by the server.  Raises `Failed` unless every answer
    is a 2xx.
    """
    wrk = shutil.which("wrk")
    assert wrk is not None, "`missing` was asked"
    pacing = [] if pause_ms is None else [str(pause_ms)]
    command = [
        wrk,
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds}s",
        f"--timeout={_TIMEOUT}",
        f"--script={_SCRIPT}",
        url,
        "--",
        str(body),
        *pacing,
    ]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    last = ended.stdout.strip().rpartition("\n")[2]
    if ended.returncode or not last.startswith("{"):
        raise Failed(f"wrk: {ended.stdout.strip()} {ended.stderr.strip()}")
    said = orjson.loads(last)
    if said["refused"] or said["broken"] or not said["requests"]:
        raise Failed(f"not every callback was answered 2xx: {last}")
    return Load(
        requests=said["requests"],
        seconds=said["microseconds"] / 1e6,
        p50_ms=said["p50"] / 1e3,
        p99_ms=said["p99"] / 1e3,
    )

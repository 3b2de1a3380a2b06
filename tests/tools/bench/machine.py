"""What the figures were measured on, for figures without that mean nothing."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

from tests.tools.bench import callback
from tests.tools.bench.process import Cores

_APPENDS = 200
_PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "fastapi", "boto3", "orjson", "isal")


def description(directory: Path, cores: Cores) -> dict[str, str]:
    """Return what there is to say, by name."""
    apart = "" if cores.apart else " (the same: there is only one, and figures suffer)"
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "cores": f"server on {_list(cores.server)}, load, stub and archive on "
        f"{_list(cores.load)}{apart}",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk of the spool": _disk(directory),
        "Python": f"{platform.python_version()}; {packages}",
        "load": _wrk_version(),
        "others on this machine": f"load average {os.getloadavg()[0]:.1f} at the start",
    }


def sync_seconds(directory: Path) -> list[float]:
    """Return how long each of some syncs took, of one standard callback appended to a file."""
    body = callback.standard()
    path = directory / "appended"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took = []
    try:
        for _ in range(_APPENDS):
            os.write(fd, body)
            began = time.perf_counter()
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return took


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _disk(directory: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, point, kind, options = line.split()[:4]
        if directory.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = point, f"{device}, {kind} ({options})"
    if " tmpfs " in f" {best[1]} ".replace(",", " "):
        return f"{best[1]}: memory, a sync costs nothing there, so name a disk by --disk"
    return best[1]


def _list(cores: frozenset[int]) -> str:
    return "core " + ", ".join(map(str, sorted(cores)))


def _wrk_version() -> str:
    # wrk prints its version and its usage, and calls that a failure.
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.partition(" Copyright")[0].strip()

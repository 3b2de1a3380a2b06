"""The sides that are measured against each other, and how one run of one of them goes.

What is counted is the CPU time of the server's own process, not of the kernel's threads that write
the disk, nor of the parent, whose shipping is shown apart.  A server is given time to finish what
it was doing, before a run and behind it, so that the whole cost of a run's callbacks is in its
figure.  Callbacks that are under way when wrk ends are done by the server and not counted by wrk:
one on each connection where the server is the slower of the two, which is counted in; at most so
many where it is fast, and then they are a hundredth or less of all.
"""

import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.tools.bench import callback, load, programs
from tests.tools.bench.process import (
    Cores,
    Cpu,
    Failed,
    Program,
    child_of,
    cpu,
    memory_peak_bytes,
    pin,
    settle,
    until,
)

_SHIP_SECONDS = 120.0
_SWEEP_SECONDS = 0.02
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run came to, for each callback."""

    cpu_us: float
    system_us: float
    parent_cpu_us: float | None
    requests_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Setting:
    """Where everything runs, and what is posted."""

    directory: Path
    cores: Cores
    body: Path
    # The Python of another checkout, whose receiver is measured too.
    beside: str | None = None


@dataclass(kw_only=True)
class Side:
    """A server under load."""

    name: str
    setting: Setting
    program: Program
    server: int
    url: str
    # Whose CPU time is shown apart: the parent's, where it ships.
    parent: int | None = None
    # Waits for what the parent has to do behind a run, and clears away what it made.
    clear: Callable[[], None] = lambda: None
    end: Callable[[], None] = field(default=lambda: None)

    def run(self, *, connections: int, seconds: int, pause_ms: int | None = None) -> Run:
        """Put a load on it and return what that cost."""
        settle(self.server)
        before, parent_before = cpu(self.server), self._parent_cpu()
        try:
            done = load.run(
                self.url,
                self.setting.body,
                connections=connections,
                seconds=seconds,
                pause_ms=pause_ms,
            )
        except Failed as exc:
            raise Failed(f"{self.name}: {exc}\n{self.program.last_words()}") from exc
        settle(self.server)
        used = cpu(self.server) - before
        self.clear()
        parent_used = self._parent_cpu() - parent_before
        callbacks = done.requests + (connections if pause_ms is None else 0)
        return Run(
            cpu_us=used.total / callbacks * 1e6,
            system_us=used.system / callbacks * 1e6,
            parent_cpu_us=None if self.parent is None else parent_used.total / callbacks * 1e6,
            requests_per_second=done.requests / done.seconds,
            p50_ms=done.p50_ms,
            p99_ms=done.p99_ms,
        )

    def memory_peak_bytes(self) -> tuple[int, int | None]:
        """Return the peaks of the server process and of its parent, if it has one that ships."""
        parent = None if self.parent is None else memory_peak_bytes(self.parent)
        return memory_peak_bytes(self.server), parent

    def _parent_cpu(self) -> Cpu:
        return Cpu(0.0, 0.0) if self.parent is None else cpu(self.parent)

    def __enter__(self) -> "Side":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


def without_spool(name: str, setting: Setting, *, environ: Mapping[str, str] | None = None) -> Side:
    """Start one of `programs`."""
    program = Program(
        name,
        [sys.executable, "-m", "tests.tools.bench.programs", name],
        directory=setting.directory,
        environ={"PYTHONPATH": str(_project())} | dict(environ or {}),
        cores=setting.cores.server,
    )
    path = programs.ROUTE.replace("{token}", "token")
    return Side(
        name=name,
        setting=setting,
        program=program,
        server=program.pid,
        url=f"{program.url}{path}?{callback.query()}",
        end=program.end,
    )


def spool(
    setting: Setting,
    name: str = "spool",
    *,
    token: str | None = None,
    python: str = sys.executable,
) -> Side:
    """Start the receiver with its parent stopped, and remove each sealed segment at once.

    So nothing is measured but the way to the 2xx, and the disk holds a few segments at most: a
    run that fills more and more fresh memory with files that nobody reads would measure how the
    kernel, and the machine below it, hand out memory.
    """
    environ = {"RECEIVER_ARCHIVE": str(setting.directory / "unused")}
    side = _receiver(name, setting, environ, token=token, python=python)
    os.kill(side.program.pid, signal.SIGSTOP)
    sweeper = _Sweeper(setting.directory / f"spool-{name}")

    def end() -> None:
        sweeper.stop()
        side.program.end()

    side.end = end
    return side


def shipping(setting: Setting) -> Side:
    """Start the receiver as it is meant to be, with a directory as archive."""
    archive = setting.directory / "archive"
    side = _receiver(
        "shipping",
        setting,
        # A second instead of ten, so that the wait for the last segment of a run is short.
        {"RECEIVER_ARCHIVE": str(archive), "RECEIVER_BATCH_SECONDS": "1"},
    )
    side.parent = side.program.pid
    pin(side.program.pid, setting.cores.load)

    def clear() -> None:
        _until_shipped(setting.directory / "spool-shipping")
        settle(side.program.pid)
        for tree in ("callbacks", "index"):
            shutil.rmtree(archive / tree)

    side.clear = clear
    return side


def shipping_to_s3(setting: Setting, s3_url: str) -> Side:
    """Start the receiver with default settings and a stub of S3 as archive."""
    environ = s3_environ(s3_url) | {"RECEIVER_ARCHIVE": f"s3://{programs.BUCKET}/callbacks"}
    side = _receiver("shipping-to-s3", setting, environ)
    side.parent = side.program.pid
    return side


def archive_ack(setting: Setting, s3_url: str) -> Side:
    """Start the receiver so that a 2xx waits for a stub of S3."""
    environ = s3_environ(s3_url) | {
        "RECEIVER_ARCHIVE": f"s3://{programs.BUCKET}/acknowledged",
        "RECEIVER_ACK": "archive",
    }
    side = _receiver("archive-ack", setting, environ)
    side.parent = side.program.pid
    return side


def s3(setting: Setting, *, delay_ms: tuple[int, int] | None = None) -> Program:
    """Start the stub of S3; with a delay, its median and 99th percentile, as slow as a real one."""
    return Program(
        "s3",
        [sys.executable, "-m", "tests.tools.bench.s3", *map(str, delay_ms or ())],
        directory=setting.directory,
        environ={"PYTHONPATH": str(_project())},
        cores=setting.cores.load,
    )


def s3_environ(url: str) -> dict[str, str]:
    """Return the variables by which boto3 finds the stub of S3, and nothing else."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCHB",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-bench-0123456789abcdefghij",
        "AWS_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _receiver(
    name: str,
    setting: Setting,
    environ: Mapping[str, str],
    *,
    token: str | None = None,
    python: str = sys.executable,
) -> Side:
    token = token or secrets.token_hex(24)
    program = Program(
        name,
        [python, "-m", "receiver", "serve"],
        directory=setting.directory,
        environ={
            "RECEIVER_PORT": "0",
            "RECEIVER_ADMIN_PORT": "0",
            "RECEIVER_TOKENS": token,
            "RECEIVER_SPOOL": str(setting.directory / f"spool-{name}"),
            "RECEIVER_DRAIN_SECONDS": "0",
            "RECEIVER_LOG_LEVEL": "warning",
        }
        | dict(environ),
        cores=setting.cores.load,
    )
    try:
        server = child_of(program.pid)
        pin(server, setting.cores.server)
    except BaseException:
        program.end()
        raise
    path = programs.ROUTE.replace("{token}", token)
    return Side(
        name=name,
        setting=setting,
        program=program,
        server=server,
        url=f"{program.url}{path}?{callback.query()}",
        end=program.end,
    )


class _Sweeper:
    """Removes sealed segments as they appear."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_SWEEP_SECONDS):
            for path in self._spool.glob("*/*.seg"):
                path.unlink()


def _until_shipped(spool: Path) -> None:
    def shipped() -> bool:
        # A file can go away, or change its name, between the listing and the look at it.
        try:
            return not any(
                path.stat().st_size
                for path in spool.glob("*/*")
                if path.suffix in (".open", ".seg")
            )
        except FileNotFoundError:
            return False

    until(shipped, "the archive has everything", seconds=_SHIP_SECONDS)


def _project() -> Path:
    return Path(__file__).parents[3]

"""Programs of other processes: started, pinned, watched and ended, each by its own id."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 60.0
_END_SECONDS = 30.0
_QUIET_SECONDS = 0.1
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something that is measured did not do its work, so its figures would mean nothing."""


def until(condition: Callable[[], bool], what: str, *, seconds: float = _START_SECONDS) -> None:
    """Wait until a condition holds; raise `Failed` if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not in {seconds:g} s: {what}")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the server has, and which everybody else."""

    server: frozenset[int]
    load: frozenset[int]

    @property
    def apart(self) -> bool:
        """Whether the load runs on other cores than the server."""
        return not self.server & self.load


def cores() -> Cores:
    """Give the server the last core, and the rest to the load, the archive and this program."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[-1:]), frozenset(usable[:-1] or usable))


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep all threads of a process, and those it makes later, on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time in seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """User and system together."""
        return self.user + self.system

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user - other.user, self.system - other.system)


def cpu(pid: int) -> Cpu:
    """Return what a process has used in all its threads, as the kernel counts it."""
    # The second field is the program's name, which may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(int(fields[11]) * _TICK_SECONDS, int(fields[12]) * _TICK_SECONDS)


def memory_peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} is gone")


def settle(pid: int) -> None:
    """Wait until a process has finished what it was doing."""
    before = cpu(pid)
    end = time.monotonic() + _START_SECONDS
    while True:
        time.sleep(_QUIET_SECONDS)
        now = cpu(pid)
        if now == before:
            return
        if time.monotonic() > end:
            raise Failed(f"process {pid} does not come to rest")
        before = now


def child_of(pid: int) -> int:
    """Return the one child of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    if len(found) != 1:
        raise Failed(f"process {pid} has {len(found)} children, not one")
    return found[0]


class Program:
    """A program that says where it listens, from its start to its end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        environ: Mapping[str, str],
        cores: Iterable[int],
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=_clean_environ() | dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the bench alone, which then ends its programs in good order.
                start_new_session=True,
            )
        try:
            self.url = self._said("listening on ")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        pin(self.pid, cores)

    @property
    def pid(self) -> int:
        """The id of the process that was started."""
        return self._process.pid

    def said(self, beginning: str) -> str:
        """Return the rest of a line, or of a record's message, that it has printed."""
        rest = self._rest_of(beginning)
        if rest is None:
            raise Failed(f"{self._name} did not say {beginning!r}")
        return rest

    def last_words(self) -> str:
        """Return the end of what it has printed."""
        return self._log.read_text()[-2000:]

    def end(self) -> None:
        """Stop it, in good order if it can."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _said(self, beginning: str) -> str:
        def has_said() -> bool:
            if self._process.poll() is not None:
                raise Failed(f"{self._name} ended at once:\n{self.last_words()}")
            return self._rest_of(beginning) is not None

        until(has_said, f"{self._name} says {beginning!r}")
        return self.said(beginning)

    def _rest_of(self, beginning: str) -> str | None:
        pattern = rf'^(?:.*"message":")?{re.escape(beginning)}([^\s"]+)["\s]'
        found = re.search(pattern, self._log.read_text(), re.MULTILINE)
        return found and found[1]


def _clean_environ() -> dict[str, str]:
    """Return this process's environment without settings of receivers and stores."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RECEIVER_", "AWS_"))
    }

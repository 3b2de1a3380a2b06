"""The real command `receiver serve`, as processes of their own, over several lives.

    with Receiver(tmp_path) as receiver:
        receiver.start()
        receiver.kill_all()
        receiver.start()

All lives share one directory, which holds the spool and, unless settings say otherwise, the
archive.  Each life is a session of its own, so that all of its processes can be ended at once.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from tests.tools.support import secrets
from tests.tools.support.http import Answer, Headers, request
from tests.tools.support.samples import DIFFBOT_TOKEN
from tests.tools.support.wait import wait_for

TOKEN = "canary-token-3f9d2c81b7a64e05"
START_SECONDS = 60.0
# Nobody listens at the discard port, so no sweep reaches anything.
PROVIDERS = ("DATAFORSEO", "DATAFORAPPS", "DIFFBOT", "OUTSCRAPER")
NOBODY = "http://127.0.0.1:9"

# A line of its own, or the message of a record.
_LISTENING = re.compile(r'(?:^|"message":")listening on (http://[^\s"]+)')
_ADMIN = re.compile(r'(?:^|"message":")admin on (http://[^\s"]+)')
# What prints secrets by design: URLs to register, and what a callback really was.
_TELLING = frozenset({"urls", "export", "--raw"})
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def clean_environ() -> dict[str, str]:
    """Return this process's environment without what would change a receiver."""
    prefixes = ("RECEIVER_", "AWS_", "FORWARDED_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


class Life:
    """One run of a command, from start to end, and everything that it printed."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.output: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=_keep_lines, args=(self._process.stdout, self.output)),
            threading.Thread(target=_keep_lines, args=(self._process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    @property
    def ended(self) -> bool:
        """Whether every process of this life is gone: nobody holds its output open."""
        return self.status is not None and not any(reader.is_alive() for reader in self._readers)

    def signal(self, number: int) -> None:
        """Send a signal to the command itself."""
        self._process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Send a signal to all processes of the session, as a terminal does."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            assert self.status is not None

    def wait(self, *, seconds: float = 60.0) -> int:
        """Wait until the command has ended, and return its exit status."""
        return self._process.wait(seconds)

    def wait_for_all(self, *, seconds: float = 60.0) -> None:
        """Wait until every process of this life has ended."""
        wait_for(lambda: self.ended, "all processes of the life have ended", seconds=seconds)

    def close(self) -> None:
        """Kill what is left of it, and free its pipes."""
        self.signal_all(signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def text(self) -> str:
        """Return all that was printed so far."""
        return "\n".join([*self.output, *self.errors])

    def logged(self, message: str) -> list[dict[str, Any]]:
        """Return the log lines that carry a message."""
        lines = (orjson.loads(line) for line in list(self.output) if line.startswith("{"))
        return [line for line in lines if line.get("message") == message]


def _keep_lines(pipe: Any, lines: list[str]) -> None:
    for line in pipe:
        lines.append(line.decode(errors="replace").rstrip("\n"))


class Receiver:
    """A receiver's directory and settings, and the lives it had there.

    When it is closed, nothing that it printed, answered or left behind may hold a secret.
    """

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, str] | None = None,
        *,
        token: str = TOKEN,
        before: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.token = token
        self.spool = root / "spool"
        self.archive = root / "archive"
        self._before = before
        root.mkdir(parents=True, exist_ok=True)
        self.environ = clean_environ() | {
            "RECEIVER_SPOOL": str(self.spool),
            "RECEIVER_ARCHIVE": str(self.archive),
            "RECEIVER_TOKENS": token,
            "RECEIVER_PORT": "0",
            "RECEIVER_ADMIN_PORT": "0",
            "RECEIVER_INSTANCE": "instance-under-test",
            "RECEIVER_BATCH_SECONDS": "0.3",
            "RECEIVER_BATCH_BYTES": str(256 << 10),
            "RECEIVER_DRAIN_SECONDS": "0",
            # So long that on a busy machine, too, all is shipped at the end.
            "RECEIVER_SHUTDOWN_SECONDS": "60",
            "RECEIVER_DISK_RESERVE_BYTES": "0",
            "RECEIVER_RETRY_SECONDS_MAX": "0.5",
            **{f"RECEIVER_{provider}_URL": NOBODY for provider in PROVIDERS},
            **(settings or {}),
        }
        self.lives: list[Life] = []
        # What it answered and showed, by what that was, to look for secrets in it.
        self._shown: list[tuple[str, str]] = []
        self._newest: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._url: str | None = None
        self._admin_url: str | None = None

    # One life.

    @property
    def life(self) -> Life:
        """The newest life."""
        return self.lives[-1]

    @property
    def url(self) -> str:
        """Where callbacks go; changes with each life."""
        assert self._url is not None
        return self._url

    @property
    def admin_url(self) -> str:
        """Where `/metrics` and `/status` are."""
        assert self._admin_url is not None
        return self._admin_url

    @property
    def url_or_none(self) -> str | None:
        """Where callbacks go, None while nobody is known to listen."""
        return self._url

    def launch(self, *arguments: str) -> Life:
        """Begin a life without waiting until it serves."""
        self._url = self._admin_url = None
        command = [*self._before, sys.executable, "-m", "receiver", "serve", *arguments]
        self.lives.append(Life(command, cwd=self.root, environ=self.environ))
        return self.life

    def start(self, *arguments: str) -> Life:
        """Begin a life and wait until it serves."""
        life = self.launch(*arguments)
        self.wait_until_serving()
        return life

    def wait_until_serving(self) -> None:
        """Wait for the line that says where it listens."""
        life = self.life

        def announced() -> str | None:
            assert life.status is None, f"ended with {life.status}:\n{life.text()}"
            return _find(_LISTENING, life)

        url = wait_for(announced, "a line `listening on`", seconds=START_SECONDS)
        self._admin_url = _find(_ADMIN, life)
        self._url = url

    def adopt(self, *, url: str, admin_url: str) -> None:
        """Talk to a life that somebody else began with the same settings."""
        self._url, self._admin_url = url, admin_url

    def server_pids(self) -> list[int]:
        """Return the server processes, as the admin port names them."""
        pids: list[int] = self.status()["server_processes"]
        return pids

    def kill_server(self, pid: int) -> bool:
        """Kill -9 one server process; tell whether it was still there."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def kill_parent(self) -> None:
        """Kill -9 the parent alone."""
        self._url = None
        self.life.signal(signal.SIGKILL)
        self.life.wait()

    def kill_all(self) -> None:
        """Kill -9 all processes at once."""
        self._url = None
        self.life.signal_all(signal.SIGKILL)
        self.life.wait_for_all()

    def terminate(self, *, seconds: float = 100.0) -> int:
        """Send SIGTERM, wait for the end, return the exit status."""
        self.life.signal(signal.SIGTERM)
        status = self.life.wait(seconds=seconds)
        self._url = None
        self.life.wait_for_all()
        return status

    def close(self) -> None:
        """Kill what still runs, and look for secrets in all that is left."""
        self._end()
        canaries = self._secrets | secrets.canaries(self.environ)
        found = secrets.leaks(canaries, self._shown)
        # A token that is in force nowhere is in the bodies of samples, and there alone.
        found += secrets.leaks(canaries | {DIFFBOT_TOKEN}, self._left())
        if found:
            raise AssertionError("secrets were shown:\n" + "\n".join(found))

    def _end(self) -> None:
        self._url = None
        for life in self.lives:
            life.close()

    def _left(self) -> Iterator[tuple[str, str]]:
        for number, life in enumerate(self.lives):
            yield f"output of life {number}", life.text()
        yield from self._newest.items()
        yield from secrets.files(self.root, self.environ.get("RECEIVER_ARCHIVE", "data/archive"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if raised is None:
            self.close()
        else:
            self._end()  # what was raised says more

    # Talking to it.

    def path(self, provider: str, kind: str, rest: str = "") -> str:
        """Return the target of an entrance with this receiver's token."""
        return f"/{provider}/{kind}/{self.token}{rest}"

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Headers = (),
        *,
        seconds: float = 30.0,
    ) -> Answer:
        """Make one request to the public port."""
        answer = request(self.url, method, target, body, headers, seconds=seconds)
        self._newest[f"answer {answer.status}"] = f"{answer.headers} {answer.body!r}"
        return answer

    def readiness(self) -> int:
        """Return the status of `/readyz`."""
        return self.request("GET", "/readyz").status

    def status(self) -> dict[str, Any]:
        """Return `/status`."""
        answer = request(self.admin_url, "GET", "/status")
        assert answer.status == 200
        self._newest["/status"] = answer.body.decode()
        status: dict[str, Any] = answer.json
        return status

    def metrics_text(self) -> str:
        """Return `/metrics` as it is."""
        answer = request(self.admin_url, "GET", "/metrics")
        assert answer.status == 200
        self._newest["/metrics"] = answer.body.decode()
        return self._newest["/metrics"]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry all of these labels."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        total = 0.0
        for line in self.metrics_text().splitlines():
            sample = _SAMPLE.fullmatch(line)
            if sample and sample[1] == name and wanted <= set((sample[2] or "").split(",")):
                total += float(sample[3])
        return total

    def command(
        self, *arguments: str, seconds: float = 60.0, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run another command with the same settings, to its end."""
        environ = self.environ | settings
        ran = subprocess.run(
            [sys.executable, "-m", "receiver", *arguments],
            cwd=self.root,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        self._secrets |= secrets.canaries(environ)
        if not _TELLING.intersection(arguments):
            self._shown.append((f"receiver {' '.join(arguments)}", ran.stdout + ran.stderr))
        return ran

    # Its spool, as files.

    def spooled(self) -> list[Path]:
        """Return the segment files that hold something."""
        found = []
        # In this order: what is sealed in between is seen under its new name.
        for suffix in (".open", ".seg", ".torn"):
            names = (path for folder in _entries(self.spool) for path in _entries(folder))
            found += [path for path in names if path.suffix == suffix and _size(path)]
        return sorted(set(found))

    def wait_until_shipped(self, *, seconds: float = 60.0) -> None:
        """Wait until the spool holds nothing."""
        wait_for(lambda: not self.spooled(), "the spool is empty", seconds=seconds)

    def text(self) -> str:
        """Return all that any life printed."""
        return "\n".join(life.text() for life in self.lives)


def _find(pattern: re.Pattern[str], life: Life) -> str | None:
    matches = (pattern.search(line) for line in list(life.output))
    return next((found[1] for found in matches if found), None)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # not made yet, emptied and removed a moment ago, or a file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # shipped, or sealed under another name, a moment ago


def open_files(pid: int) -> int:
    """Return how many files a process has open (Linux)."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds now (Linux)."""
    return _memory_bytes(pid, "VmRSS")


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process has held so far (Linux)."""
    return _memory_bytes(pid, "VmHWM")


def _memory_bytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10

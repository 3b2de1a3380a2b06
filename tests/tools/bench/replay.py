"""Replaying: the command `receiver replay` beside a loop of `http.client` over the same lines.

    python -m tests.tools.bench.replay sink             takes requests, answers 200, does nothing
    python -m tests.tools.bench.replay ours URL …       is `receiver replay --to URL …`
    python -m tests.tools.bench.replay theirs URL DIR   gzip, JSON, and one POST after the other

Either sender is a process of its own on the server's core, and the sink one on the others; what
they took to start is not counted.  The archive is a directory of standard callbacks.
"""

import asyncio
import base64
import contextlib
import gzip
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

from tests.tools.bench import ship
from tests.tools.bench.pairs import Ratio
from tests.tools.bench.process import Failed, Program
from tests.tools.bench.rows import Asked, Figure

_CALLBACKS = 20_000
_CALLBACKS_QUICK = 1_000
_GOAL_PER_SECOND = 5_000
_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run of a sender came to."""

    callbacks: int
    cpu_us: float
    seconds: float
    memory_peak_bytes: int

    @property
    def per_second(self) -> float:
        """Callbacks a second."""
        return self.callbacks / self.seconds


def measure(asked: Asked) -> list[Figure]:
    """Send an archive by the command, plainly and with all that it can do, and by the loop."""
    with _archive(asked) as root:
        sink = _sink(asked)
        try:
            return _take_turns(asked, root, sink)
        finally:
            sink.end()


def _take_turns(asked: Asked, root: Path, sink: Program) -> list[Figure]:
    runs: dict[str, list[Sent]] = {"theirs": [], "ours": [], "all": []}
    for number in range(asked.pairs + 1):
        for name, taken in runs.items():
            asked.progress(f"replay, {name}, round {number}")
            sent = _send(asked, root, name, sink.url, number)
            if number:
                taken.append(sent)
    theirs = runs["theirs"]
    return [
        _figure("receiver replay", runs["ours"], theirs, goal=True),
        _figure("receiver replay, signed and with --job", runs["all"], theirs, goal=False),
    ]


def _figure(name: str, ours: Sequence[Sent], theirs: Sequence[Sent], *, goal: bool) -> Figure:
    each = [a.cpu_us / b.cpu_us for a, b in zip(ours, theirs, strict=True)]
    ratio = Ratio(statistics.median(each), min(each), max(each))
    rate = statistics.median(sent.per_second for sent in ours)
    return Figure(
        name=f"{name}, on one core: callbacks/s, CPU µs each, peak memory",
        value=f"{_medians(ours)}; loop of http.client {_medians(theirs)}; CPU in pairs {ratio} x",
        goal=f"at least {_GOAL_PER_SECOND:,} callbacks/s and core" if goal else None,
        met=rate >= _GOAL_PER_SECOND,
        raw={
            "ours": [asdict(sent) for sent in ours],
            "theirs": [asdict(sent) for sent in theirs],
            "cpu_ratio": asdict(ratio),
        },
    )


def _medians(runs: Sequence[Sent]) -> str:
    rate = statistics.median(sent.per_second for sent in runs)
    cpu = statistics.median(sent.cpu_us for sent in runs)
    return f"{rate:,.0f}, {cpu:.0f}, {max(s.memory_peak_bytes for s in runs) >> 20} MiB"


@contextlib.contextmanager
def _archive(asked: Asked) -> Iterator[Path]:
    root = asked.setting.directory / "replayed"
    callbacks = _CALLBACKS_QUICK if asked.quick else _CALLBACKS
    asked.progress(f"archiving {callbacks} callbacks to send them again")
    cores = asked.setting.cores.server | asked.setting.cores.load
    ship.fill(root / "spool", callbacks)
    ship.empty(root / "spool", str(root / "archive"), {}, cores)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def _sink(asked: Asked) -> Program:
    return Program(
        "sink",
        [sys.executable, "-m", "tests.tools.bench.replay", "sink"],
        directory=asked.setting.directory,
        environ={"PYTHONPATH": str(_ROOT)},
        cores=asked.setting.cores.load,
    )


def _send(asked: Asked, root: Path, name: str, url: str, number: int) -> Sent:
    """Run a sender to its end."""
    arguments = {
        "theirs": ["theirs", url, str(root / "archive")],
        "ours": ["ours", url, "--yes"],
        "all": ["ours", url, "--yes", "--job", f"run-{number}"],
    }[name]
    own = {
        "RECEIVER_ARCHIVE": str(root / "archive"),
        "RECEIVER_SPOOL": str(root / "spool"),
        "RECEIVER_CATALOG": str(root / "catalog"),
        "RECEIVER_JOBS": str(root / "jobs"),
        "PYTHONPATH": str(_ROOT),
    }
    if name == "all":
        own["RECEIVER_REPLAY_SECRET"] = _SECRET
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.bench.replay", *arguments],
        cwd=root,
        env=clean | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, asked.setting.cores.server),
        check=False,
    )
    if done.returncode:
        raise Failed(f"replay, {name}: {done.stderr.decode(errors='replace')[-2000:]}")
    sent = Sent(**orjson.loads(done.stdout.splitlines()[-1]))
    expected = _CALLBACKS_QUICK if asked.quick else _CALLBACKS
    if sent.callbacks != expected:
        raise Failed(f"replay, {name}: {sent.callbacks} of {expected} were sent")
    return sent


# The programs.


class _Sink(asyncio.Protocol):
    """Answers each request as soon as it is whole, and looks at nothing but its length."""

    _LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)
    _ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._head = b""
        self._left = 0

    def data_received(self, data: bytes) -> None:
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                self._head += data
                head, end, data = self._head.partition(b"\r\n\r\n")
                if not end:
                    return
                found = self._LENGTH.search(head)
                self._left = int(found[1]) if found else 0
                self._head = b""
            if not self._left:
                self._transport.write(self._ANSWER)


def _serve() -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)
        await server.serve_forever()

    uvloop.run(forever())


def _send_ours(url: str, arguments: Sequence[str]) -> int:
    """Run the command as its entry point does."""
    from receiver.cli import cli

    read, written = os.pipe()
    shown = os.dup(1)
    os.dup2(written, 1)
    try:
        cli(["replay", "--to", url, *arguments, "--output", "json"], standalone_mode=False)
    finally:
        os.dup2(shown, 1)
        os.close(written)
    with os.fdopen(read, "rb") as output:
        return int(orjson.loads(output.read().splitlines()[-1])["confirmed"])


def _send_theirs(url: str, archive: Path) -> int:
    """Send as a script would."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port)
    count = 0
    for path in sorted(archive.glob("callbacks/**/*.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                callback = orjson.loads(line)
                query = callback["target"].partition("?")[2]
                headers = {
                    "content-type": callback["content_type"],
                    "webhook-id": callback["delivery_id"],
                }
                connection.request("POST", f"/?{query}", callback["body"].encode(), headers)
                with connection.getresponse() as answer:
                    answer.read()
                    count += answer.status == 200
    connection.close()
    return count


def main(program: str, *arguments: str) -> None:
    """Run one of the programs; a sender says what it took, without what it took to start."""
    if program == "sink":
        _serve()
        return
    if program == "ours":
        # What is imported late is part of the start.
        import receiver.cli.replay  # noqa: F401
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if program == "ours":
        count = _send_ours(arguments[0], arguments[1:])
    else:
        count = _send_theirs(arguments[0], Path(arguments[1]))
    seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    sent = Sent(count, cpu / count * 1e6, seconds, used.ru_maxrss * 1024)
    print(orjson.dumps(asdict(sent)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])

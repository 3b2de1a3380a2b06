"""Standard streams that are closed, full, of few characters, or that nobody reads any more."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.tools.support.balancer import Port
from tests.tools.support.http import request
from tests.tools.support.oracle import DirectoryArchive, Ledger, verify
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.terminal import CTRL_Q, CTRL_S, Terminal
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

# Root, too, may then not look into what is closed to it.
_AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that archived one callback, of a task with an odd name."""
    with Receiver(tmp_path_factory.mktemp("streams")) as receiver:
        receiver.start()
        target = receiver.path("dataforseo", "postback", "?id=t%C3%A4sk-%F0%9F%A6%8A&tag=$tag")
        assert 200 == receiver.request("POST", target, b'{"tasks":[]}').status
        assert 0 == receiver.terminate()
        yield receiver


def run(
    it: Receiver, command: str, *, before: tuple[str, ...] = (), **environ: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of a shell, in which $r is the command."""
    line = f'r="$0 -m receiver"; {command}'
    return subprocess.run(
        [*before, "bash", "-c", line, sys.executable],
        cwd=it.root,
        env=it.environ | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command", ["export", "find", "show täsk-🦊 --raw", "config --output json", "verify --help"]
)
def test_a_full_standard_output_is_one_line_and_status_1(it: Receiver, command: str) -> None:
    ran = run(it, f"$r {command} > /dev/full")
    said = b"receiver: cannot write standard output: No space left on device\n"
    assert (1, said) == (ran.returncode, ran.stderr)


@pytest.mark.parametrize("command", ["export", "show täsk-🦊 --raw"])
def test_bytes_need_a_standard_output(it: Receiver, command: str) -> None:
    ran = run(it, f"$r {command} >&-")
    said = b"receiver: cannot write standard output: it is closed\n"
    assert (1, said) == (ran.returncode, ran.stderr)


def test_a_command_works_without_any_stream(it: Receiver) -> None:
    assert 0 == run(it, "$r find <&- >&- 2>&-").returncode
    assert 2 == run(it, "$r dataforseo force-stop 1 <&- >&- 2>&-").returncode


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_a_stream_does_not_know_are_escaped(it: Receiver, encoding: str) -> None:
    ran = run(it, "$r config", PYTHONIOENCODING=encoding, RECEIVER_INSTANCE="ħost")
    assert (0, b"") == (ran.returncode, ran.stderr)


def test_json_is_json_in_any_encoding(it: Receiver) -> None:
    ran = run(it, "$r find --output json", PYTHONIOENCODING="latin-1")
    assert b"\\ud83e\\udd8a" in ran.stdout
    assert "täsk-🦊" == orjson.loads(ran.stdout.decode("latin-1"))["task_id"]


def test_an_argument_that_is_no_text_is_a_usage_error(it: Receiver) -> None:
    ran = run(it, r"$r find --task-id $'\xff'")
    assert (2, b"receiver: an argument is not UTF-8\n") == (ran.returncode, ran.stderr)


@pytest.mark.parametrize("command", ["find", "drain", "spool ls"])
def test_a_spool_that_may_not_be_read_is_status_3(
    it: Receiver, tmp_path: Path, command: str
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    before = tuple(_AS_ANYBODY) if os.geteuid() == 0 else ()
    ran = run(it, f"$r {command}", before=before, RECEIVER_SPOOL=str(locked))
    said = f"receiver: cannot read {locked}: Permission denied\n"
    assert (3, b"", said) == (ran.returncode, ran.stdout, ran.stderr.decode())


@pytest.mark.parametrize("output", ["| true", ">&-", "> /dev/full"])
def test_serving_goes_on_where_nobody_can_read(tmp_path: Path, output: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Receiver(tmp_path, {"RECEIVER_PORT": str(port)}) as it:
        # What is left of the shell is the receiver: it is told to stop by its pid.
        line = f'"$0" -m receiver serve {output} & echo $! > pid; wait $!; echo $? > status'
        if output.startswith("|"):
            line = (
                f'{{ "$0" -m receiver serve & echo $! > pid; wait $!; echo $? > status; }} {output}'
            )
        shell = subprocess.Popen(
            ["bash", "-c", line, sys.executable],
            cwd=it.root,
            env=it.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            wait_for(lambda: _is_ready(url), "it serves", seconds=60)
            sample = Samples(seed=3).postback()
            target = it.path(sample.provider, sample.kind, sample.rest)
            for _ in range(3):
                assert 200 == request(url, "POST", target, sample.wire, sample.headers).status
        finally:
            os.kill(int((tmp_path / "pid").read_text()), 15)
            _, errors = shell.communicate(timeout=60)
        assert ("0", b"") == ((tmp_path / "status").read_text().strip(), errors)


# Every callback comes from an unknown source, which is logged, and the log's queue is small.
_MUCH_LOGGING = {
    "RECEIVER_DATAFORSEO_SOURCES": "192.0.2.0/24",
    "RECEIVER_DATAFORSEO_SOURCES_MODE": "log",
    "RECEIVER_LOG_QUEUE_BYTES_MAX": "8KiB",
    "RECEIVER_WORKERS": "2",
    "RECEIVER_SHUTDOWN_SECONDS": "20",
}
# What shutting down may take, and a second of each process for its log.
_END_SECONDS = 25.0
_COMMAND = [sys.executable, "-m", "receiver", "serve"]


@contextlib.contextmanager
def ready(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that is to be started at known ports: nobody may be able to read them."""
    public, admin = Port(), Port()
    ports = {"RECEIVER_PORT": str(public.number), "RECEIVER_ADMIN_PORT": str(admin.number)}
    with Receiver(tmp_path, _MUCH_LOGGING | ports) as it:
        it.adopt(url=f"http://{public.address}", admin_url=f"http://{admin.address}")
        yield it
    public.close()
    admin.close()


class Refused:
    """Requests that are refused, as fast as two threads send them, while anybody listens."""

    def __init__(self, it: Receiver) -> None:
        self._it = it
        self._end = threading.Event()
        self.statuses: set[int] = set()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def _run(self) -> None:
        targets = (self._it.path("dataforseo", "pingback"), "/diffbot/notification/wrong")
        while not self._end.is_set():
            for method, target in zip(("GET", "POST"), targets, strict=True):
                with contextlib.suppress(ConnectionError):
                    answer = request(self._it.url, method, target, b"")
                    self.statuses.add(answer.status)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        assert {400, 401} == self.statuses


def take_and_ship(it: Receiver, ledger: Ledger, *, seed: int) -> None:
    """Take callbacks until log lines are dropped, and more after that; all must be shipped."""
    samples = Samples(seed=seed)
    with Refused(it):
        dropped = 0.0
        until = time.monotonic() + 120
        while not dropped and time.monotonic() < until:
            assert 200 == ledger.deliver(it.request, samples.postback(), token=it.token).status
            dropped = it.metric("receiver_log_dropped_total")
        assert dropped
        for sample in samples.of_each():
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        it.wait_until_shipped()


def test_a_pipe_that_is_full_stops_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)
    ledger = Ledger()
    with ready(tmp_path) as it:
        process = subprocess.Popen(
            _COMMAND,
            cwd=it.root,
            env=it.environ,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
        os.close(writing)
        try:
            wait_for(lambda: _is_ready(it.url), "it serves", seconds=60)
            take_and_ship(it, ledger, seed=11)
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(_END_SECONDS)
        finally:
            process.kill()
            process.wait()
            os.close(reading)
    verify(DirectoryArchive(it.archive), ledger)


def test_a_terminal_that_is_stopped_stops_nothing(tmp_path: Path) -> None:
    ledger = Ledger()
    with ready(tmp_path) as it, Terminal(_COMMAND, cwd=it.root, environ=it.environ) as terminal:
        terminal.wait_for(f"listening on {it.url}\n")
        wait_for(lambda: _is_ready(it.url), "it serves", seconds=60)
        terminal.press(CTRL_S)
        take_and_ship(it, ledger, seed=12)
        stopped = terminal.shown()
        # Who reads on is shown the lines in order, and how many are missing.
        terminal.press(CTRL_Q)
        terminal.wait_for(" bad_token")
        assert 401 == it.request("POST", "/diffbot/notification/wrong").status
        terminal.wait_for("warning log lines dropped lines=")
        assert terminal.shown().startswith(stopped)
        assert it.token not in terminal.shown()
        terminal.press(CTRL_S)
        with Refused(it):
            assert 200 == ledger.deliver(it.request, Samples(13).postback(), token=it.token).status
            terminal.signal(signal.SIGTERM)
            assert 0 == terminal.wait(seconds=_END_SECONDS)
    verify(DirectoryArchive(it.archive), ledger)


def _is_ready(url: str) -> bool:
    try:
        return request(url, "GET", "/readyz").status == 200
    except OSError:
        return False

"""Standard streams that are closed, full, of few characters, or that nobody reads any more."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.tools.support.http import request
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
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
def test_who_serves_goes_on_where_nobody_reads(tmp_path: Path, output: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
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
            wait_for(lambda: _is_ready(port), "it serves", seconds=60)
            sample = Samples(seed=3).postback()
            target = it.path(sample.provider, sample.kind, sample.rest)
            for _ in range(3):
                url = f"http://127.0.0.1:{port}"
                assert 200 == request(url, "POST", target, sample.wire, sample.headers).status
        finally:
            os.kill(int((tmp_path / "pid").read_text()), 15)
            _, errors = shell.communicate(timeout=60)
        assert ("0", b"") == ((tmp_path / "status").read_text().strip(), errors)


def _is_ready(port: int) -> bool:
    try:
        return request(f"http://127.0.0.1:{port}", "GET", "/readyz").status == 200
    except OSError:
        return False

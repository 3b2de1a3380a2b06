"""The door in uvicorn's own process, without a parent: from the environment, and mounted."""

import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.support.http import connect
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import TOKEN, Life, Receiver

pytestmark = pytest.mark.system

_FACTORY = ("--factory", "receiver.asgi:create")
_HOST = """
import contextlib

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from receiver import asgi, config
from receiver.instance import Receiver
from receiver.door import running

hooks = asgi.build(Receiver(config.load()))


@contextlib.asynccontextmanager
async def lifespan(app):
    async with running(hooks):
        yield


async def other(request):
    return PlainTextResponse("the host's own")


app = Starlette(routes=[Mount("/hooks", hooks), Route("/other", other)], lifespan=lifespan)
"""


class Hosted(Receiver):
    """A receiver's directory and settings, served by uvicorn."""

    def serve(self, *arguments: str) -> Life:
        """Begin a life on a fresh port."""
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            number = listener.fileno()
            command = [sys.executable, "-m", "uvicorn", *arguments, "--fd", str(number)]
            life = Life(command, cwd=self.root, environ=self.environ, pass_fds=(number,))
            self.lives.append(life)
            self._url = "http://{}:{}".format(*listener.getsockname())
        return life

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the heads of what is in the spool, as the command shows them."""
        return [orjson.loads(line) for line in self.command("spool", "cat").stdout.splitlines()]


def test_the_application_of_the_environment_spools_and_seals(tmp_path: Path) -> None:
    with Hosted(tmp_path, {"RECEIVER_BATCH_SECONDS": "3600"}) as it:
        ids = []
        for _ in range(2):
            life = it.serve(*_FACTORY)
            target = it.path("dataforseo", "postback", "?id=1&tag=a")
            answer = it.request("POST", target, b'{"status_code":20000}')
            assert (200, b"\n") == (answer.status, answer.body[-1:])
            ids.append(answer.headers["x-delivery-id"])
            assert ids[-1] in [delivery["delivery_id"] for delivery in it.deliveries()]
            assert 401 == it.request("POST", "/dataforseo/postback/wrong").status
            assert 200 == it.readiness()
            # uvicorn ends by the signal that it was sent, once it has shut down.
            assert -signal.SIGTERM == it.terminate()
            assert [["started"], ["not acknowledged"], ["stopped"]] == [
                [line["message"] for line in life.logged(message)]
                for message in ("started", "not acknowledged", "stopped")
            ]
            assert all(orjson.loads(line) for line in life.output)
            assert [] == life.errors
        assert {".seg"} == {path.suffix for path in it.spooled()}
        # Each process wrote to a directory of its own.
        assert 2 == len({path.parent for path in it.spooled()})
        # `receiver ship`, in another process, takes it from here.
        shipped = it.command("ship")
        assert 0 == shipped.returncode, shipped.stderr
        assert sorted(ids) == sorted(
            line["delivery_id"] for line in read_lines(DirectoryArchive(it.archive))
        )
        assert [] == it.spooled()


def test_what_a_killed_process_acknowledged_is_shipped(tmp_path: Path) -> None:
    with Hosted(tmp_path, {"RECEIVER_BATCH_SECONDS": "3600"}) as it:
        it.serve(*_FACTORY)
        assert 200 == it.request("POST", it.path("diffbot", "notification"), b"{}").status
        shipped = it.command("ship")
        assert 0 == shipped.returncode
        assert [".open"] == [path.suffix for path in it.spooled()]  # its writer is alive
        it.kill_all()
        assert 0 == it.command("ship").returncode
        assert 1 == len(read_lines(DirectoryArchive(it.archive)))


def test_uvicorns_own_errors_are_logged_like_all_others(tmp_path: Path) -> None:
    with Hosted(tmp_path) as it:
        life = it.serve(*_FACTORY, "--timeout-graceful-shutdown", "1")
        assert 200 == it.readiness()
        target = it.path("diffbot", "notification")
        with connect(it.url) as connection:
            connection.sendall(f"POST {target} HTTP/1.1\r\nHost: a\r\n".encode())
            connection.sendall(b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            it.terminate()
        errors = [line for line in map(orjson.loads, life.output) if line["level"] == "error"]
        assert any("graceful shutdown exceeded" in line["message"] for line in errors)
        assert {"uvicorn.error"} == {line["logger"] for line in errors}
        assert [] == life.errors


def test_without_its_lifespan_every_callback_is_refused(tmp_path: Path) -> None:
    with Hosted(tmp_path) as it:
        it.serve(*_FACTORY, "--lifespan", "off")
        answer = it.request("POST", it.path("diffbot", "notification"), b"{}")
        assert (503, "spool_unavailable") == (answer.status, answer.json["error"])
        assert int(answer.headers["retry-after"]) > 0
        assert "the spool is not open" in answer.json["detail"]
        assert 503 == it.readiness()
        assert 200 == it.request("GET", "/healthz").status
        assert [] == it.spooled()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"RECEIVER_ACK": "archive"}, "RECEIVER_ACK=archive works in `receiver serve` only"),
        ({"RECEIVER_BATCH_SECOND": "1"}, "unknown setting RECEIVER_BATCH_SECOND"),
        ({"RECEIVER_BATCH_SECONDS": "soon"}, "RECEIVER_BATCH_SECONDS: must be a number"),
        ({"RECEIVER_SPOOL": "/proc/receiver"}, "RECEIVER_SPOOL: cannot make /proc/receiver"),
    ],
)
def test_wrong_settings_end_the_start_with_one_line(
    tmp_path: Path, settings: Mapping[str, str], problem: str
) -> None:
    with Hosted(tmp_path, settings) as it:
        life = it.serve(*_FACTORY)
        assert 3 == life.wait()
        life.wait_for_all()
        (line,) = life.errors
        assert line.startswith(f"receiver: {problem}")
        assert [] == life.output


@pytest.mark.parametrize("prefix", ["", "/outer"])
def test_mounted_below_a_prefix(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "host.py").write_text(_HOST)
    with Hosted(tmp_path) as it:
        # The host's access log would print the token; see `asgi.build`.
        arguments = ("--root-path", prefix) if prefix else ()
        it.serve("host:app", "--no-access-log", *arguments)
        # uvicorn puts the root path before what was requested, as a proxy took it away.
        target = it.path("dataforseo", "pingback", "/serp/google/organic?id=1&tag=a")
        answer = it.request("GET", "/hooks" + target)
        assert 200 == answer.status
        for path in ("/hooks/readyz", "/other"):
            assert 200 == it.request("GET", path).status
        for path in (target, "/hooks" + prefix + target if prefix else "/hooks/hooks" + target):
            assert 404 == it.request("GET", path).status
        (delivery,) = it.deliveries()
        assert answer.headers["x-delivery-id"] == delivery["delivery_id"]
        assert target.replace(TOKEN, "***") == delivery["target"]
        assert -signal.SIGTERM == it.terminate()
        assert [".seg"] == [path.suffix for path in it.spooled()]

"""Clients that are slow on purpose: they are ended in time, and keep nobody else out."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.tools.support.http import Answer, connect, read_answer
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver, open_files, resident_bytes
from tests.tools.support.wait import readable, wait_for

pytestmark = pytest.mark.system

# Long enough for all of them to be connected at once, on a busy machine too.
_HEAD_SECONDS = 6
_BODY_SECONDS = 6
_IDLE_SECONDS = 6
# How much later than promised a connection may end, and an answer come, on a busy machine.
_LATE_SECONDS = 10.0
# When a provider gives up.
_ANSWER_SECONDS = 10.0
_PAUSE_SECONDS = 0.4
# What the spool opens and closes at any time.
_FILES_SPARE = 4


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Let this process open as many files as it takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that is patient for seconds, not for minutes."""
    settings = {
        "RECEIVER_HEAD_SECONDS_MAX": str(_HEAD_SECONDS),
        "RECEIVER_BODY_SECONDS_MAX": str(_BODY_SECONDS),
        "RECEIVER_KEEP_ALIVE_SECONDS": str(_IDLE_SECONDS),
    }
    with Receiver(tmp_path_factory.mktemp("slow"), settings) as it:
        it.start()
        yield it


@dataclass(slots=True)
class Slow:
    """A client that sends a byte at a time, or nothing more."""

    connection: socket.socket
    more: bytes
    opened_at: float
    seconds_max: float
    ended_at: float | None = None

    @property
    def lived_seconds(self) -> float:
        """How long it lasted."""
        assert self.ended_at is not None
        return self.ended_at - self.opened_at

    def poke(self) -> None:
        """Send the next byte, and see whether the other side has had enough."""
        try:
            while readable([self.connection]):
                if not self.connection.recv(65536):
                    raise ConnectionResetError
            self.connection.sendall(self.more)
        except ConnectionError:
            self.ended_at = time.monotonic()
            self.connection.close()


def test_a_thousand_slow_clients_keep_nobody_out(receiver: Receiver) -> None:
    samples = Samples(seed=61)
    [server] = receiver.server_pids()
    memory, files = resident_bytes(server), open_files(server)
    post = f"POST {receiver.path('dataforseo', 'postback', '?id=1')} HTTP/1.1\r\nHost: a\r\n"
    length = "Content-Length: 100000\r\n\r\n"
    slow = [
        *(begin(receiver, "POST /dataforseo", b"a", _HEAD_SECONDS) for _ in range(350)),
        *(begin(receiver, f"{post}X-A: ", b"a", _HEAD_SECONDS) for _ in range(50)),
        *(begin(receiver, post + length, b" ", _BODY_SECONDS + 1) for _ in range(250)),
        *(begin(receiver, f"{post}Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n",
                _BODY_SECONDS + 1) for _ in range(50)),
        # Refused at once, and sending the rest of a body all the same.
        *(begin(receiver, f"POST /diffbot/notification/wrong HTTP/1.1\r\n{length}", b" ",
                _HEAD_SECONDS + 1) for _ in range(100)),
        *(begin(receiver, f"{post}Content-Length: 2\r\n\r\n{{}}", b"", _IDLE_SECONDS + 1)
          for _ in range(200)),
    ]  # fmt: skip
    assert 1000 == len(slow)
    wait_for(lambda: open_files(server) >= files + 1000, "all of them are connected")
    assert resident_bytes(server) - memory < 64 << 20
    longest = 0.0
    deadline = time.monotonic() + 60
    while alive := [client for client in slow if client.ended_at is None]:
        assert time.monotonic() < deadline, f"{len(alive)} are still there"
        for client in alive:
            client.poke()
        until = time.monotonic() + _PAUSE_SECONDS
        while time.monotonic() < until:
            began = time.monotonic()
            sample = samples.postback()
            target = receiver.path(sample.provider, sample.kind, sample.rest)
            answer = receiver.request(sample.method, target, sample.wire, sample.headers)
            longest = max(longest, time.monotonic() - began)
            assert 200 == answer.status
    assert longest < _ANSWER_SECONDS
    late = [client for client in slow if client.lived_seconds > client.seconds_max + _LATE_SECONDS]
    assert [] == late
    # Those who were patient themselves were not thrown out.
    assert min(client.lived_seconds for client in slow) > _HEAD_SECONDS - 1
    wait_for(lambda: open_files(server) <= files + _FILES_SPARE, "their connections are gone")
    assert resident_bytes(server) - memory < 64 << 20
    assert [server] == receiver.server_pids()


def test_heads_that_are_never_whole_fill_no_memory(receiver: Receiver) -> None:
    [server] = receiver.server_pids()
    memory, files = resident_bytes(server), open_files(server)
    # Eighty megabytes of one long header each, and twenty of the shortest that there are.
    beginnings = [b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000] * 800
    beginnings += [b"GET / HTTP/1.1\r\n" + b"ab:\r\n" * 20_000] * 200
    with contextlib.ExitStack() as held:
        for beginning in beginnings:
            connection = held.enter_context(connect(receiver.url))
            with contextlib.suppress(ConnectionError):
                connection.sendall(beginning)
        ordinary = receiver.request("POST", receiver.path("diffbot", "notification"), b"{}")
        assert 200 == ordinary.status
        assert resident_bytes(server) - memory < 160 << 20
        assert [server] == receiver.server_pids()
    wait_for(lambda: open_files(server) <= files + _FILES_SPARE, "their connections are gone")
    # And room is made again for those who come now.
    with connect(receiver.url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000)
        connection.sendall(b"\r\n\r\n")
        assert 200 == read_answer(connection).status


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["unfinished", "finished"])
def test_too_many_headers_are_answered_431(receiver: Receiver, end: bytes) -> None:
    assert 431 == answered(receiver, b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * 1002 + end).status
    fitting = b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * 1000 + b"\r\n"
    assert 200 == answered(receiver, fitting).status


def test_a_connection_is_kept_after_a_refused_body_and_not_for_ever(receiver: Receiver) -> None:
    head = b"POST /diffbot/notification/wrong HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    with connect(receiver.url) as connection:
        for before in (b"", b"body"):
            connection.sendall(before)
            connection.sendall(head)
            assert 401 == read_answer(connection).status
        began = time.monotonic()
        connection.sendall(b"body")
        assert b"" == connection.recv(1)
    assert _IDLE_SECONDS - 1 < time.monotonic() - began < _IDLE_SECONDS + _LATE_SECONDS


def test_the_admin_port_is_as_careful(receiver: Receiver) -> None:
    parent = receiver.life.pid
    memory = resident_bytes(parent)
    with connect(receiver.admin_url) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n" + b"ab:\r\n" * 1002)
        assert 431 == read_answer(connection).status
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(connect(receiver.admin_url)) for _ in range(150)]
        ended = wait_for(lambda: readable(connections), "some are refused")
        assert len(ended) <= 50
    assert resident_bytes(parent) - memory < 32 << 20
    wait_for(lambda: answers(receiver), "it answers again")


def begin(receiver: Receiver, beginning: str, more: bytes, seconds_max: float) -> Slow:
    opened_at = time.monotonic()
    connection = connect(receiver.url)
    connection.sendall(beginning.encode())
    return Slow(connection, more, opened_at, seconds_max)


def answered(receiver: Receiver, content: bytes) -> Answer:
    with connect(receiver.url) as connection:
        connection.sendall(content)
        return read_answer(connection)


def answers(receiver: Receiver) -> bool:
    with contextlib.suppress(ConnectionError):
        return "running" == str(receiver.status()["state"])
    return False

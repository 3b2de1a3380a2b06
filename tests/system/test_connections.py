"""More connections than may be open: those that are open are served, the others answered 503."""

import contextlib
import socket
from pathlib import Path

import pytest

from tests.tools.support.http import Answer, connect, read_answer
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_REASON = {"provider": "unknown", "reason": "too_many_connections"}


def _turned_away(receiver: Receiver) -> float:
    return receiver.metric("receiver_rejected_total", **_REASON)


def _post(receiver: Receiver) -> bytes:
    head = f"POST {receiver.path('diffbot', 'notification')} HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
    return head.encode() + b"{}"


def _asked(receiver: Receiver, connection: socket.socket) -> Answer:
    connection.sendall(_post(receiver))
    return read_answer(connection)


def test_connections_over_the_limit_are_answered_503(tmp_path: Path) -> None:
    with (
        Receiver(tmp_path, {"RECEIVER_CONNECTIONS_MAX": "20"}) as it,
        contextlib.ExitStack() as held,
    ):
        it.start()
        kept = [held.enter_context(connect(it.url)) for _ in range(20)]
        assert [200] * 20 == [_asked(it, one).status for one in kept]
        wait_for(lambda: it.metric("receiver_connections") == 20, "they are counted")
        with connect(it.url) as silent:
            for _ in range(5):
                with connect(it.url) as one:
                    answer = _asked(it, one)
                    assert b"" == one.recv(1)
                assert (503, "close") == (answer.status, answer.headers["connection"])
                assert "too_many_connections" == answer.json["error"]
                assert int(answer.headers["retry-after"]) > 0
            # One that says nothing is not waited for.
            assert b"" == silent.recv(1)
        wait_for(lambda: _turned_away(it) == 6, "each is counted")
        assert it.life.logged("refused by the HTTP layer")[0]["reason"] == _REASON["reason"]
        assert [200] * 20 == [_asked(it, one).status for one in kept]
        kept[0].close()
        wait_for(lambda: it.metric("receiver_connections") == 19, "there is room")
        with connect(it.url) as one:
            assert 200 == _asked(it, one).status


def test_the_limit_leaves_descriptors_for_the_spool(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh"]
    with Receiver(tmp_path, before=limited) as it, contextlib.ExitStack() as held:
        it.start()
        [line] = it.life.logged("too few descriptors for RECEIVER_CONNECTIONS_MAX")
        first = held.enter_context(connect(it.url))
        for _ in range(400):
            with contextlib.suppress(ConnectionError):
                held.enter_context(connect(it.url))
        wait_for(lambda: _turned_away(it) >= 400 - line["connections_max"], "most are turned away")
        # Each seals a segment and begins the next.
        for _ in range(5):
            assert 200 == _asked(it, first).status
            it.wait_until_shipped()
        assert 0 == it.metric("receiver_spool_failures_total")

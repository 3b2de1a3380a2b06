"""What the HTTP layer refuses, on the wire: in its turn, counted, logged, and never stored."""

import contextlib
import re
import socket
from collections.abc import Iterator
from zlib import crc32

import pytest

from tests.tools.support.http import Answer, connect, read_answer
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_HEAD_BYTES_MAX = 4096
_PINGBACK = f"GET /dataforseo/pingback/{TOKEN}?id=".encode()
_POST = f"POST /diffbot/notification/{TOKEN} HTTP/1.1\r\n".encode()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    settings = {"RECEIVER_HEAD_BYTES_MAX": str(_HEAD_BYTES_MAX)}
    with Receiver(tmp_path_factory.mktemp("refusals"), settings) as it:
        it.start()
        yield it


def _good(name: str) -> bytes:
    return _PINGBACK + name.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n"


def _padded(size: int) -> bytes:
    """Return a request whose head has just this size."""
    begin = _POST + b"Content-Length: 2\r\nX: "
    return begin + b"a" * (size - len(begin) - 4) + b"\r\n\r\n{}"


def _answers(receiver: Receiver, *packets: bytes, ends: bool = False) -> list[int]:
    """Send packets, and return the status of every answer until the connection is closed."""
    with connect(receiver.url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def _rejected(receiver: Receiver, reason: str) -> float:
    return receiver.metric("receiver_rejected_total", provider="unknown", reason=reason)


def _stored(receiver: Receiver) -> list[str]:
    receiver.wait_until_shipped()
    lines = read_lines(DirectoryArchive(receiver.archive))
    return [line["task_id"] for line in lines if line["kind"] == "pingback"]


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (_PINGBACK + "1&tag=Zürich HTTP/1.1\r\n\r\n".encode(), 400, "bad_request"),
        (_PINGBACK + b"1&tag=a b HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (_padded(_HEAD_BYTES_MAX + 100), 431, "head_too_large"),
        (_POST + b"a:\r\n" * 1002, 431, "head_too_large"),
    ],
    ids=["utf-8", "space", "chunk", "target", "connect", "large head", "many headers"],
)
def test_a_refusal_is_answered_counted_and_logged(
    receiver: Receiver, request_: bytes, status: int, reason: str
) -> None:
    before, logged = _rejected(receiver, reason), len(_logged(receiver))
    with connect(receiver.url) as connection:
        connection.sendall(request_)
        answer = read_answer(connection)
        assert b"" == connection.recv(1)
    assert (status, "close") == (answer.status, answer.headers["connection"])
    assert reason == answer.json["error"]
    wait_for(lambda: _rejected(receiver, reason) == before + 1, "it is counted")
    line = wait_for(lambda: _logged(receiver)[logged:], "it is logged")[0]
    assert (reason, "127.0.0.1") == (line["reason"], line["peer"])
    assert line["detail"]


def test_refusals_in_a_row_leave_a_few_lines(receiver: Receiver) -> None:
    before, logged = _rejected(receiver, "bad_request"), len(_logged(receiver))
    for _ in range(200):
        _answers(receiver, b"{}\r\n")
    wait_for(lambda: _rejected(receiver, "bad_request") == before + 200, "all are counted")
    assert 0 < len(_logged(receiver)) - logged < 100


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"x", 400),
        (b"\x00", 400),
        (_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (_PINGBACK + b"1&tag=a b HTTP/1.1\r\n\r\n", 400),
        (_padded(3 * _HEAD_BYTES_MAX), 431),
    ],
    ids=["stray byte", "zero", "chunk", "space", "large head"],
)
def test_good_requests_are_answered_before_a_bad_one(
    receiver: Receiver, count: int, bad: bytes, status: int
) -> None:
    names = [f"{crc32(bad)}-{count}-{number}" for number in range(count)]
    good = b"".join(map(_good, names))
    assert [*[200] * count, status] == _answers(receiver, good + bad)
    assert names == [name for name in _stored(receiver) if name in names]


@pytest.mark.parametrize("ends", [False, True])
def test_good_requests_are_answered_whatever_follows(receiver: Receiver, ends: bool) -> None:
    posts = (_POST + b"Content-Length: 2\r\n\r\n{}") * 2
    assert [200, 200, 400] == _answers(receiver, posts + b"\x01", ends=ends)
    # What comes later is not read any more.
    assert [200, 200, 400] == _answers(receiver, posts + b"\x01", posts, ends=ends)


def test_requests_beyond_those_that_may_wait_are_503(receiver: Receiver) -> None:
    got = _answers(receiver, b"".join(_good(f"waits-{number}") for number in range(30)))
    assert [*[200] * 17, 503] == got
    assert 17 == sum(name.startswith("waits-") for name in _stored(receiver))
    wait_for(lambda: _rejected(receiver, "too_many_pipelined") == 1, "it is counted")


def test_a_refused_body_gets_no_second_answer(receiver: Receiver) -> None:
    head = b"POST /diffbot/notification/wrong HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(receiver.url) as connection:
        connection.sendall(head)
        assert 401 == read_answer(connection).status
        connection.sendall(b"zz\r\n")
        assert b"" == connection.recv(1)


# The limit on heads.


@pytest.mark.parametrize("split", [1 << 20, 4096, 1000, 100, 7])
@pytest.mark.parametrize(
    ("size", "status"),
    [
        (_HEAD_BYTES_MAX - 50, 200),
        (_HEAD_BYTES_MAX, 200),
        (_HEAD_BYTES_MAX + 50, 431),
        (2 * _HEAD_BYTES_MAX, 431),
        (127 << 10, 431),
    ],
)
def test_the_limit_on_heads_holds_however_they_are_split(
    receiver: Receiver, size: int, status: int, split: int
) -> None:
    whole = _padded(size)
    # With packets of a few bytes a large head is refused long before its end.
    packets = [whole[at : at + split] for at in range(0, min(len(whole), 40 * split), split)]
    if len(packets) * split < len(whole):
        packets.append(whole[len(packets) * split :])
    with connect(receiver.url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = _answer_to(connection, packets)
    assert answer is None or status == answer.status
    # A client that goes on sending may lose the answer to the reset of its connection.
    assert answer is not None or status == 431


def _answer_to(connection: socket.socket, packets: list[bytes]) -> Answer | None:
    with contextlib.suppress(ConnectionError):
        for packet in packets:
            connection.sendall(packet)
        return read_answer(connection)
    return None


def test_several_heads_in_one_packet_are_counted_apart(receiver: Receiver) -> None:
    fitting = _padded(_HEAD_BYTES_MAX)
    large = _padded(_HEAD_BYTES_MAX + 50)
    assert [200] * 9 + [431] == _answers(receiver, fitting * 9 + large)
    # A head that begins behind a long body, and goes on in the next packet.
    body = _POST + b"Content-Length: 10000\r\n\r\n" + b" " * 10_000
    for cut in (1, 500, _HEAD_BYTES_MAX - 1):
        packets = body + fitting[:cut], fitting[cut:] + b"\x01"
        assert [200, 200, 400] == _answers(receiver, *packets)
        packets = body + large[:cut], large[cut:]
        assert [200, 431] == _answers(receiver, *packets)


@pytest.mark.parametrize("size", [2 * _HEAD_BYTES_MAX, 127 << 10])
def test_the_limit_holds_for_trailers_too(receiver: Receiver, size: int) -> None:
    chunked = _POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    assert [431] == _answers(receiver, chunked + b"X: " + b"a" * size + b"\r\n\r\n")
    assert [431] == _answers(receiver, chunked, b"X: " + b"a" * size + b"\r\n\r\n")
    assert [200, 400] == _answers(receiver, chunked + b"X: " + b"a" * 1000 + b"\r\n\r\n\x01")


def test_a_head_that_is_never_complete_is_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"RECEIVER_HEAD_SECONDS_MAX": "1"}
    with Receiver(tmp_path_factory.mktemp("slow"), settings) as it:
        it.start()
        with connect(it.url) as half, connect(it.url) as silent:
            half.sendall(b"POST /")
            assert b"" == half.recv(1)
            assert b"" == silent.recv(1)
        wait_for(lambda: _rejected(it, "head_too_slow") == 1, "it is counted, and it alone")


def _logged(receiver: Receiver) -> list[dict[str, object]]:
    return receiver.life.logged("refused by the HTTP layer")

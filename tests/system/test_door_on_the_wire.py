"""The door, seen by clients that write their own bytes: every route, answer, header and limit."""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.tools.support.http import Answer, connect, read_answer
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.samples import API_KEY, signature
from tests.tools.support.server import TOKEN, Receiver, peak_memory_bytes
from tests.tools.support.wait import readable, wait_for

pytestmark = pytest.mark.system

_OTHER_TOKEN = "second-token-0123456789"
_BODY_BYTES_MAX = 1 << 20
_HEAD_BYTES_MAX = 128 << 10
_PINGBACK = "/dataforseo/pingback"


@dataclass(frozen=True, slots=True)
class Door:
    """A receiver, and what its archive says of a delivery."""

    receiver: Receiver

    def line(self, answer: Answer) -> dict[str, Any]:
        """Wait for the line of an acknowledged delivery."""
        assert 200 == answer.status, answer
        delivery_id = answer.headers["x-delivery-id"]

        def found() -> dict[str, Any] | None:
            lines = read_lines(DirectoryArchive(self.receiver.archive))
            return next((line for line in lines if line["delivery_id"] == delivery_id), None)

        line = wait_for(found, f"{delivery_id} is archived")
        assert line is not None
        return line

    def stored(self) -> int:
        """Wait until nothing is on its way, and count what is archived."""
        self.receiver.wait_until_shipped()
        return len(read_lines(DirectoryArchive(self.receiver.archive)))

    def send(self, *parts: bytes) -> Answer:
        """Write bytes to a connection of their own and read one answer."""
        with connect(self.receiver.url) as connection:
            for part in parts:
                connection.sendall(part)
            return read_answer(connection)

    def post(
        self, provider: str, kind: str, body: bytes = b"{}", headers: Sequence[str] = ()
    ) -> Answer:
        """Post to an entrance with header lines as they are given."""
        lines = "".join(f"{line}\r\n" for line in headers)
        head = (
            f"POST {self.receiver.path(provider, kind)} HTTP/1.1\r\nHost: a\r\n{lines}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return self.send(head.encode() + body)

    def get(self, target: str) -> Answer:
        """Make a plain GET."""
        return self.receiver.request("GET", target)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One receiver for all tests that need no settings of their own."""
    settings = {
        "RECEIVER_TOKENS": f"{TOKEN},{_OTHER_TOKEN}",
        "RECEIVER_BODY_BYTES_MAX": str(_BODY_BYTES_MAX),
        "RECEIVER_HEAD_BYTES_MAX": str(_HEAD_BYTES_MAX),
        "RECEIVER_OUTSCRAPER_API_KEYS": f"another-key,{API_KEY}",
        "RECEIVER_BATCH_SECONDS": "0.1",
    }
    with Receiver(tmp_path_factory.mktemp("door"), settings) as receiver:
        receiver.start()
        # The suite starts by having the archive's directory made.
        receiver.request("POST", receiver.path("diffbot", "notification"), b"{}")
        receiver.wait_until_shipped()
        yield Door(receiver)


@pytest.fixture
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A maker of receivers with settings of their own."""
    opened: list[Receiver] = []

    def open_door(**settings: str) -> Door:
        receiver = Receiver(tmp_path_factory.mktemp("door"), settings)
        opened.append(receiver)
        receiver.start()
        return Door(receiver)

    yield open_door
    for receiver in opened:
        receiver.close()


# Bodies.


def test_a_chunked_body_is_put_together(door: Door) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=1&tag=x")
    answer = door.send(
        f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
        b"1\r\n{\r\n10;name=value\r\n",
        b'"status_code":20',
        b"\r\n4\r\n000}\r\n0\r\nX-Trailer: t\r\n\r\n",
    )
    assert '{"status_code":20000}' == door.line(answer)["body"]


def test_no_header_is_required(door: Door) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=2")
    answer = door.send(f"POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    line = door.line(answer)
    assert ("2", None, None) == (line["task_id"], line["tag"], line["content_type"])
    assert [["content-length", "2"]] == line["headers"]


def test_http_1_0_with_blank_lines_before_the_json(door: Door) -> None:
    body = b'\n\n\n{"name":"acme","type":"crawl","jobStatus":{"status":9}}\n'
    path = door.receiver.path("diffbot", "notification")
    with connect(door.receiver.url) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.0\r\nUser-Agent: Crawlbot/2.0\r\nAccept: */*\r\n"
            f"Host: hooks.example.net\r\nX-Crawl-Name: acme\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n".encode()
            + body
        )
        answer = read_answer(connection)
        # HTTP/1.0 ends with the connection.
        assert b"" == connection.recv(1)
    line = door.line(answer)
    assert (body.decode(), "acme", "9") == (line["body"], line["task_id"], line["status"])
    assert line["invalid"] is None


@pytest.mark.parametrize("length", ["Content-Length: 0\r\n", ""])
def test_a_body_of_zero_bytes_is_kept(door: Door, length: str) -> None:
    path = door.receiver.path("dataforapps", "postback", "?id=3&tag=x")
    line = door.line(door.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n".encode()))
    assert ("", 0, "empty") == (line["body"], line["body_bytes"], line["invalid"])


def test_a_client_that_waits_for_100_continue_gets_it(door: Door) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=4")
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2"
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"{}")
        assert "{}" == door.line(read_answer(connection))["body"]


def test_requests_in_one_packet_are_answered_in_order(door: Door) -> None:
    head = f"GET {_PINGBACK}/{TOKEN}?id="
    requests = [f"{head}{number} HTTP/1.1\r\nHost: a\r\n\r\n" for number in range(5)]
    last = f"{head}last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with connect(door.receiver.url) as connection:
        connection.sendall("".join([*requests, last]).encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert 6 == received.count(b"HTTP/1.1 200 OK\r\n")
    ids = [part.partition(b'"')[0] for part in received.split(b'{"delivery_id":"')[1:]]
    assert 6 == len(set(ids))
    door.receiver.wait_until_shipped()
    lines = {line["delivery_id"]: line for line in read_lines(_archive(door))}
    tasks = [lines[delivery_id.decode()]["task_id"] for delivery_id in ids]
    assert ["0", "1", "2", "3", "4", "last"] == tasks


@pytest.mark.parametrize("size", [2, _BODY_BYTES_MAX])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_sends_no_more_is_answered(door: Door, version: str, size: int) -> None:
    path = door.receiver.path("diffbot", "notification")
    head = f"POST {path} HTTP/{version}\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    with connect(door.receiver.url) as connection:
        connection.sendall(head.encode() + b"{}".ljust(size))
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection)
        assert b"" == connection.recv(1)
    assert size == door.line(answer)["body_bytes"]


def test_all_requests_of_a_client_that_sends_no_more_are_answered(door: Door) -> None:
    requests = [f"GET {_PINGBACK}/{TOKEN}?id={n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(5)]
    with connect(door.receiver.url) as connection:
        connection.sendall("".join(requests).encode())
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert 5 == received.count(b"HTTP/1.1 200 OK\r\n")
    assert 1 == received.count(b"connection: close\r\n")


@pytest.mark.parametrize("part", ["", "POST", "head", "body", "chunk", "answered"])
def test_a_client_that_sends_no_more_and_has_no_whole_request_is_closed_at_once(
    door: Door, part: str
) -> None:
    before = door.stored()
    head = f"POST {door.receiver.path('dataforseo', 'postback', '?id=5')} HTTP/1.1\r\nHost: a\r\n"
    sent = {
        "head": head,
        "body": f"{head}Content-Length: 2\r\n\r\n{{",
        "chunk": f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n",
        "answered": "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    }.get(part, part)
    with connect(door.receiver.url) as connection:
        connection.sendall(sent.encode())
        if part == "answered":
            read_answer(connection)
        connection.shutdown(socket.SHUT_WR)
        # Before any limit: heads have thirty seconds, idle connections many more.
        assert _closed_within(connection, 10)
    assert before == door.stored()


def test_a_client_that_goes_away_in_its_body_leaves_nothing(door: Door) -> None:
    before = door.stored()
    path = door.receiver.path("dataforseo", "postback", "?id=5")
    lengths = (b"Content-Length: 500000", b"Transfer-Encoding: chunked")
    for length, part in zip(lengths, (b" " * 400_000, b"61a80\r\n" + b" " * 400_000), strict=True):
        with connect(door.receiver.url) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\n".encode()
            connection.sendall(head + length + b"\r\n\r\n" + part)
            wait_for(lambda: door.receiver.metric("receiver_inflight_bytes") > 390_000, "read")
        wait_for(lambda: door.receiver.metric("receiver_inflight_bytes") == 0, "given up")
    assert before == door.stored()
    assert 200 == door.post("diffbot", "notification").status


def test_a_body_over_the_limit_is_refused_by_its_declared_length(door: Door) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=6")
    too_long = f"Content-Length: {_BODY_BYTES_MAX + 1}"
    answer = door.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{too_long}\r\n\r\n".encode())
    _assert_refused(answer, 413, "body_too_large", "RECEIVER_BODY_BYTES_MAX")


def test_a_body_over_the_limit_is_refused_by_counted_bytes(door: Door) -> None:
    before = door.stored()
    path = door.receiver.path("dataforseo", "postback", "?id=7")
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(_BODY_BYTES_MAX // 65536):
            connection.sendall(chunk)
        connection.sendall(b"1\r\nx\r\n")
        _assert_refused(read_answer(connection), 413, "body_too_large", "RECEIVER_BODY_BYTES_MAX")
    wait_for(lambda: door.receiver.metric("receiver_inflight_bytes") == 0, "given up")
    assert before == door.stored()


def test_a_body_of_just_the_limit_is_taken(door: Door) -> None:
    assert 200 == door.post("diffbot", "notification", b" " * _BODY_BYTES_MAX).status


def test_an_endless_chunked_body_costs_no_memory(door: Door) -> None:
    [server] = door.receiver.server_pids()
    path = door.receiver.path("dataforseo", "postback", "?id=8")
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(2000):
            connection.sendall(chunk)
        assert 413 == read_answer(connection).status
    assert door.receiver.metric("receiver_inflight_bytes") <= _BODY_BYTES_MAX
    assert peak_memory_bytes(server) < 150 << 20


def test_bodies_in_flight_are_bounded(doors: Any) -> None:
    door = doors(
        RECEIVER_BODY_BYTES_MAX=str(_BODY_BYTES_MAX),
        RECEIVER_INFLIGHT_BYTES_MAX=str(_BODY_BYTES_MAX),
    )
    path = door.receiver.path("dataforseo", "postback", "?id=9")
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
        connection.sendall(head.encode() + b" " * 450_000)
        wait_for(lambda: door.receiver.metric("receiver_inflight_bytes") == 900_000, "counted")
        answer = door.post("diffbot", "notification", b" " * 300_000)
        _assert_refused(answer, 503, "spool_unavailable", "RECEIVER_INFLIGHT_BYTES_MAX")
        assert int(answer.headers["retry-after"]) > 0
        assert 200 == door.post("diffbot", "notification", b" " * 100_000).status
        connection.sendall(b" " * 450_000)
        assert 200 == read_answer(connection).status
    assert 200 == door.post("diffbot", "notification", b" " * 300_000).status


def test_a_body_that_takes_too_long_is_given_up_and_not_acknowledged(doors: Any) -> None:
    door = doors(RECEIVER_BODY_SECONDS_MAX="1")
    path = door.receiver.path("dataforseo", "postback", "?id=10")
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    answer = door.send(head.encode() + b" " * 50)
    _assert_refused(answer, 503, "body_too_slow", "1 s")
    assert int(answer.headers["retry-after"]) > 0
    assert 0 == door.stored()
    wait_for(lambda: door.receiver.metric("receiver_inflight_bytes") == 0, "given up")
    assert 200 == door.post("diffbot", "notification").status


# Heads.


def test_500_headers_are_kept_in_order(door: Door) -> None:
    names = [f"X-Header-{number}: value {number}" for number in range(498)]
    line = door.line(door.post("dataforseo", "postback", headers=[*names, "X-A: 1", "X-A: 2"]))
    wanted = [[f"x-header-{number}", f"value {number}"] for number in range(498)]
    assert [["host", "a"], *wanted, ["x-a", "1"], ["x-a", "2"]] == line["headers"][:-1]


@pytest.mark.parametrize(
    "beginning",
    [b"POST /", b"POST / HTTP/1.1\r\nX-Long: ", b"POST / HTTP/1.1\r\n"],
    ids=["request line", "one header", "many headers"],
)
def test_an_endless_head_is_answered_431_and_bounded(door: Door, beginning: bytes) -> None:
    [server] = door.receiver.server_pids()
    more = b"X-More: 0123456789\r\n" * 400 if beginning.endswith(b"\r\n") else b"a" * 8192
    with connect(door.receiver.url) as connection:
        connection.sendall(beginning)
        sent = _send_until_closed(connection, more)
        assert sent * len(more) < 16 << 20
        answer = read_answer(connection)
    assert (431, "close") == (answer.status, answer.headers["connection"])
    assert peak_memory_bytes(server) < 150 << 20


def test_a_head_that_takes_too_long_ends_the_connection(doors: Any) -> None:
    door = doors(RECEIVER_HEAD_SECONDS_MAX="1")
    with connect(door.receiver.url) as connection:
        connection.sendall(b"POST /dataforseo/postback/")
        assert _closed_within(connection, 10)
    # Who is not quick enough himself, on a busy machine, is ended as well.
    wait_for(lambda: _taken(door), "others are let in")


def _taken(door: Door) -> bool:
    with contextlib.suppress(ConnectionError):
        return door.post("diffbot", "notification").status == 200
    return False


def test_an_endless_trailer_is_bounded(door: Door) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=10")
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        connection.sendall(head.encode())
        assert _send_until_closed(connection, b"X-More: 0123456789\r\n" * 400) < 2000


def test_requests_that_wait_for_no_answer_end_the_connection(door: Door) -> None:
    (server,) = door.receiver.server_pids()
    with connect(door.receiver.url) as connection:
        # Ten thousand requests of 30 bytes a piece; their answers are never read.
        piece = b"GET /healthz HTTP/1.1\r\nH: a\r\n\r\n" * 10_000
        assert _send_until_closed(connection, piece) < 50
    assert peak_memory_bytes(server) < 150 << 20
    assert 200 == door.post("diffbot", "notification").status


def test_what_is_not_http_is_refused_and_harms_nobody(door: Door) -> None:
    with connect(door.receiver.url) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10)
        assert 400 == read_answer(connection).status
        assert b"" == connection.recv(1)
    assert 200 == door.post("diffbot", "notification").status


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
    ],
)
def test_a_body_that_could_end_in_two_places_is_refused(door: Door, lengths: str) -> None:
    path = door.receiver.path("dataforseo", "postback", "?id=11")
    with connect(door.receiver.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n0\r\n\r\n"
        connection.sendall(head.encode())
        assert 400 == read_answer(connection).status
        assert b"" == connection.recv(1)


def test_an_offer_to_upgrade_is_declined_and_the_callback_taken(door: Door) -> None:
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"]
    assert "{}" == door.line(door.post("diffbot", "notification", headers=offer))["body"]


def test_an_idle_connection_outlives_a_load_balancers_patience(doors: Any, door: Door) -> None:
    short = doors(RECEIVER_KEEP_ALIVE_SECONDS="1")
    with connect(short.receiver.url) as ending, connect(door.receiver.url) as staying:
        for connection in (ending, staying):
            connection.sendall(f"GET {_PINGBACK}/{TOKEN}?id=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert 200 == read_answer(connection).status
        # The setting is what ends a connection: where it is a second, it ends soon …
        assert _closed_within(ending, 10)
        # … and where it is the default of 75 seconds, it goes on for longer than uvicorn's own 5.
        assert not _closed_within(staying, 6)
        staying.sendall(f"GET {_PINGBACK}/{TOKEN}?id=2 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert 200 == read_answer(staying).status


# Routes and answers.


@pytest.mark.parametrize(
    ("provider", "kind", "method"),
    [
        ("dataforseo", "postback", "POST"),
        ("dataforseo", "pingback", "GET"),
        ("dataforapps", "postback", "POST"),
        ("dataforapps", "pingback", "GET"),
        ("diffbot", "notification", "POST"),
        ("outscraper", "webhook", "POST"),
    ],
)
def test_every_route_is_there_with_and_without_a_slash(
    door: Door, provider: str, kind: str, method: str
) -> None:
    for slash in ("", "/"):
        target = door.receiver.path(provider, kind, f"{slash}?id=11&tag=x")
        body = b"{}" if method == "POST" else b""
        answer = door.receiver.request(method, target, body)
        line = door.line(answer)
        assert (provider, kind, method) == (line["provider"], line["kind"], line["method"])
        assert f"/{provider}/{kind}/***{slash}?id=11&tag=x" == line["target"]
        assert {"delivery_id": answer.headers["x-delivery-id"]} == answer.json
        assert "application/json" == answer.headers["content-type"]


def test_head_is_answered_200_and_stores_nothing(door: Door) -> None:
    before = door.stored()
    for provider, kind in (("dataforseo", "postback"), ("dataforseo", "pingback")):
        for slash in ("", "/"):
            answer = door.receiver.request("HEAD", door.receiver.path(provider, kind, slash))
            assert (200, b"") == (answer.status, answer.body)
            assert "x-delivery-id" not in answer.headers
    assert 401 == door.receiver.request("HEAD", "/dataforseo/postback/wrong").status
    assert before == door.stored()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version"])
def test_health_routes_answer_with_and_without_a_slash(door: Door, path: str) -> None:
    for target in (path, f"{path}/"):
        assert 200 == door.get(target).status
        assert 200 == door.receiver.request("HEAD", target).status


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/nobody/postback/{}",
        "/dataforseo/{}",
        "/dataforseo/webhook/{}",
        "/diffbot/notification/{}/more",
        "/outscraper/webhook/{}/more/",
        "/metrics",
        "/status",
        "/docs",
        "//dataforseo/postback/{}",
    ],
)
def test_an_unknown_route_is_404(door: Door, target: str) -> None:
    answer = door.receiver.request("POST", target.format(TOKEN), b"{}")
    _assert_refused(answer, 404, "unknown_route", "receiver urls")


@pytest.mark.parametrize(
    "rest", ["", "/", "/wrong", f"/{TOKEN}x", f"/{TOKEN[:-1]}", f"/{TOKEN.upper()}", "/%00", "/***"]
)
def test_a_wrong_or_missing_token_is_401(door: Door, rest: str) -> None:
    answer = door.receiver.request("POST", f"/dataforseo/postback{rest}", b"{}")
    _assert_refused(answer, 401, "bad_token", "token")


def test_refusals_are_counted_by_their_reason(door: Door) -> None:
    def counted() -> tuple[float, float]:
        reject = "receiver_rejected_total"
        return (
            door.receiver.metric(reject, provider="diffbot", reason="bad_token"),
            door.receiver.metric(reject, provider="diffbot", reason="wrong_method"),
        )

    tokens, methods = counted()
    for _ in range(3):
        assert 401 == door.receiver.request("POST", "/diffbot/notification/wrong").status
        assert 405 == door.get(door.receiver.path("diffbot", "notification")).status
    wait_for(lambda: counted() == (tokens + 3, methods + 3), "they are counted")


@pytest.mark.parametrize("query", ["", "?", "?tag=x", "?id=", "?id=$id", "?id=%24id&tag=$tag"])
def test_a_pingback_without_an_id_is_400(door: Door, query: str) -> None:
    answer = door.get(f"{_PINGBACK}/{TOKEN}{query}")
    _assert_refused(answer, 400, "missing_id", "?id=$id&tag=$tag")


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "/dataforseo/postback"),
        ("PUT", "/dataforseo/postback"),
        ("POST", "/dataforapps/pingback"),
        ("DELETE", "/diffbot/notification"),
        ("OPTIONS", "/outscraper/webhook"),
    ],
)
def test_a_wrong_method_is_405(door: Door, method: str, route: str) -> None:
    answer = door.receiver.request(method, f"{route}/{TOKEN}?id=1", b"{}")
    _assert_refused(answer, 405, "wrong_method", method)


def test_several_tokens_are_valid_at_once_and_none_is_kept(door: Door) -> None:
    for token in (TOKEN, _OTHER_TOKEN):
        target = f"/dataforseo/postback/{token}?id=12&tag={token}"
        line = door.line(door.receiver.request("POST", target, b"{}", {"X-Target": target}))
        assert "/dataforseo/postback/***?id=12&tag=***" == line["target"]
        assert token not in str(line)


# Tags.


@pytest.mark.parametrize(
    "tag",
    ["a&b=c", "1+1", "50%", "x y", "Zürich", "東京", "a/b?c#d", "acme|run-42", "%", "$tagged"],
)
def test_a_tag_is_read_however_often_it_was_encoded(door: Door, tag: str) -> None:
    once = quote(tag, safe="")
    for spelled in (once, quote(once, safe="")):
        target = f"{_PINGBACK}/{TOKEN}/serp/google/organic?id=13&tag={spelled}"
        line = door.line(door.get(target))
        assert tag == line["tag"]
        # The target stays as it came.
        assert target.replace(TOKEN, "***") == line["target"]


@pytest.mark.parametrize("spelled", ["$tag", "%24tag", ""])
def test_a_tag_that_was_never_set_is_null(door: Door, spelled: str) -> None:
    assert door.line(door.get(f"{_PINGBACK}/{TOKEN}?id=14&tag={spelled}"))["tag"] is None


def test_a_tag_that_is_not_utf_8_is_read_as_latin_1(door: Door) -> None:
    path = f"{_PINGBACK}/{TOKEN}?id=15&tag=".encode()
    answer = door.send(b"GET " + path + b"Z%FCrich HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "Zürich" == door.line(answer)["tag"]


# Who calls.


@pytest.mark.parametrize(
    ("forwarded", "peer"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.7:567", "203.0.113.7"),
        ("[2001:db8::7]:567", "2001:db8::7"),
        ("198.51.100.1, <script>", "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_the_peer(door: Door, forwarded: str, peer: str) -> None:
    answer = door.post("diffbot", "notification", headers=[f"X-Forwarded-For: {forwarded}"])
    assert peer == door.line(answer)["peer"]


def test_nobody_else_does(doors: Any) -> None:
    door = doors(FORWARDED_ALLOW_IPS="192.0.2.1")
    answer = door.post("diffbot", "notification", headers=["X-Forwarded-For: 203.0.113.7"])
    line = door.line(answer)
    assert "127.0.0.1" == line["peer"]
    assert ["x-forwarded-for", "203.0.113.7"] in line["headers"]


def test_unknown_sources_of_dataforseo_are_let_in_and_logged(doors: Any) -> None:
    door = doors(
        RECEIVER_DATAFORSEO_SOURCES="144.76.154.130,198.51.100.0/24",
        RECEIVER_DATAFORSEO_SOURCES_MODE="log",
    )
    for address in ("144.76.154.130", "203.0.113.7"):
        headers = [f"X-Forwarded-For: {address}"]
        assert 200 == door.post("dataforseo", "postback", headers=headers).status
    [line] = wait_for(
        lambda: door.receiver.life.logged("unknown source address"), "one of them is logged"
    )
    assert "203.0.113.7" == line["peer"]


def test_unknown_sources_of_dataforseo_are_refused_where_that_is_wanted(doors: Any) -> None:
    door = doors(
        RECEIVER_DATAFORSEO_SOURCES="144.76.154.130,198.51.100.0/24",
        RECEIVER_DATAFORSEO_SOURCES_MODE="enforce",
    )
    for address in ("144.76.154.130", "198.51.100.77"):
        headers = [f"X-Forwarded-For: {address}"]
        assert 200 == door.post("dataforseo", "postback", headers=headers).status
    headers = ["X-Forwarded-For: 203.0.113.7"]
    answer = door.post("dataforseo", "postback", headers=headers)
    _assert_refused(answer, 401, "unknown_source", "RECEIVER_DATAFORSEO_SOURCES")
    # The list is of one provider's addresses.
    assert 200 == door.post("dataforapps", "postback", headers=headers).status
    assert 200 == door.post("diffbot", "notification", headers=headers).status


def test_a_signature_is_checked_if_it_is_there(door: Door) -> None:
    body = b'{"id":"1","status":"SUCCESS"}'
    assert 200 == door.post("outscraper", "webhook", body).status
    for key in (API_KEY, "another-key"):
        headers = [f"X-Hub-Signature-256: {signature(body, key)}"]
        assert 200 == door.post("outscraper", "webhook", body, headers).status
    for wrong in (signature(body, "wrong"), signature(body + b" ", API_KEY), "sha256=", "", "ü"):
        answer = door.post("outscraper", "webhook", body, [f"X-Hub-Signature-256: {wrong}"])
        _assert_refused(answer, 401, "bad_signature", "RECEIVER_OUTSCRAPER_API_KEYS")


def test_a_signature_can_be_required(doors: Any) -> None:
    door = doors(RECEIVER_OUTSCRAPER_API_KEYS=API_KEY, RECEIVER_OUTSCRAPER_SIGNATURE="required")
    body = b'{"id":"1","status":"SUCCESS"}'
    answer = door.post("outscraper", "webhook", body)
    _assert_refused(answer, 401, "missing_signature", "x-hub-signature-256")
    headers = [f"X-Hub-Signature-256: {signature(body, API_KEY)}"]
    assert 200 == door.post("outscraper", "webhook", body, headers).status
    # No other provider signs.
    assert 200 == door.post("diffbot", "notification").status


def test_a_signature_can_be_ignored(doors: Any) -> None:
    door = doors(RECEIVER_OUTSCRAPER_API_KEYS=API_KEY, RECEIVER_OUTSCRAPER_SIGNATURE="off")
    headers = ["X-Hub-Signature-256: sha256=wrong"]
    assert 200 == door.post("outscraper", "webhook", b"{}", headers).status


def _archive(door: Door) -> DirectoryArchive:
    return DirectoryArchive(door.receiver.archive)


def _assert_refused(answer: Answer, status: int, error: str, hint: str) -> None:
    assert (status, error) == (answer.status, answer.json["error"])
    assert hint in answer.json["detail"]
    assert {"error", "detail"} == set(answer.json)
    assert "x-delivery-id" not in answer.headers
    assert "location" not in answer.headers


def _send_until_closed(connection: socket.socket, more: bytes) -> int:
    """Send the same bytes until the other side has had enough; return how often they went."""
    for sent in range(5000):
        try:
            connection.sendall(more)
        except ConnectionError:
            return sent
    raise AssertionError("it takes all that comes")


def _closed_within(connection: socket.socket, seconds: float) -> bool:
    return bool(readable([connection], seconds=seconds)) and connection.recv(1) == b""

"""Sending to a target: what goes over the wire, and what is made of each kind of answer."""

import asyncio
import gzip
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from receiver.masking import Masker
from receiver.replay.target import Answer, NoAnswer, Target
from tests.tools.support.target import Reply, TargetServer

SECRET = "secret-of-the-url-5d1c"


@pytest.fixture
def server() -> Iterator[TargetServer]:
    with TargetServer() as server:
        yield server


def send(
    url: str,
    method: str = "POST",
    body: bytes = b"{}",
    *,
    headers: dict[str, str] | None = None,
    timeout_seconds: float = 10.0,
) -> Answer:
    """Send one request."""

    async def once() -> Answer:
        async with Target(connections=2, timeout_seconds=timeout_seconds) as target:
            return await target.send(method, url, headers=headers or {}, body=body)

    return asyncio.run(once())


def failure(url: str, *, timeout_seconds: float = 10.0) -> NoAnswer:
    """Return why there is no answer; it must not hold the URL."""
    with pytest.raises(NoAnswer) as caught:
        send(url, timeout_seconds=timeout_seconds)
    assert SECRET not in f"{caught.value} {caught.value.args} {caught.value.__cause__}"
    assert str(caught.value)
    return caught.value


# The request.


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/hook?id=a&tag=acme%7Crun-42",
        "/hook/%41%2f?x=%zz&%3F=%26&a+b=c d".replace(" ", "%20"),
        "/a//b/../c/./d?..=/../",
        "/?a=1&a=2&&=&b",
        "/x?{}|\\^`<>\"'!$()*,;:@[]~",
        "/x?y?z=?",
    ],
)
def test_a_target_goes_over_the_wire_as_it_is(server: TargetServer, target: str) -> None:
    send(server.url + target)
    assert [target] == [received.target for received in server.received]


def test_nothing_is_added_but_what_http_needs(server: TargetServer) -> None:
    given = {"webhook-id": "x", "content-type": "a/b", "Odd": "a, b"}
    send(server.url + "/hook", body=b"body", headers=given)
    (received,) = server.received
    expected = {"webhook-id": "x", "content-type": "a/b", "odd": "a, b"}
    host = server.url.removeprefix("http://")
    http = {"host": host, "user-agent": "receiver", "content-length": "4"}
    assert expected | http == received.headers
    assert ("POST", b"body") == (received.method, received.body)


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff\r\n\r\n", "Grüße 東京".encode(), bytes(range(256)) * 5000]
)
def test_a_body_goes_over_the_wire_as_it_is(server: TargetServer, body: bytes) -> None:
    send(server.url + "/", body=body)
    (received,) = server.received
    assert body == received.body
    assert str(len(body)) == received.headers["content-length"]


def test_what_is_gzip_already_is_not_touched(server: TargetServer) -> None:
    body = gzip.compress(b"text")
    send(server.url + "/", body=body, headers={"content-encoding": "gzip"})
    (received,) = server.received
    assert (body, "gzip") == (received.body, received.headers["content-encoding"])


def test_a_get_has_no_body(server: TargetServer) -> None:
    send(server.url + "/?id=1", "GET", b"")
    (received,) = server.received
    assert ("GET", b"") == (received.method, received.body)
    assert not {"content-length", "content-type", "transfer-encoding"} & received.headers.keys()


def test_name_and_password_of_the_url_are_credentials(server: TargetServer) -> None:
    send(server.url.replace("://", "://user:pass@") + "/")
    assert "Basic dXNlcjpwYXNz" == server.received[0].headers["authorization"]


def test_no_cookie_is_kept(server: TargetServer) -> None:
    server.otherwise = Reply(headers={"Set-Cookie": "a=b; Path=/"})

    async def twice() -> None:
        async with Target(connections=1, timeout_seconds=10.0) as target:
            for _ in range(2):
                await target.send("POST", server.url + "/", headers={}, body=b"")

    asyncio.run(twice())
    assert ["cookie" in received.headers for received in server.received] == [False, False]


def test_connections_are_bounded(server: TargetServer) -> None:
    server.hold(until=3)

    async def many() -> None:
        async with Target(connections=3, timeout_seconds=10.0) as target:
            url = server.url + "/"
            sends = (target.send("POST", url, headers={}, body=b"") for _ in range(30))
            await asyncio.gather(*sends)

    asyncio.run(many())
    assert (30, 3) == (len(server.received), server.under_way_max)


# The answer.


@pytest.mark.parametrize("status", [200, 202, 226])
def test_what_a_good_answer_says_is_of_no_interest(server: TargetServer, status: int) -> None:
    server.otherwise = Reply(status=status, body=b"thanks")
    assert Answer(status, "", None) == send(server.url + "/")


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 503])
def test_any_other_answer_is_told_with_its_beginning(server: TargetServer, status: int) -> None:
    server.otherwise = Reply(status=status, body="€".encode() * 300 + b"\xff")
    assert Answer(status, "€" * 200, None) == send(server.url + "/")


def test_an_answer_of_any_length_is_an_answer(server: TargetServer) -> None:
    server.otherwise = Reply(status=500, body=b"x" * (3 << 20))
    assert Answer(500, "x" * 200, None) == send(server.url + "/")


def test_what_must_not_be_shown_is_not_in_what_is_told(server: TargetServer) -> None:
    longer = f"{SECRET}-longer"
    server.otherwise = lambda received: Reply(
        status=404, body=f"Cannot POST /{longer}?x={SECRET} ".encode() * 20
    )

    async def once() -> Answer:
        hide = Masker([SECRET, longer]).text
        async with Target(connections=1, timeout_seconds=10.0, hide=hide) as target:
            return await target.send("POST", f"{server.url}/{longer}", headers={}, body=b"")

    detail = asyncio.run(once()).detail
    assert ("Cannot POST /***?x=*** " * 20)[:200] == detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: TargetServer, status: int) -> None:
    server.otherwise = Reply(status=status, headers={"Location": server.url + "/elsewhere"})
    assert status == send(server.url + "/").status
    assert ["/"] == [received.target for received in server.received]


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("https://h.example/hook/", "https://h.example/hook/"),
        ("/login?next=%2Fhook&state=abc#x", "/login"),
        (f"https://me:pass@h:8/{SECRET}/x?token={SECRET}", "https://h:8/***/x"),
        ("http://[::1/x", "a URL that cannot be read"),
    ],
)
def test_a_redirect_says_where_it_leads(server: TargetServer, location: str, leads: str) -> None:
    server.otherwise = Reply(status=301, headers={"Location": location}, body=b"moved")

    async def once() -> Answer:
        hide = Masker([SECRET]).text
        async with Target(connections=1, timeout_seconds=10.0, hide=hide) as target:
            return await target.send("POST", server.url, headers={}, body=b"")

    assert f"leads to {leads}, not followed" == asyncio.run(once()).detail


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("120", 120.0), ("soon", None), ("-5", None), ("1.5", None), ("", None)],
)
def test_a_pause_may_be_asked_for_in_seconds(
    server: TargetServer, value: str, seconds: float | None
) -> None:
    server.otherwise = Reply(status=503, headers={"Retry-After": value})
    assert seconds == send(server.url + "/").retry_after


@pytest.mark.parametrize("ahead", [1000, -1000])
def test_a_pause_may_be_asked_for_as_a_date(server: TargetServer, ahead: int) -> None:
    at = int(time.time()) + ahead
    server.otherwise = Reply(status=429, headers={"Retry-After": formatdate(at, usegmt=True)})
    pause = send(server.url + "/").retry_after
    assert pause is not None
    assert max(0, ahead - 100) <= pause <= max(0, ahead)


# No answer.


def test_where_nobody_listens_nothing_was_sent(server: TargetServer) -> None:
    server.refuse()
    why = failure(f"{server.url}/{SECRET}")
    assert not why.reached
    assert "Connect" in str(why)


def test_a_name_that_does_not_exist_is_not_reached() -> None:
    # A resolver may take its time to find that out.
    url = f"http://no-such-host.invalid/{SECRET}"
    assert not failure(url, timeout_seconds=100.0).reached


def test_a_url_that_cannot_be_called_is_no_answer() -> None:
    failure(f"http:///{SECRET}")


def test_a_connection_that_is_cut_was_reached(server: TargetServer) -> None:
    server.otherwise = Reply(what="cut")
    assert failure(f"{server.url}/{SECRET}").reached


def test_an_answer_that_does_not_come_is_given_up(server: TargetServer) -> None:
    server.otherwise = Reply(what="hang")
    why = failure(f"{server.url}/{SECRET}", timeout_seconds=1.0)
    assert ("no answer in time", True) == (str(why), why.reached)


MANY = b"".join(b"X-%d: 1\r\n" % number for number in range(300))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n", (200, "")),
        (b"HTTP/1.1 200 OK\r\n" + MANY + b"Content-Length: 0\r\n\r\n", (200, "")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", (204, "")),
        (b"HTTP/1.1 204 No Content\r\n\r\nhello", (204, "")),
        (b"HTTP/1.1 200 OK\r\nBad Header : x\r\nContent-Length: 2\r\n\r\nok", (200, "")),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok and more", (201, "")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (200, "")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n", (200, "")),
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            (503, "the answer is not valid HTTP"),
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\nhello", (304, "the answer is not valid HTTP")),
    ],
)
def test_the_status_line_counts_whatever_follows_it(wire: bytes, answer: tuple[int, str]) -> None:
    async def talk() -> None:
        async def sloppy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(wire)
            writer.close()

        listener = await asyncio.start_server(sloppy, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        async with listener, Target(connections=1, timeout_seconds=10.0) as target:
            url = f"http://{host}:{port}/{SECRET}"
            answered = await target.send("POST", url, headers={}, body=b"x")
        assert answer == (answered.status, answered.detail)

    asyncio.run(talk())


@pytest.mark.integration
def test_what_is_no_http_was_reached() -> None:
    async def talk() -> None:
        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-nonsense\r\n")
            writer.close()

        listener = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        async with listener, Target(connections=1, timeout_seconds=10.0) as target:
            with pytest.raises(NoAnswer) as caught:
                await target.send("POST", f"http://{host}:{port}/{SECRET}", headers={}, body=b"x")
        assert caught.value.reached
        assert SECRET not in str(caught.value)

    asyncio.run(talk())

"""The door: the answers of the table, and what is stored with each."""

import asyncio
import contextlib
import errno
import hmac
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from starlette.types import Message

from receiver import clock, metrics, spool
from receiver.door.app import Door
from receiver.door.guard import Guard
from receiver.door.intake import Intake
from receiver.providers import PROVIDERS
from receiver.providers.envelope import Envelope, decode
from receiver.spool import Spool, segment
from receiver.spool.segment import Record

pytestmark = pytest.mark.anyio

TOKEN = "current-token-0123456789"
OTHER_TOKEN = "previous-token-987654321"
KEY = b"key-of-outscraper"
DEADLINE_SECONDS = 20.0
LIMITS: dict[str, Any] = {
    "body_bytes_max": 1000,
    "body_seconds_max": 30.0,
    "inflight_bytes_max": 3000,
}

POSTBACK = f"/dataforseo/postback/{TOKEN}"
PINGBACK = f"/dataforseo/pingback/{TOKEN}"
NOTIFICATION = f"/diffbot/notification/{TOKEN}"
WEBHOOK = f"/outscraper/webhook/{TOKEN}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str | None:
        return str(orjson.loads(self.body)["error"]) if self.status != 200 else None

    @property
    def detail(self) -> str:
        return str(orjson.loads(self.body)["detail"])

    @property
    def delivery_id(self) -> str:
        return self.headers["x-delivery-id"]


class Caller:
    """Calls a door as a server does, with every piece of a body under the test's control."""

    def __init__(self, door: Door, root: Path) -> None:
        self.door = door
        self.root = root

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        pieces: AsyncIterator[Message] | None = None,
        client: tuple[str, int] | None = ("192.0.2.7", 4711),
    ) -> Answer | None:
        """Return the answer, or None if there was none."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers],
            "client": client,
            "server": ("127.0.0.1", 8000),
        }
        messages = pieces or whole(body)
        sent: list[Message] = []

        async def receive() -> Message:
            return await anext(messages)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.door(scope, receive, send)
        if not sent:
            return None
        start, *rest = sent
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], answered, b"".join(m.get("body", b"") for m in rest))

    async def call(self, method: str, target: str, body: bytes = b"", **more: Any) -> Answer:
        answer = await self.ask(method, target, body, **more)
        assert answer is not None
        if "content-length" in answer.headers:
            assert str(len(answer.body)) == answer.headers["content-length"]
        return answer

    def stored(self) -> list[Envelope]:
        """Return what is on the disk."""
        return [
            decode(part.head, part.body)
            for found in spool.files(self.root)
            for part in segment.read(found.path)
            if isinstance(part, Record)
        ]

    @property
    def inflight_bytes(self) -> int:
        return self.door._intake.inflight_bytes


async def whole(body: bytes) -> AsyncIterator[Message]:
    yield {"type": "http.request", "body": body, "more_body": False}


async def in_pieces(*pieces: bytes, then: Sequence[Message] = ()) -> AsyncIterator[Message]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield {"type": "http.request", "body": piece, "more_body": True}
    for message in then or [{"type": "http.request"}]:
        yield message


@contextlib.asynccontextmanager
async def opened(
    root: Path, *, limits: dict[str, Any] = LIMITS, **options: Any
) -> AsyncIterator[Caller]:
    """Open a door on a spool of its own."""
    of_spool: dict[str, Any] = {
        "batch_bytes": 1 << 40,
        "batch_seconds": 3600.0,
        "spool_bytes_max": options.pop("spool_bytes_max", 1 << 40),
        "disk_reserve_bytes": 0,
    }
    kept = Spool(root, **of_spool)
    guard: dict[str, Any] = {
        "tokens": [TOKEN.encode(), OTHER_TOKEN.encode()],
        "signature": "if-present",
        "signature_keys": [KEY],
    }
    door = Door(
        providers=PROVIDERS,
        spool=kept,
        guard=Guard(**(guard | options)),
        intake=Intake(**limits),
        instance="tests",
        version="1.2.3",
    )
    try:
        yield Caller(door, root)
    finally:
        await kept.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks and the committing thread bring about."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 # nothing there tells of it
            await asyncio.sleep(0.001)


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with opened(tmp_path) as made:
        yield made


# 200: durable.

WAYS = [
    ("dataforseo", "postback", "POST", "?id=$id&tag=$tag"),
    ("dataforseo", "pingback", "GET", "?id=task-1&tag=$tag"),
    ("dataforapps", "postback", "POST", ""),
    ("dataforapps", "pingback", "GET", "?id=task-1"),
    ("diffbot", "notification", "POST", ""),
    ("outscraper", "webhook", "POST", ""),
]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("provider", "kind", "method", "query"), WAYS)
async def test_each_way_in_stores_and_answers_with_the_id(
    caller: Caller, provider: str, kind: str, method: str, query: str, slash: str
) -> None:
    before = clock.now_us()
    target = f"/{provider}/{kind}/{TOKEN}{slash}{query}"
    answer = await caller.call(method, target, b"a body")
    assert 200 == answer.status
    assert {"delivery_id": answer.delivery_id} == orjson.loads(answer.body)
    assert "application/json" == answer.headers["content-type"]
    (delivery,) = caller.stored()
    assert answer.delivery_id == delivery.delivery_id
    assert (provider, kind, "callback", "tests", method) == (
        delivery.provider,
        delivery.kind,
        delivery.origin,
        delivery.instance,
        delivery.method,
    )
    assert b"a body" == delivery.body
    assert "192.0.2.7" == delivery.peer
    assert before <= delivery.received_at_us <= clock.now_us()
    assert before // 1000 * 1000 <= clock.id_time_us(delivery.delivery_id)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x1f\x8b no gzip", b"no json", b"\n\n\n{}", bytes(range(256)) * 3, b'{"other":"kind"}'],
)
async def test_whatever_an_authentic_caller_sends_is_stored(caller: Caller, body: bytes) -> None:
    for target in (POSTBACK, NOTIFICATION, WEBHOOK):
        assert 200 == (await caller.call("POST", target, body)).status
    assert [body] * 3 == [delivery.body for delivery in caller.stored()]


@pytest.mark.parametrize(
    "target", [PINGBACK + "/serp/google/organic?id=1", PINGBACK + "/on_page/?id=1"]
)
async def test_a_pingback_may_say_where_its_result_is(caller: Caller, target: str) -> None:
    assert 200 == (await caller.call("GET", target)).status
    (delivery,) = caller.stored()
    assert target.replace(TOKEN, "***") == delivery.target


async def test_nothing_in_the_headers_is_required_or_lost(caller: Caller) -> None:
    assert 200 == (await caller.call("POST", POSTBACK, b"{}")).status
    headers = [(f"x-header-{number}", "wert ä") for number in range(300)]
    headers += [("content-encoding", "gzip"), ("content-type", ""), ("via", "a"), ("via", "b")]
    assert 200 == (await caller.call("POST", POSTBACK, b"{}", headers=headers)).status
    assert headers == [tuple(pair) for pair in caller.stored()[1].headers]


async def test_a_caller_without_an_address_is_taken(caller: Caller) -> None:
    assert 200 == (await caller.call("POST", POSTBACK, b"{}", client=None)).status
    assert caller.stored()[0].peer is None


async def test_a_body_in_pieces_is_one_body(caller: Caller) -> None:
    pieces = in_pieces(b"", b"one ", b"", b"two", then=[{"type": "http.request", "body": b"!"}])
    assert 200 == (await caller.call("POST", POSTBACK, pieces=pieces)).status
    assert [b"one two!"] == [delivery.body for delivery in caller.stored()]


async def test_targets_are_kept_undecoded(caller: Caller) -> None:
    query = "?id=08141207%2D1535&tag=a%2Bb%26c%25d+%C3%BC%25C3%25BC&x&=y&&"
    assert 200 == (await caller.call("POST", POSTBACK + "/" + query)).status
    assert f"/dataforseo/postback/***/{query}" == caller.stored()[0].target


async def test_the_token_is_kept_nowhere(caller: Caller) -> None:
    for token in (TOKEN, OTHER_TOKEN):
        url = f"https://hooks.example.net/diffbot/notification/{token}"
        headers = [("x-original-url", url), ("referer", url), (f"x-{token}", token)]
        target = f"/diffbot/notification/{token}?again={token}"
        assert 200 == (await caller.call("POST", target, b"{}", headers=headers)).status
    written = b"".join(found.path.read_bytes() for found in spool.files(caller.root))
    assert TOKEN.encode() not in written
    assert OTHER_TOKEN.encode() not in written
    assert "/diffbot/notification/***?again=***" == caller.stored()[1].target


async def test_what_was_acknowledged_is_counted(caller: Caller) -> None:
    counters = [
        metric.labels("diffbot", "notification")._value
        for metric in (metrics.acknowledged, metrics.acknowledged_bytes)
    ]
    before = [counter.get() for counter in counters]
    for _ in range(3):
        await caller.call("POST", NOTIFICATION, b"1234")
    await caller.call("POST", "/diffbot/notification/wrong", b"1234")
    caller.door.count()
    caller.door.count()
    assert [before[0] + 3, before[1] + 12] == [counter.get() for counter in counters]


# HEAD.


@pytest.mark.parametrize("target", [POSTBACK, PINGBACK, PINGBACK + "/on_page", NOTIFICATION + "/"])
async def test_head_is_answered_and_nothing_stored(caller: Caller, target: str) -> None:
    answer = await caller.call("HEAD", target)
    assert (200, b"") == (answer.status, answer.body)
    assert [] == caller.stored()


async def test_head_needs_the_token_too(caller: Caller) -> None:
    assert 401 == (await caller.call("HEAD", "/diffbot/notification/wrong")).status


# 4xx: what the caller must fix.


async def refused(caller: Caller, method: str, target: str, body: bytes = b"", **more: Any) -> str:
    """Return status and slug of a refusal, of which nothing may be left."""
    before = len(caller.stored())
    answer = await caller.call(method, target, body, **more)
    assert "x-delivery-id" not in answer.headers
    assert "application/json" == answer.headers["content-type"]
    assert answer.detail
    assert before == len(caller.stored())
    assert 0 == caller.inflight_bytes
    return f"{answer.status} {answer.error}"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "",
        "/unknown/postback/" + TOKEN,
        "/dataforseo",
        "/dataforseo/notification/" + TOKEN,
        "/dataforseo//" + TOKEN,
        POSTBACK + "/deeper",
        POSTBACK + "//",
        NOTIFICATION + "/deeper",
        WEBHOOK + "/a/b/c",
        "/DataForSEO/postback/" + TOKEN,
        "/dataforseo/postback%2F" + TOKEN,
        "/hooks" + POSTBACK,
    ],
)
async def test_an_unknown_route_is_not_there(caller: Caller, target: str) -> None:
    assert "404 unknown_route" == await refused(caller, "POST", target, b"{}")


@pytest.mark.parametrize(
    "token", ["", "/", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "/" + TOKEN]
)
@pytest.mark.parametrize(
    ("method", "way", "query"),
    [
        ("POST", "/dataforseo/postback/", ""),
        ("GET", "/dataforapps/pingback/", "?id=task-1"),
        ("POST", "/diffbot/notification/", ""),
        ("POST", "/outscraper/webhook/", ""),
    ],
)
async def test_a_wrong_or_missing_token_is_refused(
    caller: Caller, method: str, way: str, query: str, token: str
) -> None:
    counter = metrics.rejected.labels(way.split("/")[1], "bad_token")._value
    before = counter.get()
    expected = "401 bad_token"
    if token == "/" + TOKEN and "pingback" not in way:
        expected = "404 unknown_route"  # deeper than the route goes
        before -= 1
    assert expected == await refused(caller, method, way + token + query)
    assert before + 1 == counter.get()


async def test_without_any_token_in_the_path_it_is_missing(caller: Caller) -> None:
    assert "401 bad_token" == await refused(caller, "POST", "/dataforseo/postback")


async def test_several_tokens_are_valid_at_once(caller: Caller) -> None:
    for token in (TOKEN, OTHER_TOKEN):
        assert 200 == (await caller.call("POST", f"/dataforseo/postback/{token}")).status


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?id=",
        "?id",
        "?tag=a",
        "?id=$id",
        "?id=%24id",
        "?id=$id&tag=$tag",
        "?ID=task-1",
        "?tag=a&id=&id=task-1",
    ],
)
async def test_a_pingback_without_an_id_is_refused(caller: Caller, query: str) -> None:
    assert "400 missing_id" == await refused(caller, "GET", PINGBACK + query)


@pytest.mark.parametrize(
    "query", ["?id=task-1", "?id=task-1&tag=$tag", "?tag=&id=%C3%BC", "?id=$idx"]
)
async def test_a_pingback_with_an_id_is_taken_whatever_its_tag(caller: Caller, query: str) -> None:
    assert 200 == (await caller.call("GET", PINGBACK + query)).status


async def test_a_postback_needs_no_id_in_its_query(caller: Caller) -> None:
    assert 200 == (await caller.call("POST", POSTBACK + "?id=$id&tag=$tag", b"{}")).status


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", POSTBACK + "?id=1"),
        ("PUT", POSTBACK),
        ("DELETE", POSTBACK),
        ("OPTIONS", NOTIFICATION),
        ("POST", PINGBACK + "?id=1"),
        ("GET", WEBHOOK),
    ],
)
async def test_a_wrong_method_is_refused(caller: Caller, method: str, target: str) -> None:
    assert "405 wrong_method" == await refused(caller, method, target)
    allowed = "GET, HEAD" if target.startswith(PINGBACK) else "POST, HEAD"
    assert allowed == (await caller.call(method, target)).headers["allow"]


async def test_bad_signatures_are_refused_where_the_provider_signs(caller: Caller) -> None:
    body = b'{"id":"79e6d350"}'
    good = "sha256=" + hmac.new(KEY, body, "sha256").hexdigest()
    bad = [("x-hub-signature-256", good.replace("sha256=", "sha256=0"))]
    assert "401 bad_signature" == await refused(caller, "POST", WEBHOOK, body, headers=bad)
    headers = [("x-hub-signature-256", good)]
    assert "401 bad_signature" == await refused(caller, "POST", WEBHOOK, b"", headers=headers)
    assert 200 == (await caller.call("POST", WEBHOOK, body, headers=headers)).status
    halves = in_pieces(body[:5], body[5:])
    assert 200 == (await caller.call("POST", WEBHOOK, headers=headers, pieces=halves)).status
    # The others do not sign; such a header of theirs means nothing.
    assert 200 == (await caller.call("POST", NOTIFICATION, body, headers=bad)).status


async def test_a_signature_can_be_required(tmp_path: Path) -> None:
    async with opened(tmp_path, signature="required") as caller:
        assert "401 missing_signature" == await refused(caller, "POST", WEBHOOK, b"{}")
        assert 200 == (await caller.call("POST", NOTIFICATION, b"{}")).status


async def test_unknown_sources_can_be_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, sources=[], sources_mode="enforce") as caller:
        assert "401 unknown_source" == await refused(caller, "POST", POSTBACK, b"{}")
        assert 200 == (await caller.call("POST", NOTIFICATION, b"{}")).status


# 413, 503: limits.


@pytest.mark.parametrize("claimed", ["1001", "999999999999999999999", None, "0", "7", "-1", "ten"])
async def test_a_body_is_too_large_by_the_bytes_that_come(
    caller: Caller, claimed: str | None
) -> None:
    headers = [("content-length", claimed)] if claimed else []
    for pieces in (in_pieces(b"x" * 600, b"x" * 401), in_pieces(b"x" * 1001), whole(b"x" * 1001)):
        outcome = await refused(caller, "POST", POSTBACK, headers=headers, pieces=pieces)
        assert "413 body_too_large" == outcome


async def test_a_body_of_exactly_the_limit_is_taken(caller: Caller) -> None:
    for headers in ([], [("content-length", "1000")]):
        assert 200 == (await caller.call("POST", POSTBACK, b"x" * 1000, headers=headers)).status


async def test_a_body_that_is_too_large_is_not_read_to_its_end(caller: Caller) -> None:
    read = 0

    async def endless() -> AsyncIterator[Message]:
        nonlocal read
        while True:
            read += 100
            yield {"type": "http.request", "body": b"x" * 100, "more_body": True}

    assert "413 body_too_large" == await refused(caller, "POST", POSTBACK, pieces=endless())
    assert read <= 1100


async def test_a_body_that_is_said_to_be_too_large_is_not_read_at_all(caller: Caller) -> None:
    headers = [("content-length", "1001")]
    pieces = in_pieces(b"never read")
    assert "413 body_too_large" == await refused(
        caller, "POST", POSTBACK, headers=headers, pieces=pieces
    )
    assert b"never read" == (await anext(pieces))["body"]


async def test_bodies_in_flight_are_bounded_in_bytes(caller: Caller) -> None:
    go_on = asyncio.Event()

    async def slow(body: bytes) -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": body[:500], "more_body": True}
        await go_on.wait()
        yield {"type": "http.request", "body": body[500:], "more_body": False}

    claims = [[("content-length", "1000")], [], [("content-length", "10")]]
    slow_ones = [
        asyncio.create_task(caller.call("POST", POSTBACK, headers=claim, pieces=slow(b"x" * 1000)))
        for claim in claims
    ]
    await until(lambda: caller.inflight_bytes >= 2000)
    assert 2000 == caller.inflight_bytes  # 1000 claimed, and twice 500 that came
    before = metrics.rejected.labels("dataforseo", "spool_unavailable")._value.get()
    answer = await caller.call("POST", POSTBACK, headers=[("content-length", "1000")])
    assert 200 == answer.status
    last = asyncio.create_task(caller.call("POST", POSTBACK, headers=claims[0], pieces=slow(b"y")))
    await until(lambda: caller.inflight_bytes >= 3000)
    for headers in ([("content-length", "1")], []):
        answer = await caller.call("POST", POSTBACK, b"z", headers=headers)
        assert (503, "spool_unavailable") == (answer.status, answer.error)
        assert "RECEIVER_INFLIGHT_BYTES_MAX" in answer.detail
        assert "5" == answer.headers["retry-after"]
    assert 200 == (await caller.call("POST", POSTBACK, b"")).status
    assert before + 2 == metrics.rejected.labels("dataforseo", "spool_unavailable")._value.get()
    go_on.set()
    answers = [answer.status for answer in await asyncio.gather(*slow_ones, last)]
    # The two that brought more than they had said found no room for it.
    assert [200, 200] == [answers[0], answers[3]]
    assert set(answers) <= {200, 503}
    assert 0 == caller.inflight_bytes


async def test_inflight_bytes_are_a_metric(caller: Caller) -> None:
    seen: list[float] = []

    async def look() -> AsyncIterator[Message]:
        (metric,) = metrics.inflight_bytes.collect()
        seen.append(metric.samples[0].value)
        yield {"type": "http.request", "body": b"x" * 700, "more_body": False}

    await caller.call("POST", POSTBACK, headers=[("content-length", "700")], pieces=look())
    assert [700.0] == seen


@pytest.mark.parametrize("sent", [0, 1, 3])
async def test_a_body_that_takes_too_long_is_refused(tmp_path: Path, sent: int) -> None:
    async def stuck() -> AsyncIterator[Message]:
        for _ in range(sent):
            yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.Event().wait()

    limits = {**LIMITS, "body_seconds_max": 0.02}
    async with opened(tmp_path, limits=limits) as caller:
        headers = [("content-length", "900")]
        answer = refused(caller, "POST", POSTBACK, headers=headers, pieces=stuck())
        assert "503 body_too_slow" == await asyncio.wait_for(answer, 20)


@pytest.mark.parametrize("sent", [0, 1, 3])
async def test_of_a_caller_that_goes_away_nothing_is_left(caller: Caller, sent: int) -> None:
    pieces = in_pieces(*[b"x"] * sent, then=[{"type": "http.disconnect"}])
    headers = [("content-length", "900")]
    assert await caller.ask("POST", POSTBACK, headers=headers, pieces=pieces) is None
    assert [] == caller.stored()
    assert 0 == caller.inflight_bytes


async def test_of_a_request_that_is_cancelled_nothing_is_left(caller: Caller) -> None:
    async def stuck() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.Event().wait()

    asking = asyncio.create_task(caller.ask("POST", POSTBACK, pieces=stuck()))
    await until(lambda: caller.inflight_bytes > 0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert 0 == caller.inflight_bytes


# 503 and 500: our own faults.


async def test_a_full_spool_asks_to_come_again_before_the_body_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, spool_bytes_max=600) as caller:
        headers = [("content-length", "700")]
        pieces = in_pieces(b"never read")
        answer = await caller.call("POST", POSTBACK, headers=headers, pieces=pieces)
        assert (503, "spool_unavailable") == (answer.status, answer.error)
        assert "the spool is full (RECEIVER_SPOOL_BYTES_MAX)" == answer.detail
        assert "5" == answer.headers["retry-after"]
        assert b"never read" == (await anext(pieces))["body"]
        # A body that said nothing of its size is judged once it is there.
        unsaid = await caller.call("POST", POSTBACK, pieces=in_pieces(b"x" * 700))
        assert (503, "spool_unavailable") == (unsaid.status, unsaid.error)
        assert [] == caller.stored()
        assert 200 == (await caller.call("POST", POSTBACK, b"small")).status


@pytest.mark.parametrize(
    ("name", "code"), [("fdatasync", errno.EIO), ("writev", errno.ENOSPC), ("writev", errno.EDQUOT)]
)
async def test_a_failing_disk_asks_to_come_again(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    def fail(*given: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        answer = await caller.call("POST", POSTBACK, b"{}")
        assert (503, "spool_unavailable") == (answer.status, answer.error)
        assert os.strerror(code) in answer.detail
        assert "5" == answer.headers["retry-after"]
        readyz = await caller.call("GET", "/readyz")
        assert 503 == readyz.status
    await until(lambda: caller.door.unready() is None)
    assert 200 == (await caller.call("POST", POSTBACK, b"{}")).status
    assert 0 == caller.inflight_bytes


async def test_a_bug_is_a_500_and_leaks_nothing(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*given: object, **named: object) -> None:
        raise RuntimeError("a bug in the spool")

    monkeypatch.setattr(Spool, "append", stumble)
    answer = await caller.call("POST", POSTBACK, b"{}")
    assert (500, "internal_error") == (answer.status, answer.error)
    assert "a bug" not in answer.detail
    assert "application/json" == answer.headers["content-type"]
    assert "request failed" in caplog.messages
    assert 0 == caller.inflight_bytes


async def test_what_is_ours_is_never_a_4xx(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ValueError, KeyError, TimeoutError, asyncio.TimeoutError, OSError, MemoryError):

        def stumble(*given: object, kind: type[Exception] = kind, **named: object) -> None:
            raise kind("ours")

        monkeypatch.setattr(Spool, "append", stumble)
        assert 500 <= (await caller.call("POST", POSTBACK, b"{}")).status < 600, kind


async def test_while_draining_callbacks_are_taken_and_connections_closed(caller: Caller) -> None:
    assert "connection" not in (await caller.call("POST", POSTBACK, b"{}")).headers
    caller.door.draining = True
    for method, target, status in [
        ("POST", POSTBACK, 200),
        ("HEAD", POSTBACK, 200),
        ("POST", "/dataforseo/postback/wrong", 401),
    ]:
        answer = await caller.call(method, target, b"{}")
        assert (status, "close") == (answer.status, answer.headers["connection"])
    assert 503 == (await caller.call("GET", "/readyz")).status
    assert 200 == (await caller.call("GET", "/healthz")).status


# Logs and other protocols.


async def test_no_log_line_holds_a_secret_or_a_body(
    caller: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    signature = [("x-hub-signature-256", "sha256=0")]
    await caller.call("POST", POSTBACK + "?id=1&tag=private", b"private body")
    await caller.call("GET", PINGBACK + "?tag=private")
    await caller.call("POST", "/dataforseo/postback/guessed-token", b"private body")
    await caller.call("POST", WEBHOOK, b"private body", headers=signature)
    await caller.call("POST", POSTBACK, b"private body" * 100)
    monkeypatch.setattr(Spool, "append", None)
    await caller.call("POST", POSTBACK, b"private body")
    assert "request failed" in caplog.messages
    logged = caplog.text + repr([vars(record) for record in caplog.records])
    for secret in (TOKEN, "guessed-token", KEY.decode(), "private"):
        assert secret not in logged, secret


async def test_strangers_cannot_fill_the_log(
    caller: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All within one second, for whoever writes the log.
    monkeypatch.setattr("receiver.log.sparing.time", SimpleNamespace(monotonic=lambda: 100.0))
    counter = metrics.rejected.labels("dataforseo", "bad_token")._value
    before = counter.get()
    for _ in range(500):
        await caller.call("POST", "/dataforseo/postback/wrong")
    assert before + 500 == counter.get()
    assert 5 == len(caplog.records)


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_nothing_but_http_is_spoken(caller: Caller, kind: str) -> None:
    async def never() -> Message:
        raise AssertionError("nothing is read")

    async def none(message: Message) -> None:
        raise AssertionError("nothing is sent")

    await caller.door({"type": kind, "path": POSTBACK}, never, none)


async def test_many_at_once_are_all_stored_once(caller: Caller) -> None:
    bodies = [b"%d" % number for number in range(300)]
    answers = await asyncio.gather(*(caller.call("POST", POSTBACK, body) for body in bodies))
    assert {200} == {answer.status for answer in answers}
    stored = {delivery.delivery_id: delivery.body for delivery in caller.stored()}
    assert 300 == len(stored)
    assert bodies == [stored[answer.delivery_id] for answer in answers]

"""The application: what is stored of a request, bodies as they arrive, prefixes, and its lifespan.

Which requests are taken is tested in `test_judge`.
"""

import asyncio
import contextlib
import errno
import hmac
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Message

from receiver import clock, metrics, spool
from receiver.door import Answered, DeferredLog, create_app, intake, running
from receiver.spool import Spool
from tests.door.place import (
    ENTRANCES,
    KEY,
    LIMITS,
    NOTIFICATION,
    OTHER_TOKEN,
    PINGBACK,
    POSTBACK,
    TOKEN,
    WEBHOOK,
    Caller,
    in_pieces,
    make_judge,
    make_spool,
    opened,
    until,
    whole,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_LOOK_SECONDS", 0.01)


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with opened(tmp_path) as made:
        yield made


# 200: durable.


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("provider", "kind", "method", "query"), ENTRANCES)
async def test_each_entrance_stores_and_answers_with_the_id(
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


async def test_a_caller_without_an_address_is_taken(caller: Caller) -> None:
    assert 200 == (await caller.call("POST", POSTBACK, b"{}", client=None)).status
    assert caller.stored()[0].peer is None


async def test_a_trusted_proxy_names_the_peer(tmp_path: Path) -> None:
    headers = [("x-forwarded-for", "203.0.113.7, 192.0.2.8")]
    async with opened(tmp_path, trusted_proxies="192.0.2.0/24") as caller:
        for client in (("192.0.2.7", 4711), ("198.51.100.1", 4711)):
            await caller.call("POST", POSTBACK, b"{}", headers=headers, client=client)
        assert ["203.0.113.7", "198.51.100.1"] == [found.peer for found in caller.stored()]


async def test_a_body_in_pieces_is_one_body(caller: Caller) -> None:
    pieces = in_pieces(b"", b"one ", b"", b"two", then=[{"type": "http.request", "body": b"!"}])
    assert 200 == (await caller.call("POST", POSTBACK, pieces=pieces)).status
    assert [b"one two!"] == [delivery.body for delivery in caller.stored()]


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


# HEAD.


@pytest.mark.parametrize("target", [POSTBACK, PINGBACK, PINGBACK + "/on_page", NOTIFICATION + "/"])
async def test_head_is_answered_and_nothing_stored(caller: Caller, target: str) -> None:
    answer = await caller.call("HEAD", target)
    assert (200, b"") == (answer.status, answer.body)
    assert [] == caller.stored()


# 4xx: what the caller must fix.


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
    assert "404 unknown_route" == await caller.refused("POST", target, b"{}")


async def test_bad_signatures_are_refused_where_the_provider_signs(caller: Caller) -> None:
    body = b'{"id":"79e6d350"}'
    good = "sha256=" + hmac.new(KEY, body, "sha256").hexdigest()
    bad = [("x-hub-signature-256", good.replace("sha256=", "sha256=0"))]
    assert "401 bad_signature" == await caller.refused("POST", WEBHOOK, body, headers=bad)
    headers = [("x-hub-signature-256", good)]
    assert "401 bad_signature" == await caller.refused("POST", WEBHOOK, b"", headers=headers)
    assert 200 == (await caller.call("POST", WEBHOOK, body, headers=headers)).status
    halves = in_pieces(body[:5], body[5:])
    assert 200 == (await caller.call("POST", WEBHOOK, headers=headers, pieces=halves)).status
    # The others do not sign; such a header of theirs means nothing.
    assert 200 == (await caller.call("POST", NOTIFICATION, body, headers=bad)).status


# 413, 503: limits.


@pytest.mark.parametrize("claimed", ["1001", "999999999999999999999", None, "0", "7", "-1", "ten"])
async def test_a_body_is_too_large_by_the_bytes_that_arrive(
    caller: Caller, claimed: str | None
) -> None:
    headers = [("content-length", claimed)] if claimed else []
    for pieces in (in_pieces(b"x" * 600, b"x" * 401), in_pieces(b"x" * 1001), whole(b"x" * 1001)):
        outcome = await caller.refused("POST", POSTBACK, headers=headers, pieces=pieces)
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

    assert "413 body_too_large" == await caller.refused("POST", POSTBACK, pieces=endless())
    assert read <= 1100


async def test_a_body_that_claims_to_be_too_large_is_not_read_at_all(caller: Caller) -> None:
    headers = [("content-length", "1001")]
    pieces = in_pieces(b"never read")
    assert "413 body_too_large" == await caller.refused(
        "POST", POSTBACK, headers=headers, pieces=pieces
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
    assert 2000 == caller.inflight_bytes  # 1000 claimed, and twice 500 that arrived
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
    # The two whose bodies were larger than claimed found no room for the rest.
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
        answer = caller.refused("POST", POSTBACK, headers=headers, pieces=stuck())
        assert "503 body_too_slow" == await asyncio.wait_for(answer, 20)


async def test_a_request_that_was_interrupted_is_no_longer_cancelled(tmp_path: Path) -> None:
    async def stuck() -> AsyncIterator[Message]:
        await asyncio.Event().wait()
        yield {"type": "http.request"}

    async def request(caller: Caller) -> int:
        assert "503 body_too_slow" == await caller.refused("POST", POSTBACK, pieces=stuck())
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return task.cancelling()

    limits = {**LIMITS, "body_seconds_max": 0.02}
    async with opened(tmp_path, limits=limits) as caller:
        assert 0 == await asyncio.create_task(request(caller))


@pytest.mark.parametrize("sent", [0, 1, 3])
async def test_a_caller_that_goes_away_leaves_nothing(caller: Caller, sent: int) -> None:
    pieces = in_pieces(*[b"x"] * sent, then=[{"type": "http.disconnect"}])
    headers = [("content-length", "900")]
    assert await caller.ask("POST", POSTBACK, headers=headers, pieces=pieces) is None
    assert [] == caller.stored()
    assert 0 == caller.inflight_bytes


async def test_a_request_that_is_cancelled_leaves_nothing(caller: Caller) -> None:
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


async def test_a_full_spool_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, spool_bytes_max=600) as caller:
        headers = [("content-length", "700")]
        pieces = in_pieces(b"never read")
        answer = await caller.call("POST", POSTBACK, headers=headers, pieces=pieces)
        assert (503, "spool_unavailable") == (answer.status, answer.error)
        assert "the spool is full (RECEIVER_SPOOL_BYTES_MAX)" == answer.detail
        assert "5" == answer.headers["retry-after"]
        assert b"never read" == (await anext(pieces))["body"]
        # A body of unknown size is judged once it has arrived.
        unsaid = await caller.call("POST", POSTBACK, pieces=in_pieces(b"x" * 700))
        assert (503, "spool_unavailable") == (unsaid.status, unsaid.error)
        assert [] == caller.stored()
        assert 200 == (await caller.call("POST", POSTBACK, b"small")).status


@pytest.mark.parametrize(
    ("name", "code"), [("fdatasync", errno.EIO), ("writev", errno.ENOSPC), ("writev", errno.EDQUOT)]
)
async def test_a_failing_disk_refuses_until_it_recovers(
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
    await until(lambda: caller.judge.log.problem() is None)
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


async def test_while_draining_callbacks_are_taken_and_connections_closed(caller: Caller) -> None:
    assert "connection" not in (await caller.call("POST", POSTBACK, b"{}")).headers
    caller.judge.draining = True
    for method, target, status in [
        ("POST", POSTBACK, 200),
        ("HEAD", POSTBACK, 200),
        ("POST", "/dataforseo/postback/wrong", 401),
    ]:
        answer = await caller.call(method, target, b"{}")
        assert (status, "close") == (answer.status, answer.headers["connection"])
    assert 503 == (await caller.call("GET", "/readyz")).status
    assert 200 == (await caller.call("GET", "/healthz")).status


async def test_many_at_once_are_all_stored_once(caller: Caller) -> None:
    bodies = [b"%d" % number for number in range(300)]
    answers = await asyncio.gather(*(caller.call("POST", POSTBACK, body) for body in bodies))
    assert {200} == {answer.status for answer in answers}
    stored = {delivery.delivery_id: delivery.body for delivery in caller.stored()}
    assert 300 == len(stored)
    assert bodies == [stored[answer.delivery_id] for answer in answers]


# The hook.


async def test_the_hook_is_called_after_the_answer(tmp_path: Path) -> None:
    answered: list[Answered] = []
    async with opened(tmp_path, answered=answered.append) as caller:
        for target in (POSTBACK + "?id=1&tag=a", "/dataforseo/postback/wrong", "/healthz", "/"):
            await caller.call("POST", target, b"{}")
        gone = in_pieces(b"x", then=[{"type": "http.disconnect"}])
        assert await caller.ask("POST", POSTBACK, pieces=gone) is None
    assert [
        Answered("dataforseo", "postback", "1", "a", 2, 200, None),
        Answered("dataforseo", "postback", None, None, 0, 401, "bad_token"),
    ] == answered


# Under a prefix.


@pytest.mark.parametrize(
    ("root_path", "prefix"),
    [
        ("/hooks", "/hooks"),
        ("/hooks", "/h%6Foks"),
        ("/outer/hooks", "/outer/hooks"),
        ("/hooks/", "/hooks/"),
        ("/höoks", "/h%C3%B6oks"),
    ],
)
async def test_the_prefix_of_a_mount_is_no_part_of_the_path(
    caller: Caller, root_path: str, prefix: str
) -> None:
    target = f"{PINGBACK}/serp/google/organic?id=1"
    path = root_path + target.partition("?")[0]
    answer = await caller.call("GET", prefix + target, root_path=root_path, path=path)
    assert 200 == answer.status
    # Readers of the archive find the API path at its place.
    assert target.replace(TOKEN, "***") == caller.stored()[0].target


@pytest.mark.parametrize(
    ("root_path", "target"),
    [
        ("/hooks", "/hook" + POSTBACK),
        ("/hooks", "/hooks2" + POSTBACK),
        ("/hooks", "/hooks" + POSTBACK.removeprefix("/")),
        ("/hooks", "/hooks/hooks" + POSTBACK),
        ("/hooks", "/hooks"),
        ("/hooks", ""),
        ("/a/b", "/a" + POSTBACK),
    ],
)
async def test_another_prefix_leads_nowhere(caller: Caller, root_path: str, target: str) -> None:
    answer = await caller.call("POST", target, b"{}", root_path=root_path)
    assert (404, "unknown_route") == (answer.status, answer.error)


async def test_a_server_may_leave_the_prefix_out_of_the_path(caller: Caller) -> None:
    assert 200 == (await caller.call("POST", POSTBACK, b"{}", root_path="/hooks")).status


async def test_a_server_may_offer_no_undecoded_path(caller: Caller) -> None:
    for raw_path in (None, b""):
        answer = await caller.call("GET", PINGBACK + "/a b?id=1", raw_path=raw_path)
        assert 200 == answer.status
    assert {"/dataforseo/pingback/***/a%20b?id=1"} == {found.target for found in caller.stored()}


@contextlib.asynccontextmanager
async def hosted(root: Path) -> AsyncIterator[tuple[Caller, Starlette]]:
    """Mount a door whose lifespan has not run yet in another application."""
    log = DeferredLog(lambda: make_spool(root))
    judge = make_judge(log)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with log.opened():
            yield

    async def other(request: Request) -> PlainTextResponse:
        return PlainTextResponse("the host's own")

    hooks = create_app(judge, unready=log.problem, version="1.2.3", lifespan=lifespan)
    host = Starlette(routes=[Mount("/hooks", hooks), Route("/dataforseo/postback", other)])
    yield Caller(host, judge, root), hooks


async def test_a_mounted_door_takes_callbacks_while_the_host_runs_its_lifespan(
    tmp_path: Path,
) -> None:
    async with hosted(tmp_path) as (caller, hooks):
        for state in ("before", "after"):
            for target, body in (("/hooks" + POSTBACK, b"{}"), ("/hooks" + WEBHOOK, b"")):
                answer = await caller.call("POST", target, body)
                assert (503, "spool_unavailable") == (answer.status, answer.error), state
                assert "5" == answer.headers["retry-after"]
            readyz = await caller.call("GET", "/hooks/readyz")
            assert (503, "5") == (readyz.status, readyz.headers["retry-after"])
            assert "the spool is not open" in readyz.detail
            assert 401 == (await caller.call("POST", "/hooks/diffbot/notification/wrong")).status
            assert 200 == (await caller.call("GET", "/hooks/healthz")).status
            if state == "after":
                break
            async with running(hooks):
                assert 200 == (await caller.call("POST", "/hooks" + POSTBACK, b"{}")).status
                assert 200 == (await caller.call("GET", "/hooks/readyz")).status
                assert 404 == (await caller.call("POST", POSTBACK, b"{}")).status
        assert [b"{}"] == [delivery.body for delivery in caller.stored()]
        assert [".seg"] == [found.path.suffix for found in spool.files(tmp_path) if found.bytes]


# Other protocols.


async def test_the_lifespan_is_the_applications_own(tmp_path: Path) -> None:
    steps: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        steps.append("started")
        yield
        steps.append("stopped")

    async with opened(tmp_path) as caller:
        app = create_app(caller.judge, unready=lambda: None, version="1", lifespan=lifespan)
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            return next(messages)

        async def send(message: Message) -> None:
            steps.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert [
        "started",
        "lifespan.startup.complete",
        "stopped",
        "lifespan.shutdown.complete",
    ] == steps


async def test_websockets_are_refused(caller: Caller) -> None:
    sent: list[Message] = []

    async def never() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "websocket", "path": POSTBACK, "headers": [], "client": None}
    await caller.app(scope, never, send)
    assert ["websocket.close"] == [message["type"] for message in sent]

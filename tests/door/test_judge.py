"""The judge without any server: which requests are taken, how the others are answered, and what is
recorded of each.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from receiver import clock, metrics
from receiver.door import Answered, Judge, intake
from receiver.door.judge import Delivery
from receiver.errors import ReceiverError, SpoolUnavailable
from receiver.providers.envelope import Envelope, decode
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
    Answer,
    answer_of,
    make_judge,
    wire,
)

# The intake's timer needs a running event loop.
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _never() -> None:
    raise AssertionError("no body is slow here")


class Room:
    """A log with the room that a test gives it."""

    def __init__(self) -> None:
        self.left = 1 << 40

    def problem(self, more_bytes: int = 0) -> str | None:
        return None if more_bytes < self.left else "the spool is full"

    def append(self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int) -> Awaitable[None]:
        raise AssertionError("appending is the shell's part")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a request, and what was to be stored of it."""

    answer: Answer
    recorded: Envelope | None

    @property
    def refusal(self) -> str:
        """Status and slug of a request that was refused, and of which nothing is stored."""
        assert self.recorded is None
        assert "x-delivery-id" not in self.answer.headers
        assert "application/json" == self.answer.headers["content-type"]
        assert self.answer.detail
        return f"{self.answer.status} {self.answer.error}"


class Bench:
    """A judge, and a shell without I/O around it."""

    def __init__(self, **of_judge: Any) -> None:
        self.room = Room()
        self.judge: Judge = make_judge(self.room, **of_judge)

    def judged(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        peer: str | None = "192.0.2.7",
        fault: Exception | None = None,
    ) -> Outcome:
        """Take a request through all steps; with ``fault`` it does not become durable."""
        path, _, query = target.partition("?")
        target_bytes, query_bytes = path.encode("latin-1"), query.encode("latin-1")
        delivery = self.judge.delivery(
            _never, method, target_bytes, query_bytes, wire(headers), peer
        )
        assert delivery is not None, "no entrance"
        recorded = None
        try:
            answer = delivery.admit()
            if answer is None:
                delivery.count(len(body))
                head = delivery.record([body])
                if fault is not None:
                    raise fault
                recorded = decode(head, body)
                answer = delivery.acknowledge()
        except (
            ReceiverError,
            ArithmeticError,
            LookupError,
            OSError,
            ValueError,
            MemoryError,
        ) as exc:
            answer = delivery.refuse(exc)
        finally:
            self.judge.intake.release(delivery)
        assert 0 == self.judge.intake.inflight_bytes
        delivery.report(answer[0])
        return Outcome(answer_of(*answer), recorded)

    def arrival(
        self, headers: Iterable[tuple[str, str]], interrupt: Callable[[], object] = lambda: None
    ) -> Delivery:
        """Return the delivery of a postback whose head is not judged yet."""
        path = POSTBACK.encode()
        delivery = self.judge.delivery(interrupt, "POST", path, b"", wire(headers), None)
        assert delivery is not None
        return delivery

    def taken(self, method: str, target: str, body: bytes = b"", **more: Any) -> Envelope:
        """Return what is recorded of a request that is acknowledged."""
        outcome = self.judged(method, target, body, **more)
        assert 200 == outcome.answer.status, outcome.answer
        assert outcome.recorded is not None
        return outcome.recorded


@pytest.fixture
async def bench() -> Bench:
    return Bench()


# 200.


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("provider", "kind", "method", "query"), ENTRANCES)
async def test_what_is_recorded_of_a_callback(
    bench: Bench, provider: str, kind: str, method: str, query: str, slash: str
) -> None:
    before = clock.now_us()
    outcome = bench.judged(method, f"/{provider}/{kind}/{TOKEN}{slash}{query}", b"a body")
    assert {"delivery_id": outcome.answer.delivery_id} == orjson.loads(outcome.answer.body)
    assert "application/json" == outcome.answer.headers["content-type"]
    recorded = outcome.recorded
    assert recorded is not None
    assert outcome.answer.delivery_id == recorded.delivery_id
    assert (provider, kind, "callback", "tests", method, "192.0.2.7") == (
        recorded.provider,
        recorded.kind,
        recorded.origin,
        recorded.instance,
        recorded.method,
        recorded.peer,
    )
    assert f"/{provider}/{kind}/***{slash}{query}" == recorded.target
    assert before <= recorded.received_at_us <= clock.now_us()
    assert before // 1000 * 1000 <= clock.id_time_us(recorded.delivery_id)


@pytest.mark.parametrize(
    "target", [PINGBACK + "/serp/google/organic?id=1", PINGBACK + "/on_page/?id=1"]
)
async def test_a_pingback_may_say_where_its_result_is(bench: Bench, target: str) -> None:
    assert target.replace(TOKEN, "***") == bench.taken("GET", target).target


async def test_nothing_in_the_headers_is_required_or_lost(bench: Bench) -> None:
    assert [] == bench.taken("POST", POSTBACK, b"{}").headers
    headers = [(f"x-header-{number}", "wert ä") for number in range(300)]
    headers += [("content-encoding", "gzip"), ("content-type", ""), ("via", "a"), ("via", "b")]
    recorded = bench.taken("POST", POSTBACK, b"{}", headers=headers)
    assert headers == [tuple(pair) for pair in recorded.headers]


async def test_a_caller_without_an_address_is_taken(bench: Bench) -> None:
    assert bench.taken("POST", POSTBACK, b"{}", peer=None).peer is None


async def test_targets_are_kept_undecoded(bench: Bench) -> None:
    query = "?id=08141207%2D1535&tag=a%2Bb%26c%25d+%C3%BC%25C3%25BC&x&=y&&"
    recorded = bench.taken("POST", POSTBACK + "/" + query)
    assert f"/dataforseo/postback/***/{query}" == recorded.target


async def test_several_tokens_are_valid_at_once_and_none_is_recorded(bench: Bench) -> None:
    for token in (TOKEN, OTHER_TOKEN):
        target = f"/dataforseo/postback/{token}"
        headers = [("referer", f"https://hooks.example.net{target}"), (f"x-{token}", token)]
        recorded = bench.taken("POST", f"{target}?again={token}", headers=headers)
        assert "/dataforseo/postback/***?again=***" == recorded.target
        assert token not in repr(recorded)


async def test_acknowledged_callbacks_are_counted(bench: Bench) -> None:
    counters = [
        metric.labels("diffbot", "notification")._value
        for metric in (metrics.acknowledged, metrics.acknowledged_bytes)
    ]
    before = [counter.get() for counter in counters]
    for _ in range(3):
        bench.taken("POST", NOTIFICATION, b"1234")
    bench.judged("POST", "/diffbot/notification/wrong", b"1234")
    bench.judge.count()
    bench.judge.count()
    assert [before[0] + 3, before[1] + 12] == [counter.get() for counter in counters]


# HEAD.


@pytest.mark.parametrize("target", [POSTBACK, PINGBACK, PINGBACK + "/on_page", NOTIFICATION + "/"])
async def test_head_is_answered_and_nothing_recorded(bench: Bench, target: str) -> None:
    outcome = bench.judged("HEAD", target)
    assert (200, b"") == (outcome.answer.status, outcome.answer.body)
    assert outcome.recorded is None


async def test_head_needs_the_token_too(bench: Bench) -> None:
    assert 401 == bench.judged("HEAD", "/diffbot/notification/wrong").answer.status


# 4xx: what the caller must fix.


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "",
        "*",
        "/unknown/postback/" + TOKEN,
        "/dataforseo",
        "/dataforseo/notification/" + TOKEN,
        "/dataforseo//" + TOKEN,
        "/DataForSEO/postback/" + TOKEN,
        "/dataforseo/postback%2F" + TOKEN,
        "/hooks" + POSTBACK,
        "hooks" + POSTBACK,
        "/" + POSTBACK,
    ],
)
async def test_other_paths_are_left_to_others(bench: Bench, path: str) -> None:
    assert bench.judge.delivery(_never, "POST", path.encode(), b"", [], None) is None


@pytest.mark.parametrize(
    "target",
    [POSTBACK + "/deeper", POSTBACK + "//", NOTIFICATION + "/deeper", WEBHOOK + "/a/b/c"],
)
async def test_a_path_deeper_than_its_route_is_unknown(bench: Bench, target: str) -> None:
    assert "404 unknown_route" == bench.judged("POST", target, b"{}").refusal


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
    bench: Bench, method: str, way: str, query: str, token: str
) -> None:
    counter = metrics.rejected.labels(way.split("/")[1], "bad_token")._value
    before = counter.get()
    expected = "401 bad_token"
    if token == "/" + TOKEN and "pingback" not in way:
        expected = "404 unknown_route"  # deeper than the route goes
        before -= 1
    assert expected == bench.judged(method, way + token + query).refusal
    assert before + 1 == counter.get()


async def test_a_path_that_ends_before_the_token_lacks_it(bench: Bench) -> None:
    assert "401 bad_token" == bench.judged("POST", "/dataforseo/postback").refusal


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
async def test_a_pingback_without_an_id_is_refused(bench: Bench, query: str) -> None:
    assert "400 missing_id" == bench.judged("GET", PINGBACK + query).refusal


@pytest.mark.parametrize(
    "query", ["?id=task-1", "?id=task-1&tag=$tag", "?tag=&id=%C3%BC", "?id=$idx"]
)
async def test_a_pingback_with_an_id_is_taken_whatever_its_tag(bench: Bench, query: str) -> None:
    bench.taken("GET", PINGBACK + query)


async def test_a_postback_needs_no_id_in_its_query(bench: Bench) -> None:
    bench.taken("POST", POSTBACK + "?id=$id&tag=$tag", b"{}")


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
async def test_a_wrong_method_is_refused(bench: Bench, method: str, target: str) -> None:
    outcome = bench.judged(method, target)
    assert "405 wrong_method" == outcome.refusal
    allowed = "GET, HEAD" if target.startswith(PINGBACK) else "POST, HEAD"
    assert allowed == outcome.answer.headers["allow"]


async def test_bad_signatures_are_refused_where_the_provider_signs(bench: Bench) -> None:
    body = b'{"id":"79e6d350"}'
    good = "sha256=" + hmac.new(KEY, body, "sha256").hexdigest()
    bad = [("x-hub-signature-256", good.replace("sha256=", "sha256=0"))]
    assert "401 bad_signature" == bench.judged("POST", WEBHOOK, body, headers=bad).refusal
    headers = [("x-hub-signature-256", good)]
    assert "401 bad_signature" == bench.judged("POST", WEBHOOK, b"", headers=headers).refusal
    bench.taken("POST", WEBHOOK, body, headers=headers)
    # The others do not sign; such a header of theirs means nothing.
    bench.taken("POST", NOTIFICATION, body, headers=bad)


async def test_a_signature_can_be_required() -> None:
    bench = Bench(signature="required")
    assert "401 missing_signature" == bench.judged("POST", WEBHOOK, b"{}").refusal
    bench.taken("POST", NOTIFICATION, b"{}")


async def test_unknown_sources_can_be_refused() -> None:
    bench = Bench(sources=[], sources_mode="enforce")
    assert "401 unknown_source" == bench.judged("POST", POSTBACK, b"{}").refusal
    bench.taken("POST", NOTIFICATION, b"{}")


# 413 and 503: limits.


async def test_a_body_is_refused_by_its_claim_before_it_is_read(bench: Bench) -> None:
    for claimed in ("1001", "999999999999999999999"):
        headers = [("content-length", claimed)]
        assert "413 body_too_large" == bench.judged("POST", POSTBACK, headers=headers).refusal


@pytest.mark.parametrize("claimed", [None, "0", "7", "-1", "ten", "0" * 5000 + "7"])
async def test_a_body_is_refused_by_its_bytes_whatever_it_claims(
    bench: Bench, claimed: str | None
) -> None:
    headers = [("content-length", claimed)] if claimed else []
    outcome = bench.judged("POST", POSTBACK, b"x" * 1001, headers=headers)
    assert "413 body_too_large" == outcome.refusal
    bench.taken("POST", POSTBACK, b"x" * 1000, headers=headers)


async def test_a_claim_counts_as_long_as_the_request_lasts(bench: Bench) -> None:
    headers = [("content-length", "1000")]
    held = [bench.arrival(headers) for _ in range(4)]
    for delivery in held[:3]:
        assert delivery.admit() is None
    with pytest.raises(SpoolUnavailable, match="RECEIVER_INFLIGHT_BYTES_MAX"):
        held[3].admit()
    for delivery in held:
        bench.judge.intake.release(delivery)
        bench.judge.intake.release(delivery)  # once more does no harm
    assert 0 == bench.judge.intake.inflight_bytes
    bench.taken("POST", POSTBACK, b"x" * 1000)


async def test_a_full_log_refuses_by_the_claim_and_by_the_bytes(bench: Bench) -> None:
    bench.room.left = 500
    for headers, body in (([("content-length", "700")], b""), ([], b"x" * 700)):
        outcome = bench.judged("POST", POSTBACK, body, headers=headers)
        assert "503 spool_unavailable" == outcome.refusal
        assert "the spool is full" == outcome.answer.detail
        assert "5" == outcome.answer.headers["retry-after"]
    bench.taken("POST", POSTBACK, b"small")


# 5xx: our own faults.


async def test_a_record_that_is_not_durable_is_refused(bench: Bench) -> None:
    outcome = bench.judged("POST", POSTBACK, b"{}", fault=SpoolUnavailable("the disk failed"))
    assert "503 spool_unavailable" == outcome.refusal
    assert "the disk failed" == outcome.answer.detail


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, TimeoutError, asyncio.TimeoutError, OSError, MemoryError]
)
async def test_our_own_faults_are_never_a_4xx_and_leak_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    outcome = bench.judged("POST", POSTBACK, b"{}", fault=kind("a bug of ours"))
    assert "500 internal_error" == outcome.refusal
    assert "a bug" not in outcome.answer.detail
    assert "request failed" in caplog.messages
    assert "a bug of ours" in caplog.text


async def test_while_draining_callbacks_are_taken_and_connections_closed(bench: Bench) -> None:
    requests = [
        ("POST", POSTBACK, 200),
        ("HEAD", POSTBACK, 200),
        ("POST", "/dataforseo/postback/wrong", 401),
    ]
    for method, target, status in requests:
        answer = bench.judged(method, target, b"{}").answer
        assert (status, None) == (answer.status, answer.headers.get("connection"))
    bench.judge.draining = True
    for method, target, status in requests:
        answer = bench.judged(method, target, b"{}").answer
        assert (status, "close") == (answer.status, answer.headers["connection"])


# What is told, and what is not.


async def test_each_answer_is_reported() -> None:
    answered: list[Answered] = []
    bench = Bench(answered=answered.append)
    bench.judged("POST", POSTBACK + "?id=08141207%2D1535&tag=run%252042", b"12345")
    bench.judged("POST", POSTBACK + "?id=$id&tag=$tag", b"")
    bench.judged("GET", PINGBACK + "?tag=z%C3%BC")
    bench.judged("POST", "/diffbot/notification/wrong?id=guess&tag=guess", b"12345")
    bench.judged("HEAD", WEBHOOK)
    bench.judged("POST", NOTIFICATION, b"1234567", fault=SpoolUnavailable("the disk failed"))
    assert [
        Answered("dataforseo", "postback", "08141207-1535", "run 42", 5, 200, None),
        Answered("dataforseo", "postback", None, None, 0, 200, None),
        Answered("dataforseo", "pingback", None, "zü", 0, 400, "missing_id"),
        Answered("diffbot", "notification", None, None, 0, 401, "bad_token"),
        Answered("outscraper", "webhook", None, None, 0, 200, None),
        Answered("diffbot", "notification", None, None, 7, 503, "spool_unavailable"),
    ] == answered


async def test_a_refusal_that_is_reported_is_not_logged_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answered: list[Answered] = []
    bench = Bench(answered=answered.append)
    bench.judged("POST", "/dataforseo/postback/wrong")
    assert (["bad_token"], []) == ([answer.reason for answer in answered], caplog.messages)


async def test_no_log_line_holds_a_secret_or_a_body(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signature = [("x-hub-signature-256", "sha256=0")]
    bench.judged("POST", POSTBACK + "?id=1&tag=private", b"private body")
    bench.judged("GET", PINGBACK + "?tag=private")
    bench.judged("POST", "/dataforseo/postback/guessed-token", b"private body")
    bench.judged("POST", WEBHOOK, b"private body", headers=signature)
    bench.judged("POST", POSTBACK, b"private body" * 100)
    bench.judged("POST", POSTBACK, b"private body", fault=ValueError("ours"))
    assert "request failed" in caplog.messages
    logged = caplog.text + repr([vars(record) for record in caplog.records])
    for secret in (TOKEN, "guessed-token", KEY.decode(), "private"):
        assert secret not in logged, secret


async def test_strangers_cannot_fill_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All within one second, as far as the log can see.
    monkeypatch.setattr("receiver.log.sparing.time", SimpleNamespace(monotonic=lambda: 100.0))
    counter = metrics.rejected.labels("dataforseo", "bad_token")._value
    before = counter.get()
    for _ in range(500):
        bench.judged("POST", "/dataforseo/postback/wrong")
    assert before + 500 == counter.get()
    assert 5 == len(caplog.records)


async def test_a_slow_body_is_refused_as_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_LOOK_SECONDS", 0.01)
    bench = Bench(limits=LIMITS | {"body_seconds_max": 0.0})
    interrupted = asyncio.Event()
    delivery = bench.arrival([], interrupted.set)
    assert delivery.admit() is None
    assert delivery.too_slow() is None
    await asyncio.wait_for(interrupted.wait(), 20)
    too_slow = delivery.too_slow()
    assert too_slow is not None
    answer = answer_of(*delivery.refuse(too_slow))
    assert (503, "body_too_slow", "close") == (
        answer.status,
        answer.error,
        answer.headers["connection"],
    )
    bench.judge.intake.release(delivery)


async def test_the_time_of_a_body_ends_when_it_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "_LOOK_SECONDS", 0.01)
    bench = Bench(limits=LIMITS | {"body_seconds_max": 0.0})
    complete, incomplete = bench.arrival([], _never), bench.arrival([])
    for delivery in (complete, incomplete):
        delivery.admit()
    complete.record([])
    async with asyncio.timeout(20):
        while not incomplete.late:  # noqa: ASYNC110 # no event announces it
            await asyncio.sleep(0.001)
    assert not complete.late
    for delivery in (complete, incomplete):
        bench.judge.intake.release(delivery)

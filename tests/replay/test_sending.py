"""Sending: retries, rate, and when requests are given up."""

import asyncio
import base64
import gzip
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from receiver import clock
from receiver.archive.schema import Entry
from receiver.errors import TargetError
from receiver.replay import sending
from receiver.replay.long_body import LongBody
from receiver.replay.reading import Item, UnreadableEntry
from receiver.replay.request import Form, Request
from receiver.replay.sending import FAILURES_MAX, Sender, SendOutcome
from receiver.replay.signature import Signer
from receiver.replay.target import Answer, Target
from tests.replay.clock import Clock, Hurried
from tests.replay.place import Delivery, Place
from tests.tools.support.target import OK, Reply, TargetServer

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
CUT, HANG = Reply(what="cut"), Reply(what="hang")


@pytest.fixture
def server() -> Iterator[TargetServer]:
    with TargetServer() as server:
        yield server


def entry_of(task_id: str | None = None) -> Entry:
    """Return an entry; the sender looks at the id and the task alone."""
    numbers = dict.fromkeys(
        ("body_bytes", "position", "of", "member_offset", "member_bytes", "line_offset"), 0
    )
    return Entry(
        delivery_id=clock.new_id(),
        provider="dataforseo",
        kind="postback",
        origin="callback",
        task_id=task_id,
        tag=None,
        key=None,
        status=None,
        received_at="",
        invalid=None,
        segment="",
        object="",
        line_bytes=0,
        **numbers,
    )


def request_of(url: str, *, task_id: str | None = None, body: bytes = b"{}") -> Request:
    entry = entry_of(task_id)
    return Request(
        entry=entry,
        method="POST",
        url=f"{url}/hook",
        headers={"webhook-id": entry.delivery_id},
        body=body,
    )


def some(url: str, count: int) -> list[Item]:
    return [request_of(url) for _ in range(count)]


async def iterated(items: Iterable[Item]) -> AsyncGenerator[Item]:
    for item in items:
        yield item


class Told:
    """What a sender told of each item."""

    def __init__(self) -> None:
        self.outcomes: dict[str, SendOutcome] = {}
        self.order: list[str] = []

    def __call__(self, item: Item, outcome: SendOutcome) -> None:
        identifier = item.entry.delivery_id
        assert identifier not in self.outcomes, "told twice"
        self.outcomes[identifier] = outcome
        self.order.append(identifier)

    @property
    def failed(self) -> list[SendOutcome]:
        return [outcome for outcome in self.outcomes.values() if not outcome.confirmed]


def send(
    items: Sequence[Item],
    *,
    told: Told | None = None,
    signer: Signer | None = None,
    timeout_seconds: float = 10.0,
    **options: Any,
) -> Told:
    """Send to a real server, without waiting between attempts."""
    told = told or Told()
    hurried = Hurried()
    given: dict[str, Any] = {"concurrency": 4, "now": hurried.now, "sleep": hurried.sleep}

    async def whole() -> None:
        async with Target(connections=16, timeout_seconds=timeout_seconds) as target:
            sender = Sender(target, signer=signer, **(given | options))
            await sender.run(iterated(items), told)

    asyncio.run(whole())
    return told


def outcome_of(server: TargetServer, *replies: Reply, **options: Any) -> SendOutcome:
    """Send one that is answered so."""
    item = request_of(server.url)
    server.plan(item.entry.delivery_id, *replies)
    (outcome,) = send([item], **options).outcomes.values()
    assert len(server.received) == outcome.attempts
    return outcome


# Attempts.


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_confirms(server: TargetServer, status: int) -> None:
    assert SendOutcome(confirmed=True, attempts=1) == outcome_of(server, Reply(status=status))


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 410, 413, 422, 451])
def test_a_status_that_calls_the_request_wrong_is_final(server: TargetServer, status: int) -> None:
    outcome = outcome_of(server, Reply(status=status, headers={"Location": "/elsewhere"}))
    assert (False, 1) == (outcome.confirmed, outcome.attempts)
    assert outcome.why.startswith(f"HTTP {status} ")
    assert ["/hook"] == [received.target for received in server.received]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_means_later_is_tried_again(server: TargetServer, status: int) -> None:
    again = Reply(status=status, body=b"not now")
    assert SendOutcome(confirmed=True, attempts=3) == outcome_of(server, again, again)
    server.received.clear()
    outcome = outcome_of(server, *[again] * 9, attempts_max=4)
    assert (False, 4) == (outcome.confirmed, outcome.attempts)
    assert outcome.why.startswith(f"HTTP {status} ")
    assert outcome.why.endswith(": not now")


def test_an_unregistered_status_is_shown_by_its_number(server: TargetServer) -> None:
    again = Reply(status=520, body=b"Web server is returning an unknown error")
    outcome = outcome_of(server, again, again, attempts_max=2)
    assert "HTTP 520: Web server is returning an unknown error" == outcome.why


def test_a_connection_that_is_cut_is_tried_again(server: TargetServer) -> None:
    assert SendOutcome(confirmed=True, attempts=3) == outcome_of(server, CUT, CUT)
    server.received.clear()
    outcome = outcome_of(server, CUT, CUT, attempts_max=2)
    assert (False, 2) == (outcome.confirmed, outcome.attempts)
    assert outcome.why


def test_a_request_without_an_answer_is_tried_again(
    server: TargetServer,
) -> None:
    item = request_of(server.url)
    server.plan(item.entry.delivery_id, HANG, HANG)
    # On a slow machine, a real answer can be late, too.
    told = send([item], timeout_seconds=0.3, attempts_max=50)
    (outcome,) = told.outcomes.values()
    assert outcome.confirmed
    assert outcome.attempts >= 3


def test_the_pauses_between_attempts_grow_to_a_minute(server: TargetServer) -> None:
    hurried = Hurried()
    again = [Reply(status=500)] * 12
    outcome_of(server, *again, attempts_max=12, now=hurried.now, sleep=hurried.sleep)
    assert 11 == len(hurried.slept)
    for attempt, slept in enumerate(hurried.slept, 1):
        longest = min(60.0, 0.5 * 2**attempt)
        assert longest / 2 <= slept <= longest


def long_request(tmp_path: Path, url: str, body: bytes, *, gzip_wanted: bool = False) -> Request:
    """Return the request of a body that is read out of an archive in steps."""
    place = Place(tmp_path)
    headers = [("content-encoding", "gzip")]
    place.take(Delivery(body=gzip.compress(body, mtime=0), headers=headers))
    (request,) = place.requests(Form(f"{url}/hook", gzip=gzip_wanted))
    assert isinstance(request.body, LongBody)
    return request


@pytest.mark.parametrize("gzip_wanted", [False, True])
def test_a_long_body_is_sent_and_signed_in_steps_at_every_attempt(
    server: TargetServer, tmp_path: Path, gzip_wanted: bool
) -> None:
    body = b"\x01\xc3\xbc" * (2 << 20)
    item = long_request(tmp_path, server.url, body, gzip_wanted=gzip_wanted)
    server.plan(item.entry.delivery_id, Reply(status=500), Reply(what="cut"))
    (outcome,) = send([item], signer=Signer(SECRET), timeout_seconds=60.0).outcomes.values()
    assert SendOutcome(confirmed=True, attempts=3) == outcome
    assert 3 == len(server.received)
    for received in server.received:
        assert body == (gzip.decompress(received.body) if gzip_wanted else received.body)
        assert str(len(received.body)) == received.headers["content-length"]
        assert "transfer-encoding" not in received.headers
        at = int(received.headers["webhook-timestamp"])
        signature = Signer(SECRET).sign(received.id, at, received.body)
        assert signature == received.headers["webhook-signature"]


@pytest.mark.parametrize("signer", [None, Signer(SECRET)])
@pytest.mark.parametrize("patient", [False, True])
def test_a_long_body_that_is_lost_meanwhile_is_given_up_by_name(
    server: TargetServer, tmp_path: Path, signer: Signer | None, patient: bool
) -> None:
    body = random.Random(3).randbytes(16 << 20)
    place = Place(tmp_path)
    place.take(Delivery(body=body))
    (item,) = place.requests(Form(f"{server.url}/hook"))
    other = request_of(server.url)
    place.store.delete(item.entry.object)
    told = send([item, other], signer=signer, patient=patient)
    assert told.outcomes[other.entry.delivery_id].confirmed
    lost = told.outcomes[item.entry.delivery_id]
    assert (False, 1) == (lost.confirmed, lost.attempts)
    assert item.entry.object in lost.why


def test_every_attempt_is_signed_anew_under_one_id(server: TargetServer) -> None:
    # Timestamps have whole seconds.
    item = request_of(server.url, body="Grüße".encode())
    server.plan(item.entry.delivery_id, Reply(status=500, seconds=1.05), Reply(status=500))
    began = time.time()
    send([item], signer=Signer(SECRET))
    assert 3 == len(server.received)
    for received in server.received:
        assert item.entry.delivery_id == received.id
        Webhook(SECRET).verify(received.body, dict(received.headers), json_parse=False)
    first, second, third = (int(each.headers["webhook-timestamp"]) for each in server.received)
    assert int(began) <= first < second <= third <= time.time()
    signatures = [received.headers["webhook-signature"] for received in server.received]
    assert signatures[0] != signatures[1]


def test_without_a_secret_nothing_is_signed(server: TargetServer) -> None:
    send([request_of(server.url)])
    assert "webhook-signature" not in server.received[0].headers
    assert "webhook-timestamp" in server.received[0].headers


def test_a_callback_that_cannot_be_read_fails_without_an_attempt(
    server: TargetServer,
) -> None:
    bad, good = UnreadableEntry(entry_of(), "it is damaged"), request_of(server.url)
    told = send([bad, good])
    assert SendOutcome(confirmed=False, attempts=0, why="it is damaged") == told.outcomes.pop(
        bad.entry.delivery_id
    )
    assert [SendOutcome(confirmed=True, attempts=1)] == list(told.outcomes.values())


# Many.


def test_requests_are_sent_concurrently_up_to_the_limit(server: TargetServer) -> None:
    server.hold(until=6)
    told = send(some(server.url, 60), concurrency=6)
    assert (60, 6) == (len(told.outcomes), server.under_way_max)


def test_requests_of_one_task_are_sent_one_after_the_other(
    server: TargetServer,
) -> None:
    items = [request_of(server.url, task_id=f"task-{n % 3}") for n in range(30)]
    for item in items[::4]:
        server.plan(item.entry.delivery_id, Reply(status=500), CUT)
    for item in items[::5]:
        server.plan(item.entry.delivery_id, Reply(status=404))
    send(items, concurrency=8)
    for task in range(3):
        wanted = [item.entry.delivery_id for item in items[task::3]]
        seen = [each.id for each in server.received if each.id in wanted]
        assert wanted == list(dict.fromkeys(seen))
        assert seen == sorted(seen, key=wanted.index), "mixed up"


def test_task_ids_of_different_providers_are_different_tasks(server: TargetServer) -> None:
    items = [request_of(server.url, task_id="1"), request_of(server.url, task_id="1")]
    other = msgspec.structs.replace(items[1].entry, provider="diffbot")
    items[1] = Request(other, "POST", items[1].url, items[1].headers, b"")
    server.hold(until=2)
    send(items)
    assert 2 == server.under_way_max


# A target that takes nothing.


def test_a_target_that_cannot_be_reached_ends_the_sending(server: TargetServer) -> None:
    server.refuse()
    told = Told()
    with pytest.raises(TargetError, match="cannot be reached") as caught:
        send(some(server.url, 50), told=told, attempts_max=3)
    assert 4 == caught.value.exit_status
    assert {} == told.outcomes


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_hundred_failures_in_a_row_end_the_sending(
    server: TargetServer, concurrency: int
) -> None:
    server.otherwise = Reply(status=401, body=b"who are you")
    told = Told()
    with pytest.raises(TargetError, match="none of 100 in a row: HTTP 401 Unauthorized: who"):
        send(some(server.url, 400), told=told, concurrency=concurrency)
    assert FAILURES_MAX - 1 <= len(told.outcomes) < FAILURES_MAX + concurrency
    assert len(told.failed) == len(told.outcomes)
    assert len(server.received) < FAILURES_MAX + concurrency


def test_a_confirmation_resets_the_count_of_failures(server: TargetServer) -> None:
    items = some(server.url, 2 * FAILURES_MAX - 1)
    server.otherwise = Reply(status=400)
    server.plan(items[FAILURES_MAX - 1].entry.delivery_id, OK)
    told = send(items, concurrency=1)
    assert 2 * FAILURES_MAX - 2 == len(told.failed)


# Patience.


def test_a_patient_sender_waits_for_a_target_that_is_down(server: TargetServer) -> None:
    server.refuse()
    items = some(server.url, 20)
    told = Told()
    hurried = Hurried()
    naps = 0

    async def sleep(seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 300:
            server.listen()
        await hurried.sleep(seconds)

    send(items, told=told, patient=True, attempts_max=2, now=hurried.now, sleep=sleep)
    assert 20 == len(told.outcomes)
    assert [] == told.failed
    assert max(outcome.attempts for outcome in told.outcomes.values()) > 10


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=400), Reply(status=404), CUT])
def test_a_patient_sender_gives_up_a_request_refused_while_others_are_confirmed(
    server: TargetServer, reply: Reply
) -> None:
    items = some(server.url, 400)
    poison = items[5].entry.delivery_id
    server.plan(poison, *[reply] * 1000)
    told = send(items, patient=True, attempts_max=3, concurrency=4)
    assert 400 == len(told.outcomes)
    assert [told.outcomes[poison]] == told.failed
    assert 3 <= told.outcomes[poison].attempts
    assert all(count == 1 for each, count in server.attempts().items() if each != poison)


def test_a_patient_sender_does_not_give_up_a_single_request(server: TargetServer) -> None:
    item = request_of(server.url)
    server.plan(item.entry.delivery_id, *[Reply(status=400)] * 40)
    told = send([item], patient=True, attempts_max=2)
    assert [SendOutcome(confirmed=True, attempts=41)] == list(told.outcomes.values())


@pytest.mark.parametrize("every", [2, 20])
def test_many_refused_requests_do_not_hold_up_the_others(server: TargetServer, every: int) -> None:
    items = some(server.url, 600)
    bad = {item.entry.delivery_id for item in items[::every]}
    server.otherwise = lambda received: Reply(status=500 if received.id in bad else 200)
    told, good = Told(), len(items) - len(bad)

    async def whole() -> None:
        hurried = Hurried()
        async with Target(connections=16, timeout_seconds=10.0) as target:
            sender = Sender(
                target,
                signer=None,
                concurrency=4,
                patient=True,
                now=hurried.now,
                sleep=hurried.sleep,
            )
            task = asyncio.create_task(sender.run(iterated(items), told))
            await until(lambda: sum(each.confirmed for each in told.outcomes.values()) == good)
            task.cancel()
            await asyncio.wait((task,))

    asyncio.run(whole())
    assert {outcome.confirmed for each, outcome in told.outcomes.items() if each in bad} <= {False}


def test_a_target_that_is_down_is_logged_once(
    server: TargetServer, caplog: pytest.LogCaptureFixture
) -> None:
    hurried = Hurried()
    naps = 0

    async def sleep(seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 60:
            server.listen()
        await hurried.sleep(seconds)

    caplog.set_level("INFO", logger="receiver.replay.sending")
    items = some(server.url.replace("://", "://user:s3cr3t@"), 20)
    for times in (1, 2):
        server.refuse()
        naps = 0
        told = send(items, told=Told(), patient=True, now=hurried.now, sleep=sleep)
        assert max(outcome.attempts for outcome in told.outcomes.values()) > 3
        warned = [r for r in caplog.records if r.levelname == "WARNING"]
        assert ["target cannot be reached; trying again"] * times == [
            record.getMessage() for record in warned
        ]
        assert [(server.url, "Connection refused")] * times == [
            (record.__dict__["target"], record.__dict__["error"]) for record in warned
        ]
        assert times == caplog.messages.count("target takes callbacks again")


def test_a_target_that_takes_nothing_is_logged_once_and_a_single_refusal_never(
    server: TargetServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="receiver.replay.sending")
    items = some(server.url, 40)
    server.plan(items[5].entry.delivery_id, *[Reply(status=503)] * 3)
    send(items, patient=True, concurrency=8)
    assert [] == caplog.messages
    server.otherwise = lambda _: Reply(status=503 if len(server.received) < 200 else 200)
    send(some(server.url, 20), patient=True, concurrency=8)
    assert ["target takes no callback; trying again", "target takes callbacks again"] == (
        caplog.messages
    )


# Being told to stop.


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 # another thread brings it about
            await asyncio.sleep(0.002)


async def for_ever(seconds: float) -> None:
    """Stand for a pause that would outlast the test."""
    await asyncio.Event().wait()


async def cancel(task: "asyncio.Task[None]") -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.wait((task,), timeout=30)
    assert task.cancelled()


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is under way take any time, so that nothing ends for being slow."""
    monkeypatch.setattr(sending, "_END_SECONDS", 3600.0)


@pytest.mark.usefixtures("no_end")
def test_when_cancelled_requests_under_way_are_settled_and_no_more_sent(
    server: TargetServer,
) -> None:
    items, told = some(server.url, 50), Told()
    server.hold()

    async def whole() -> None:
        async with Target(connections=16, timeout_seconds=10.0) as target:
            sender = Sender(target, signer=None, concurrency=5)
            task = asyncio.create_task(sender.run(iterated(items), told))
            await until(lambda: len(server.received) == 5)
            cancelled = asyncio.create_task(cancel(task))
            assert (set(), {cancelled}) == await asyncio.wait((cancelled,), timeout=0.2)
            server.let_go()
            await cancelled

    asyncio.run(whole())
    assert {item.entry.delivery_id for item in items[:5]} == set(told.outcomes)
    assert [] == told.failed
    assert 5 == len(server.received)


@pytest.mark.usefixtures("no_end")
@pytest.mark.parametrize(
    "reply", [Reply(status=500), Reply(status=429, headers={"Retry-After": "60"})]
)
def test_when_cancelled_a_request_between_attempts_is_not_settled(
    server: TargetServer, reply: Reply
) -> None:
    server.otherwise = reply
    items, told = some(server.url, 3), Told()
    # All are sent before one is answered: the pause that an answer asks for is one for all.
    server.hold(until=3)

    async def whole() -> None:
        async with Target(connections=16, timeout_seconds=10.0) as target:
            sender = Sender(target, signer=None, concurrency=5, sleep=for_ever)
            task = asyncio.create_task(sender.run(iterated(items), told))
            await until(lambda: sender.retries == 3)
            await cancel(task)

    asyncio.run(whole())
    assert {} == told.outcomes
    assert 3 == len(server.received)


@pytest.mark.usefixtures("no_end")
def test_when_cancelled_a_request_that_waits_for_its_turn_is_not_sent(server: TargetServer) -> None:
    items, told = some(server.url, 30), Told()

    async def whole() -> None:
        async with Target(connections=16, timeout_seconds=10.0) as target:
            sender = Sender(
                target, signer=None, concurrency=8, rate=2.0, now=lambda: 1000.0, sleep=for_ever
            )
            task = asyncio.create_task(sender.run(iterated(items), told))
            await until(lambda: told.outcomes)
            await cancel(task)

    asyncio.run(whole())
    assert 1 == len(told.outcomes) == len(server.received)


# The pace, by a clock that costs no time.


class Recorder(Target):
    """Stands for the network: notes when what is sent, and answers as it is told, after a while.

    Behind the sending of some, the process stands still for so many seconds.
    """

    def __init__(
        self,
        fake: Clock,
        answer: Callable[[int], Answer],
        seconds: float,
        stalls: Mapping[int, float],
    ) -> None:
        super().__init__(connections=1, timeout_seconds=1.0)
        self._clock = fake
        self._answer = answer
        self._seconds = seconds
        self._stalls = stalls
        self.sent: list[float] = []

    async def send(self, method: str, url: str, *, headers: Any, body: bytes | LongBody) -> Answer:
        number = len(self.sent)
        self.sent.append(self._clock.now())
        self._clock.at += self._stalls.get(number, 0.0)
        await self._clock.sleep(self._seconds)
        return self._answer(number)


FINE = Answer(200, "", None)


def paced(
    count: int,
    *,
    answer: Callable[[int], Answer] = lambda number: FINE,
    seconds: float = 0.0,
    stalls: Mapping[int, float] | None = None,
    **options: Any,
) -> list[float]:
    """Return the moments at which so many were sent."""
    told, fake = Told(), Clock()

    async def whole() -> list[float]:
        recorder = Recorder(fake, answer, seconds, stalls or {})
        sender = Sender(recorder, signer=None, now=fake.now, sleep=fake.sleep, **options)
        ticking = asyncio.create_task(fake.tick())
        try:
            await sender.run(iterated(some("", count)), told)
        finally:
            ticking.cancel()
        return recorder.sent

    sent = asyncio.run(whole())
    assert count == len(told.outcomes)
    return sent


def holds(rate: float, sent: Sequence[float]) -> bool:
    """Say whether no stretch of time has more than it may; a tenth of a second is caught up."""
    return all(
        (last - first) / rate <= sent[last] - sent[first] + 0.1 + 1e-6
        for first in range(len(sent))
        for last in range(first, len(sent))
    )


@settings(max_examples=20, deadline=None)
@given(
    rate=st.floats(0.5, 400),
    concurrency=st.integers(1, 20),
    seconds=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_the_rate_is_kept_and_reached(rate: float, concurrency: int, seconds: float) -> None:
    count = 60
    sent = paced(count, rate=rate, concurrency=concurrency, seconds=seconds)
    assert sent == sorted(sent)
    assert holds(rate, sent)
    slowest = max(1 / rate, seconds / concurrency)
    assert sent[-1] - sent[0] <= count * slowest + seconds + 1e-6


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_requests_missed_while_the_process_stood_still_are_not_caught_up(seconds: float) -> None:
    stalls = {10: 30.0, 33: 1.0}
    sent = paced(60, rate=10.0, concurrency=20, seconds=seconds, stalls=stalls)
    assert holds(10.0, sent)
    assert sent[-1] - sent[0] <= 60 / 10.0 + sum(stalls.values()) + seconds + 1e-6


def test_without_a_rate_there_is_no_waiting() -> None:
    assert 1 == len(set(paced(50, concurrency=4)))


@pytest.mark.parametrize("rate", [None, 5.0, 100.0])
def test_a_pause_that_the_target_asks_for_applies_to_all_requests(rate: float | None) -> None:
    sent = paced(
        80,
        rate=rate,
        concurrency=8,
        seconds=0.01,
        answer=lambda number: Answer(429, "", 30.0) if number == 9 else FINE,
    )
    # What is under way when it asks has gone already.
    asked = sent[9] + 0.01
    assert [] == [at for at in sent if asked < at < asked + 30]
    after = [at for at in sent if at > asked]
    assert 60 < len(after) < 80
    assert rate is None or holds(rate, after)


def test_the_longest_pause_counts_and_none_is_longer_than_an_hour() -> None:
    pauses = {0: 10.0, 1: 9e9, 2: 20.0}
    sent = paced(
        9,
        concurrency=3,
        seconds=0.5,
        answer=lambda number: Answer(503, "", pauses[number]) if number < 3 else FINE,
    )
    assert sent[0] == sent[2]
    assert 3600 <= sent[3] - sent[0] < 3700


def test_retry_after_may_be_a_date(server: TargetServer) -> None:
    at = formatdate(int(time.time()) + 1000, usegmt=True)
    hurried = Hurried()
    busy = Reply(status=503, headers={"Retry-After": at})
    began = hurried.now()
    outcome = outcome_of(server, busy, now=hurried.now, sleep=hurried.sleep)
    assert SendOutcome(confirmed=True, attempts=2) == outcome
    assert 900 <= hurried.now() - began <= 1010

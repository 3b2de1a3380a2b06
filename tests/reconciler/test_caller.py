"""The caller, against simulated providers that have their bad days."""

import asyncio
import gzip
import logging
import random
import tracemalloc
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import pytest

from receiver.archive.body import WHOLE_BYTES_MAX
from receiver.errors import ProviderError
from receiver.providers import dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.conversation import Call, CallPolicy, Conversation, Reply
from receiver.reconciler.caller import Caller, Pace
from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.dataforseo import Settings as DataForSeoSettings
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.faults import Fault
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.server import Simulator
from tests.tools.simulators.sink import Sink

pytestmark = pytest.mark.integration

T = TypeVar("T")
SECRET = "canary-secret-5b1f0c9a7e21"
# What the Basic header makes of it.
BASIC = "bWU6Y2FuYXJ5LXNlY3JldC01YjFmMGM5YTdlMjE="
STATUS = Call(path="/v3/appendix/status", family="status")
ATTEMPTS = 6


class Time:
    """A clock that only sleeping moves; remembers how long was slept."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.at = 1000.0
        self.slept: list[float] = []
        self._clock = clock

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.at += seconds
        if self._clock is not None:
            self._clock.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock(frozen=True)


@pytest.fixture
def dataforseo(clock: Clock) -> Iterator[DataForSeo]:
    settings = DataForSeoSettings(login="me", password=SECRET)
    with DataForSeo(settings=settings, clock=clock) as simulator:
        yield simulator


@dataclass(frozen=True, slots=True)
class Account:
    """How a caller gets in, and what it asks."""

    policy: CallPolicy
    ask: Callable[[], Conversation[Any]]
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_query: Mapping[str, str] = field(default_factory=dict)


ACCOUNTS = {
    "dataforseo": Account(
        dataforseo_api.POLICY,
        lambda: dataforseo_api.tasks_ready("serp"),
        headers={"Authorization": f"Basic {BASIC}"},
    ),
    "diffbot": Account(diffbot_api.POLICY, diffbot_api.jobs, secret_query={"token": SECRET}),
    "outscraper": Account(
        outscraper_api.POLICY,
        outscraper_api.finished_requests,
        headers={"X-API-KEY": SECRET},
    ),
}


def caller_of(provider: str, url: str, time: Time | None = None, **options: Any) -> Caller:
    account = ACCOUNTS[provider]
    time = time or Time()
    return Caller(
        provider=provider,
        base_url=url,
        policy=account.policy,
        headers=account.headers,
        secret_query=account.secret_query,
        now=time.now,
        sleep=time.sleep,
        **options,
    )


def with_caller(caller: Caller, use: Callable[[Caller], Awaitable[T]]) -> T:
    async def once() -> T:
        async with caller:
            return await use(caller)

    return asyncio.run(once())


def make_call(dataforseo: DataForSeo, call: Call) -> Reply:
    return with_caller(caller_of("dataforseo", dataforseo.url), lambda it: it.call(call))


def status_of(caller: Caller) -> dict[str, Any]:
    """Ask for the status page; return the envelope."""
    content = with_caller(caller, lambda it: it.call(STATUS)).content
    envelope: dict[str, Any] = orjson.loads(content)
    return envelope


# What passes.


@pytest.mark.parametrize("fault", [Fault.HTTP_500, Fault.CODED, Fault.RESET, Fault.CUT])
def test_a_passing_failure_is_retried_after_growing_pauses(
    dataforseo: DataForSeo, fault: Fault
) -> None:
    time = Time()
    dataforseo.fail(fault, times=ATTEMPTS - 1)
    assert 20000 == status_of(caller_of("dataforseo", dataforseo.url, time))["status_code"]
    assert ATTEMPTS == dataforseo.ledger.count()
    longest = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert [True] * len(longest) == [
        most / 2 <= slept <= most for most, slept in zip(longest, time.slept, strict=True)
    ]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.HTTP_500, "keeps failing"),
        (Fault.CODED, "keeps failing"),
        (Fault.RESET, "cannot be reached"),
        (Fault.CUT, "cannot be reached"),
    ],
)
def test_a_lasting_failure_is_an_error_after_the_last_attempt(
    dataforseo: DataForSeo, fault: Fault, said: str
) -> None:
    dataforseo.fail(fault)
    with pytest.raises(ProviderError, match=said):
        status_of(caller_of("dataforseo", dataforseo.url))
    assert ATTEMPTS == dataforseo.ledger.count()


def test_an_api_that_is_stopped_cannot_be_reached(dataforseo: DataForSeo) -> None:
    time = Time()
    dataforseo.fail(Fault.STOPPED)
    with pytest.raises(ProviderError, match=r"GET /v3/appendix/status cannot be reached"):
        status_of(caller_of("dataforseo", dataforseo.url, time))
    assert ATTEMPTS - 1 == len(time.slept)


def test_a_body_that_trickles_is_given_up() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def once() -> None:
        async with answering(trickle) as url:
            caller = caller_of("dataforseo", url, timeout_seconds=0.02)
            async with caller:
                with pytest.raises(ProviderError, match="cannot be reached"):
                    await caller.call(STATUS)

    asyncio.run(once())


def test_a_final_reply_is_not_retried(dataforseo: DataForSeo) -> None:
    for family, code in (("no_such_list", 40402), ("serp/google/organic", 20000)):
        dataforseo.ledger.clear()
        call = Call(path=f"/v3/{family}/tasks_ready", family="tasks_ready")
        make_call(dataforseo, call)
        assert 1 == dataforseo.ledger.count()
        envelope_code = dataforseo.ledger.calls()[0].code
        assert envelope_code in (code, 40400, 40402)


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT, Fault.HTTP_500])
def test_a_call_that_does_harm_twice_is_not_repeated_once_sent(fault: Fault) -> None:
    with Outscraper() as outscraper:
        outscraper.settings.api_keys = (SECRET,)
        task_id = outscraper.create_task()
        outscraper.fail(fault, times=1)
        caller = caller_of("outscraper", outscraper.url)
        with pytest.raises(ProviderError, match="may have been carried out, so it is not repeated"):
            with_caller(caller, lambda it: it.hold(outscraper_api.restart(task_id)))
        assert 1 == outscraper.ledger.count()


def test_any_call_that_was_never_sent_is_repeated() -> None:
    with Outscraper() as outscraper:
        outscraper.settings.api_keys = (SECRET,)
        task_id = outscraper.create_task()
        outscraper.fail(Fault.STOPPED)

        class Recovering(Time):
            async def sleep(self, seconds: float) -> None:
                await super().sleep(seconds)
                if len(self.slept) == 2:
                    await asyncio.to_thread(outscraper.recover)

        caller = caller_of("outscraper", outscraper.url, Recovering())
        with_caller(caller, lambda it: it.hold(outscraper_api.restart(task_id)))
        assert 1 == outscraper.ledger.count()


# Limits.


@pytest.mark.parametrize("stands_in", ["envelope", "task"])
def test_a_rate_limit_inside_http_200_is_waited_out_and_costs_no_attempt(
    dataforseo: DataForSeo, clock: Clock, stands_in: Any
) -> None:
    dataforseo.settings.refusals_in = stands_in
    dataforseo.settings.status_per_minute = 1
    status_of(caller_of("dataforseo", dataforseo.url))

    class Short(Time):
        async def sleep(self, seconds: float) -> None:
            # Less passes there than here, so more answers are refused than there are attempts.
            await super().sleep(seconds)
            clock.advance(7.0)

    time = Short()
    assert 20000 == status_of(caller_of("dataforseo", dataforseo.url, time))["status_code"]
    assert 9 == dataforseo.ledger.count(code=40202) > ATTEMPTS
    assert [True] * 9 == [60 <= slept <= 66 for slept in time.slept]


def test_a_provider_that_stays_busy_is_given_up_in_the_end(dataforseo: DataForSeo) -> None:
    time = Time()
    dataforseo.settings.status_per_minute = 0
    with pytest.raises(ProviderError, match="keeps answering that there are too many calls"):
        status_of(caller_of("dataforseo", dataforseo.url, time))
    assert 900 <= sum(time.slept) <= 1000


def test_concurrent_calls_are_limited(dataforseo: DataForSeo) -> None:
    most = dataforseo_api.POLICY.simultaneous
    dataforseo.gather(most)

    async def all_at_once(caller: Caller) -> None:
        call = Call(path="/v3/appendix/user_data")
        await asyncio.gather(*(caller.call(call) for _ in range(5 * most)))

    with_caller(caller_of("dataforseo", dataforseo.url), all_at_once)
    assert 5 * most == dataforseo.ledger.count(code=20000)
    assert most == dataforseo.ledger.simultaneous_max()


def test_each_family_has_its_own_rate_limit(dataforseo: DataForSeo, clock: Clock) -> None:
    time = Time(clock)

    async def many(caller: Caller) -> None:
        for _ in range(45):
            await caller.call(STATUS)
        for _ in range(50):
            await caller.call(Call(path="/v3/serp/tasks_ready", family="tasks_ready"))

    with_caller(caller_of("dataforseo", dataforseo.url, time), many)
    assert 0 == dataforseo.ledger.count(code=40202)
    assert 10 == dataforseo.ledger.maximum_per_minute("status")
    assert 20 == dataforseo.ledger.maximum_per_minute("tasks_ready")


def test_the_limit_holds_within_any_minute() -> None:
    time, chance = Time(), random.Random(7)
    pace = Pace({"general": 50, "list": 20}, now=time.now, sleep=time.sleep)
    made: dict[str, list[float]] = {"list": [], "general": []}

    async def work(family: str) -> None:
        for _ in range(100):
            await pace.wait(family)
            made["list" if family == "list" else "general"].append(time.at)
            if chance.random() < 0.1:
                await time.sleep(chance.uniform(0.01, 40))

    async def all_of_them() -> None:
        await asyncio.gather(*(work(family) for family in ("list", "list", "general", "other")))

    asyncio.run(all_of_them())
    assert {"list": 200, "general": 200} == {name: len(times) for name, times in made.items()}
    for name, limit in (("list", 20), ("general", 50)):
        assert limit >= max_within(60.0, made[name])


def max_within(seconds: float, times: list[float]) -> int:
    return max(bisect_right(times, at) - bisect_right(times, at - seconds) for at in times)


def test_the_limit_is_used_to_the_full() -> None:
    time = Time()
    pace = Pace({"general": 20}, now=time.now, sleep=time.sleep)

    async def calls() -> None:
        for _ in range(100):
            await pace.wait("general")

    asyncio.run(calls())
    assert time.at == pytest.approx(1000 + 4 * 62)


def test_calls_are_spaced_where_the_limit_is_per_second() -> None:
    time = Time()
    pace = Pace({"general": 1000}, calls_per_second=15, now=time.now, sleep=time.sleep)
    made: list[float] = []

    async def calls() -> None:
        for _ in range(100):
            await pace.wait("general")
            made.append(time.at)

    asyncio.run(calls())
    assert 16 >= max_within(1.0, made)
    assert made[-1] == pytest.approx(1000 + 99 / 15)


def test_calls_are_spaced_after_the_machine_stood_still() -> None:
    at, made = 1000.0, list[float]()
    due = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await due.wait()

    async def call(pace: Pace) -> None:
        await pace.wait("general")
        made.append(at)

    async def calls() -> None:
        nonlocal at, due
        pace = Pace({"general": 1000}, calls_per_second=15, now=lambda: at, sleep=sleep)
        waiting = asyncio.gather(*(call(pace) for _ in range(10)))
        for passed in (10.0, *[0.07] * 8):
            for _ in range(20):
                await asyncio.sleep(0)
            at += passed
            due, woken = asyncio.Event(), due
            woken.set()
        await waiting

    asyncio.run(calls())
    assert pytest.approx([1000.0, *(1010 + 0.07 * number for number in range(9))]) == made


# Bodies.


@asynccontextmanager
async def answering(
    answer: Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> AsyncIterator[str]:
    """Serve one answer to every request, whatever it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller has given up, which is what is tried here
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_body_is_kept_as_it_came_and_inflated_beside_it() -> None:
    content = orjson.dumps({"status_code": 20000, "tasks": []})
    wire = gzip.compress(content)

    async def zipped(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(wire)}\r\n\r\n"
        writer.write(head.encode() + wire)

    async def once() -> None:
        async with answering(zipped) as url, caller_of("dataforseo", url) as caller:
            reply = await caller.call(STATUS)
        assert (wire, content, True) == (reply.wire, reply.content, reply.whole)
        assert ("content-encoding", "gzip") in reply.headers

    asyncio.run(once())


def gzip_answer(wire: bytes) -> Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(wire) + wire)

    return answer


def collected_from(wire: bytes, **options: Any) -> dataforseo_api.Collected:
    async def once() -> dataforseo_api.Collected:
        async with (
            answering(gzip_answer(wire)) as url,
            caller_of("dataforseo", url, **options) as caller,
        ):
            return await caller.hold(dataforseo_api.task_get("/v3/x/task_get/7"))

    return asyncio.run(once())


def test_a_large_result_is_kept_whole_and_judged_by_its_beginning() -> None:
    wire = gzip.compress(b'{"status_code": 20000, "tasks": [{"status_code": 20000, "result": ["')
    wire += gzip.compress(b"x" * WHOLE_BYTES_MAX + b'"]}]}')
    collected = collected_from(wire)
    assert "done" == collected.state
    assert wire == collected.reply.wire
    assert not collected.reply.whole
    assert len(collected.reply.content) <= WHOLE_BYTES_MAX


def test_a_body_that_inflates_too_far_is_an_error() -> None:
    wire = gzip.compress(b" " * (4 << 20))
    with pytest.raises(ProviderError, match="not its JSON envelope"):
        collected_from(wire, inflated_bytes_max=1 << 20)


def test_a_body_without_an_end_is_cut_off_in_bounded_memory(dataforseo: DataForSeo) -> None:
    dataforseo.fail(Fault.ENDLESS)
    caller = caller_of("dataforseo", dataforseo.url, body_bytes_max=1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ProviderError) as raised:
            status_of(caller)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
    assert "over 1048576 bytes (RECEIVER_RESULT_BYTES_MAX)" in str(raised.value)
    assert len(str(raised.value)) < 200


# Secrets.


@pytest.fixture(params=list(ACCOUNTS))
def simulated(request: pytest.FixtureRequest) -> Iterator[tuple[str, Simulator]]:
    """A provider and its simulator, which the caller's credentials let in."""
    simulator: Simulator
    if request.param == "dataforseo":
        simulator = DataForSeo(settings=DataForSeoSettings(login="me", password=SECRET))
    elif request.param == "diffbot":
        simulator = Diffbot()
        simulator.settings.tokens = (SECRET,)
    else:
        simulator = Outscraper()
        simulator.settings.api_keys = (SECRET,)
    with simulator:
        yield request.param, simulator


def hold(provider: str, simulator: Simulator, **options: Any) -> Any:
    caller = caller_of(provider, simulator.url, **options)
    return with_caller(caller, lambda it: it.hold(ACCOUNTS[provider].ask()))


def said(failing: Callable[[], object], caplog: pytest.LogCaptureFixture, status: int = 4) -> str:
    """Return the error, and all that was logged on the way to it."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ProviderError) as raised:
        failing()
    assert status == raised.value.exit_status
    assert "\n" not in str(raised.value)
    text = str(raised.value) + caplog.text
    assert SECRET not in text
    assert BASIC not in text
    return str(raised.value)


def test_the_right_credentials_let_in(simulated: tuple[str, Simulator]) -> None:
    learned = hold(*simulated)
    assert [] == getattr(learned, "tasks", learned)


def test_wrong_credentials_are_named_and_not_shown(
    simulated: tuple[str, Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    provider, simulator = simulated
    if isinstance(simulator, DataForSeo):
        simulator.settings.password = "another"
    elif isinstance(simulator, Diffbot):
        simulator.settings.tokens = ("another",)
    elif isinstance(simulator, Outscraper):
        simulator.settings.api_keys = ("another",)
    names = "RECEIVER_A and RECEIVER_B"
    error = said(lambda: hold(provider, simulator, credentials=names), caplog, status=3)
    assert error.startswith(f"{provider}: GET /")
    assert "refuses the credentials (HTTP 401)" in error
    assert error.endswith("; correct RECEIVER_A and RECEIVER_B")
    assert 1 == simulator.ledger.count()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.STOPPED, "cannot be reached"),
        (Fault.RESET, "cannot be reached"),
        (Fault.CUT, "cannot be reached"),
        (Fault.SLOW, "cannot be reached"),
        (Fault.HTTP_500, "keeps failing"),
        (Fault.HTML, "not"),
        (Fault.HALF_JSON, "not"),
        (Fault.ENDLESS, "over"),
    ],
)
def test_no_error_and_no_log_line_shows_a_secret(
    simulated: tuple[str, Simulator],
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    words: str,
) -> None:
    provider, simulator = simulated
    simulator.fail(fault, seconds=30)
    options = {"body_bytes_max": 1 << 18, "timeout_seconds": 0.2 if fault is Fault.SLOW else 30.0}
    assert words in said(lambda: hold(provider, simulator, **options), caplog)


def test_a_redirect_is_not_followed_and_its_target_hears_nothing(
    simulated: tuple[str, Simulator], caplog: pytest.LogCaptureFixture
) -> None:
    provider, simulator = simulated
    with Sink() as elsewhere:
        simulator.fail(Fault.REDIRECT, location=f"{elsewhere.url}/take")
        error = said(lambda: hold(provider, simulator), caplog)
        assert [] == elsewhere.arrivals()
    assert "answers with a redirect (HTTP 307), not followed" in error
    assert elsewhere.url not in error
    assert 1 == simulator.ledger.count()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://", "ftp://127.0.0.1/x"])
def test_a_url_that_leads_nowhere_is_an_error_without_secrets(
    caplog: pytest.LogCaptureFixture, url: str
) -> None:
    for provider, account in ACCOUNTS.items():
        caller = caller_of(provider, url)
        ask = account.ask
        error = said(lambda: with_caller(caller, lambda it: it.hold(ask())), caplog)  # noqa: B023
        assert "cannot be reached" in error

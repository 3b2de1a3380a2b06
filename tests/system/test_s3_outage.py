"""S3 fails in every way for longer than one batch; callbacks are taken all the while."""

import functools
import gzip
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.system.conftest import IMPATIENT, Place
from tests.tools.support.oracle import Ledger, Load, verify
from tests.tools.support.relay import Behaviour, Relay
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_FAULTS: tuple[Behaviour, ...] = (
    "refuse",
    "hang",
    "cut",
    "fail_before",
    "fail_after",
    "slow_down",
)


def _sealed(receiver: Receiver) -> int:
    return len([path for path in receiver.spooled() if path.suffix == ".seg"])


def _lines(place: Place, keys: Iterable[str]) -> dict[str, bytes]:
    return {key: gzip.decompress(place.archive.get(key)) for key in keys}


def _wait_for_one_more(receiver: Receiver) -> None:
    before = _sealed(receiver)
    wait_for(lambda: _sealed(receiver) > before, "one more segment waits")


# No answer, silence, and a write that took effect unseen; the next test goes through all faults.
@pytest.mark.parametrize("fault", ["refuse", "hang", "fail_after"])
def test_an_outage_delays_and_loses_nothing(
    tmp_path: Path, far: Place, relay: Relay, fault: Behaviour
) -> None:
    ledger = Ledger()
    patience = IMPATIENT if fault == "hang" else {}
    with Receiver(tmp_path, {**far.settings, **patience}) as it:
        it.start()
        with Load(it, ledger, seed=11, senders=2):
            wait_for(lambda: far.archive.keys("index/"), "the first segment is in the archive")
            relay.behave(fault)
            wait_for(lambda: _sealed(it) >= 5, "five segments wait")
            assert 200 == it.readiness()
            wait_for(lambda: it.metric("receiver_lag_seconds") > 2, "the lag rises")
            if fault != "refuse":
                wait_for(lambda: relay.met[fault] >= 4, "the fault was met again and again")
            wait_for(
                lambda: it.metric("receiver_pass_failures_total", **{"pass": "ship"}) >= 1,
                "a pass fails, and is counted",
            )
            before = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > before + 20, "callbacks are still taken")
            assert 200 == it.readiness()
            relay.behave("pass")
            passed = time.monotonic()
            wait_for(
                lambda: it.metric("receiver_lag_seconds") < time.monotonic() - passed,
                "all that waited is shipped, under load",
                seconds=60,
            )
        it.wait_until_shipped()
        wait_for(lambda: it.metric("receiver_lag_seconds") == 0, "the lag is gone")
        assert {200} == set(ledger.statuses)
        it.terminate()
    assert verify(far.archive, ledger).segments > 5


def test_an_outage_is_logged_once_shown_and_retried_on_a_signal(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger, samples = Ledger(), Samples(seed=22)
    settings = {**far.settings, **IMPATIENT, "RECEIVER_RETRY_SECONDS_MAX": "600"}
    with Receiver(tmp_path, settings) as it:
        life = it.start()
        assert {} == it.status()["failing"]

        def failures() -> int:
            failed: int = it.status()["failing"].get("ship", {}).get("failures", 0)
            return failed

        def more_than(before: int) -> bool:
            return failures() > before

        relay.behave("slow_down")
        for _ in range(3):
            ledger.deliver(it.request, samples.postback(), token=it.token)
            _wait_for_one_more(it)
        wait_for(lambda: failures() >= 3, "it failed three times")
        servers = it.server_pids()
        # The next try is far off by now; each signal brings it forward, and hurts no process.
        for _ in range(6):
            before = failures()
            life.signal_all(signal.SIGUSR1)
            wait_for(functools.partial(more_than, before), "it tries at once")
        shown = wait_for(
            lambda: (ship := it.status()["failing"]["ship"])["next_try_at"] and ship, "it waits"
        )
        assert "SlowDown; S3 limits the rate of requests" in shown["error"]
        assert shown["since"] < shown["next_try_at"]
        relay.behave("pass")
        life.signal_all(signal.SIGUSR1)
        it.wait_until_shipped()
        [works] = wait_for(lambda: life.logged("pass works again"), "the end is logged")
        assert {} == it.status()["failing"]
        assert servers == it.server_pids()
        it.terminate()
    [failed] = life.logged("pass failed")
    assert ("ship", 1) == (failed["pass"], failed["failures"])
    assert works["failures"] >= shown["failures"]
    assert [] == life.logged("segment not shipped")
    verify(far.archive, ledger)


def test_faults_one_after_the_other_and_kills_in_between_lose_nothing(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**far.settings, "RECEIVER_BATCH_SECONDS": "0.2"}) as it:
        it.start()
        with Load(it, ledger, seed=12, senders=2):
            for fault in _FAULTS:
                relay.behave(fault)
                _wait_for_one_more(it)
                if fault in ("cut", "fail_after"):
                    # Some of a segment's objects may be there already; its next life ships it.
                    it.kill_all()
                    relay.behave("pass")
                    it.start()
                relay.behave("pass")
        it.wait_until_shipped()
        it.terminate()
    verify(far.archive, ledger)


def test_a_retry_after_an_unseen_success_writes_the_same_lines(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, far.settings) as it:
        it.start()
        relay.behave("fail_after")
        with Load(it, ledger, seed=13, senders=2):
            # The write took effect, and the receiver has not learnt of it.
            wait_for(lambda: far.archive.keys("callbacks/"), "an object is there")
        first = _lines(far, far.archive.keys("callbacks/"))
        assert it.spooled()
        relay.behave("pass")
        it.wait_until_shipped()
        it.terminate()
    assert first == _lines(far, first)
    verify(far.archive, ledger)

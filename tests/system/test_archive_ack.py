"""`RECEIVER_ACK=archive`: what was answered 2xx outlives the loss of the disk."""

import shutil
from pathlib import Path

import pytest

from tests.system.conftest import Place
from tests.tools.support.oracle import DirectoryArchive, Ledger, Load, verify
from tests.tools.support.relay import Behaviour, Relay
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

ACK = {
    "RECEIVER_ACK": "archive",
    "RECEIVER_BATCH_SECONDS": "60",
    "RECEIVER_WORKERS": "2",
    # Long enough that no answer of a test on a busy machine is late by accident.
    "RECEIVER_ARCHIVE_ACK_SECONDS_MAX": "20",
}


def _wait_for(ledger: Ledger, count: int) -> None:
    wait_for(lambda: len(ledger.acknowledged) >= count, f"{count} are acknowledged", seconds=60)


def test_what_was_acknowledged_outlives_the_disk(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**place.settings, **ACK}) as it:
        for life in range(3):
            it.start()
            with Load(it, ledger, seed=life, senders=4):
                _wait_for(ledger, len(ledger.acknowledged) + 40)
                it.kill_all()
            # The machine is gone, and with it all that only its disk had.
            shutil.rmtree(it.spool)
    assert {200} == set(ledger.statuses)
    # A kill leaves what was being shipped half done, and nobody can do the rest.
    verdict = verify(place.archive, ledger, disks_lost=True)
    assert verdict.archived >= len(ledger.acknowledged) >= 120


def test_requests_share_segments_and_nothing_is_slow(tmp_path: Path) -> None:
    ledger = Ledger()
    # Long enough for most of the senders to be in time, on a busy machine too.
    alone = {"RECEIVER_WORKERS": "1", "RECEIVER_ARCHIVE_ACK_MS": "300"}
    with Receiver(tmp_path, {**ACK, **alone}) as it:
        it.start()
        with Load(it, ledger, seed=7, senders=16):
            _wait_for(ledger, 400)
        it.wait_until_shipped()
        count = "receiver_archive_ack_seconds_count"
        acknowledged = wait_for(lambda: it.metric(count), "the waits are counted")
        it.terminate()
    found = verify(DirectoryArchive(it.archive), ledger)
    assert acknowledged <= found.segments
    assert found.archived / found.segments > 6


def test_a_restart_in_good_order_answers_nothing_but_2xx(tmp_path: Path, far: Place) -> None:
    ledger = Ledger()
    drain = {"RECEIVER_DRAIN_SECONDS": "1"}
    with Receiver(tmp_path, {**far.settings, **ACK, **drain}) as it:
        it.start()
        with Load(it, ledger, seed=8, senders=4):
            _wait_for(ledger, 100)
            assert 0 == it.terminate()
        assert not it.spooled()
    assert {200} == set(ledger.statuses)
    verify(far.archive, ledger)


@pytest.mark.parametrize("fault", ["refuse", "hang"])
def test_without_an_answer_of_the_archive_it_is_503_until_there_is_one(
    tmp_path: Path, far: Place, relay: Relay, fault: Behaviour
) -> None:
    ledger = Ledger()
    soon = {"RECEIVER_ARCHIVE_ACK_SECONDS_MAX": "1", "RECEIVER_WORKERS": "1"}
    with Receiver(tmp_path, {**far.settings, **ACK, **soon}) as it:
        it.start()
        with Load(it, ledger, seed=9, senders=4):
            _wait_for(ledger, 20)
            relay.behave(fault)
            wait_for(lambda: 503 in ledger.statuses, "the wait is given up")
            refused = it.request("POST", it.path("dataforseo", "postback", "?id=late"), b"{}")
            assert 503 == refused.status
            assert "archive" in refused.json["detail"]
            assert refused.headers["retry-after"]
            # The archive's outage takes no instance out of the load balancer.
            assert 200 == it.readiness()
            relay.behave("pass")
            _wait_for(ledger, len(ledger.acknowledged) + 20)
        it.wait_until_shipped()
        it.terminate()
    assert {200, 503} == set(ledger.statuses)
    verify(far.archive, ledger)


def test_one_quiet_callback_is_sealed_by_itself(tmp_path: Path) -> None:
    with Receiver(tmp_path, {**ACK, "RECEIVER_WORKERS": "1"}) as it:
        it.start()
        # Its turn by age would come after a minute, and a refusal after twenty seconds.
        answer = it.request("POST", it.path("dataforseo", "postback", "?id=alone"), b"{}")
        assert 200 == answer.status
        assert 1 == len(list(it.archive.glob("index/**/*.jsonl.gz")))
        it.terminate()

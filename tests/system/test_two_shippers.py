"""Several shippers of one spool: the archive is right, and nothing is there twice."""

import sys
from pathlib import Path

import orjson
import pytest

from tests.system.conftest import Place
from tests.tools.support.oracle import Ledger, Load, verify
from tests.tools.support.relay import Relay
from tests.tools.support.server import Life, Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system


def _begin(receiver: Receiver, *arguments: str) -> Life:
    command = [sys.executable, "-m", "receiver", *arguments, "--output", "json"]
    return Life(command, cwd=receiver.root, environ=receiver.environ)


def _end(lives: list[Life]) -> tuple[list[int], int]:
    """Wait for commands; return their statuses, and the segments they shipped together."""
    try:
        statuses = [life.wait() for life in lives]
        for life in lives:
            life.wait_for_all()
    finally:
        for life in lives:
            life.close()
    assert [] == [life.text() for life in lives if "Traceback" in life.text()]
    shipped = [orjson.loads(life.output[0])["segments"] for life in lives]
    return statuses, sum(shipped)


def test_shippers_at_once_share_the_segments(tmp_path: Path, far: Place, relay: Relay) -> None:
    ledger = Ledger()
    settings = {**far.settings, "RECEIVER_BATCH_BYTES": "20000", "RECEIVER_WORKERS": "2"}
    with Receiver(tmp_path, settings) as it:
        it.start()
        relay.behave("refuse")
        with Load(it, ledger, seed=111):
            wait_for(lambda: len(it.spooled()) >= 40, "forty segments wait", seconds=60)
        it.kill_all()
        left = len(it.spooled())
        relay.behave("pass")
        statuses, shipped = _end(
            [_begin(it, "drain"), _begin(it, "drain"), _begin(it, "ship"), _begin(it, "ship")]
        )
        # A drain says so if another shipper still had a segment when it had nothing left to do.
        assert set(statuses) <= {0, 1}
        assert left == shipped
        assert 0 == it.command("drain").returncode
        assert [] == list(it.spool.iterdir())
    assert left == verify(far.archive, ledger).segments


def test_a_shipper_beside_a_running_instance_does_no_harm(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**place.settings, "RECEIVER_BATCH_SECONDS": "0.1"}) as it:
        it.start("--workers", "2")
        with Load(it, ledger, seed=112):
            for _ in range(2):
                statuses, _ = _end([_begin(it, "ship"), _begin(it, "ship")])
                assert [0, 0] == statuses
        assert it.server_pids()
        it.terminate()
    assert {200} == set(ledger.statuses)
    verify(place.archive, ledger)


def test_two_instances_on_one_spool_do_no_harm(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    settings = {**place.settings, "RECEIVER_BATCH_SECONDS": "0.1"}
    with Receiver(tmp_path, settings) as one, Receiver(tmp_path, settings) as other:
        one.start()
        other.start()
        with Load(one, ledger, seed=113), Load(other, ledger, seed=113_000):
            wait_for(lambda: len(ledger.acknowledged) > 400, "both take callbacks")
            one.kill_all()
            taken = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > taken + 100, "the other goes on")
        # It ships what its neighbour left.
        other.wait_until_shipped()
        assert 0 == other.terminate()
    verify(place.archive, ledger)

"""The end, in order: unready, answering on, accepting no more, sealed, shipped."""

import signal
import time
from pathlib import Path

import orjson
import pytest

from tests.system.conftest import Place
from tests.tools.support.http import connect, read_answer
from tests.tools.support.oracle import DirectoryArchive, Ledger, Load, verify
from tests.tools.support.relay import Relay
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

# Long enough for every server process to seal, on a busy machine too.
_SOON_GIVEN_UP = {"RECEIVER_SHUTDOWN_SECONDS": "5", "RECEIVER_S3_TIMEOUT_SECONDS": "60"}


def _refused(receiver: Receiver) -> bool:
    try:
        connect(receiver.url, seconds=5).close()
    except ConnectionRefusedError:
        return True
    return False


def _wait_for_more(ledger: Ledger, count: int) -> None:
    wanted = len(ledger.acknowledged) + count
    wait_for(lambda: len(ledger.acknowledged) >= wanted, f"{count} more are acknowledged")


def test_sigterm_is_followed_in_the_order_of_the_contract(tmp_path: Path) -> None:
    ledger, samples = Ledger(), Samples(seed=31)
    slow, late = samples.postback(squeezed=False), samples.webhook()
    settings = {"RECEIVER_DRAIN_SECONDS": "60", "RECEIVER_BATCH_SECONDS": "60"}
    with Receiver(tmp_path, settings) as it:
        life = it.start("--workers", "2")
        ledger.send(slow)
        with connect(it.url) as connection:
            half = len(slow.wire) // 2
            target = it.path(slow.provider, slow.kind, slow.rest)
            names = "".join(f"{name}: {value}\r\n" for name, value in slow.headers)
            head = f"POST {target} HTTP/1.1\r\nHost: a\r\n{names}Content-Length: {len(slow.wire)}"
            connection.sendall(f"{head}\r\n\r\n".encode() + slow.wire[:half])
            wait_for(lambda: it.metric("receiver_inflight_bytes") > 0, "its body is being read")
            life.signal(signal.SIGTERM)
            wait_for(lambda: len(life.logged("draining")) == 2, "both processes know")
            assert 503 == it.readiness()
            assert "draining" == it.request("GET", "/readyz").json["detail"]
            assert 200 == it.request("GET", "/healthz").status
            answer = ledger.deliver(it.request, late, token=it.token)
            assert (200, "close") == (answer.status, answer.headers["connection"])
            assert life.status is None
            until = time.monotonic() + 1
            while time.monotonic() < until:
                assert 503 == it.readiness()
            life.signal(signal.SIGTERM)  # no more waiting for a load balancer
            wait_for(lambda: _refused(it), "nobody listens any more")
            # What had begun before is finished after.
            assert life.status is None
            connection.sendall(slow.wire[half:])
            answer = read_answer(connection)
            ledger.settle(slow, answer)
            assert (200, "close") == (answer.status, answer.headers["connection"])
        assert 0 == life.wait()
        life.wait_for_all()
        assert [] == it.spooled()
    # The batch time was not over; the end sealed and shipped it.
    assert 2 == verify(DirectoryArchive(it.archive), ledger).acknowledged


def test_the_drain_lasts_as_long_as_it_is_to(tmp_path: Path) -> None:
    with Receiver(tmp_path, {"RECEIVER_DRAIN_SECONDS": "3"}) as it:
        it.start()
        began = time.monotonic()
        assert 0 == it.terminate()
        assert time.monotonic() - began > 3


def test_no_callback_is_lost_by_an_end_under_load(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    settings = {**place.settings, "RECEIVER_DRAIN_SECONDS": "0.5"}
    with Receiver(tmp_path, settings) as it:
        for _ in range(3):
            it.start("--workers", "2")
            with Load(it, ledger, seed=len(ledger.sent), senders=4):
                _wait_for_more(ledger, 100)
                assert 0 == it.terminate()
            assert [] == it.spooled()
    assert {200} == set(ledger.statuses)
    verify(place.archive, ledger)


def test_ctrl_c_ends_at_once_with_130(tmp_path: Path) -> None:
    ledger = Ledger()
    settings = {"RECEIVER_DRAIN_SECONDS": "60", "RECEIVER_BATCH_SECONDS": "60"}
    with Receiver(tmp_path, settings) as it:
        life = it.start("--workers", "2")
        assert 200 == ledger.deliver(it.request, Samples(33).webhook(), token=it.token).status
        # A terminal sends it to every process of the group.
        life.signal_all(signal.SIGINT)
        assert 130 == life.wait(seconds=20)
        life.wait_for_all()
        assert [] == life.errors
    verify(DirectoryArchive(it.archive), ledger)


def test_a_second_sigterm_ends_the_wait(tmp_path: Path) -> None:
    with Receiver(tmp_path, {"RECEIVER_DRAIN_SECONDS": "60"}) as it:
        life = it.start()
        life.signal(signal.SIGTERM)
        wait_for(lambda: it.readiness() == 503, "it is unready")
        life.signal(signal.SIGTERM)
        assert 0 == life.wait(seconds=40)


def test_sigterm_to_every_process_is_drained_all_the_same(tmp_path: Path) -> None:
    with Receiver(tmp_path, {"RECEIVER_DRAIN_SECONDS": "60"}) as it:
        life = it.start("--workers", "2")
        # As systemd does by default (systemd.kill(5), KillMode=control-group).
        life.signal_all(signal.SIGTERM)
        wait_for(lambda: it.readiness() == 503, "it is unready")
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert 200 == it.request("POST", it.path("diffbot", "notification"), b"{}").status
        life.signal(signal.SIGTERM)
        assert 0 == life.wait(seconds=40)


def test_sigterm_while_it_starts_ends_it(tmp_path: Path) -> None:
    with Receiver(tmp_path) as it:
        life = it.launch()
        wait_for(lambda: list(it.spool.glob("*")), "a server process is about to start")
        life.signal(signal.SIGTERM)
        assert 0 == life.wait(seconds=20)
        life.wait_for_all()
        assert [] == it.spooled()


def test_what_s3_refuses_at_the_end_is_tried_again(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**far.settings, "RECEIVER_BATCH_SECONDS": "600"}) as it:
        life = it.start()
        for sample in Samples(35).of_each():
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        relay.behave("slow_down")
        life.signal(signal.SIGTERM)
        wait_for(lambda: life.logged("not all shipped at the end"), "it has failed")
        relay.behave("pass")
        assert 0 == life.wait()
        life.wait_for_all()
        assert [] == it.spooled()
    verify(far.archive, ledger)


def test_what_cannot_be_shipped_waits_for_the_next_start(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**far.settings, **_SOON_GIVEN_UP}) as it:
        _stop_with_a_full_spool(it, ledger, relay)
        relay.behave("pass")
        it.start()
        it.wait_until_shipped()
        it.terminate()
        assert [] == list(it.spool.iterdir())
    verify(far.archive, ledger)


def test_what_cannot_be_shipped_is_drained_by_the_command(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**far.settings, **_SOON_GIVEN_UP}) as it:
        _stop_with_a_full_spool(it, ledger, relay)
        assert 4 == it.command("drain", RECEIVER_S3_TIMEOUT_SECONDS="1").returncode
        relay.behave("pass")
        # The spool of a machine that is gone, copied to another place.
        rescued = tmp_path / "rescued"
        it.spool.rename(rescued)
        drained = it.command("drain", "--spool", str(rescued), "--output", "json")
        assert (0, "") == (drained.returncode, drained.stderr)
        assert len(ledger.acknowledged) == orjson.loads(drained.stdout)["records"]
        assert [] == list(rescued.iterdir())
    verify(far.archive, ledger)


def _stop_with_a_full_spool(receiver: Receiver, ledger: Ledger, relay: Relay) -> None:
    receiver.start("--workers", "2")
    relay.behave("hang")
    with Load(receiver, ledger, seed=34):
        wait_for(lambda: len(receiver.spooled()) >= 4, "segments wait")
    began = time.monotonic()
    assert 0 == receiver.terminate()
    # It waits neither for ever nor for the answers of S3.
    assert time.monotonic() - began < 40
    assert receiver.spooled()
    assert {".seg"} == {path.suffix for path in receiver.spooled()}
    [stopped] = receiver.life.logged("stopped")
    assert len(receiver.spooled()) == stopped["segments_left_in_spool"]


@pytest.mark.parametrize("ack", ["spool", "archive"])
def test_kill_9_of_the_parent_ends_the_servers_with_one_line_each(tmp_path: Path, ack: str) -> None:
    settings = {
        "RECEIVER_ACK": ack,
        "RECEIVER_WORKERS": "2",
        "RECEIVER_LOG_LEVEL": "warning",
        "RECEIVER_SHUTDOWN_SECONDS": "4",
    }
    with Receiver(tmp_path, settings) as it:
        life = it.start()
        with connect(it.url) as idle, connect(it.url) as sending:
            idle.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert 200 == read_answer(idle).status
            # A server waits for the rest, and reports to its parent meanwhile.
            head = f"POST {it.path('diffbot', 'notification')} HTTP/1.1\r\nContent-Length: 9"
            sending.sendall(f"{head}\r\n\r\n{{".encode())
            wait_for(lambda: it.metric("receiver_inflight_bytes") == 9, "a body is under way")
            it.kill_parent()
            life.wait_for_all()
    assert [] == life.errors
    lines = [orjson.loads(line) for line in life.output if line.startswith("{")]
    lines = [line for line in lines if line["level"] != "info"]
    assert 2 == sum(line["message"] == "parent is gone, stopping" for line in lines)
    # uvicorn's one line about the request that it gives up.
    assert 3 == len(lines)
    assert not any("exception" in line for line in lines)

"""`receiver ship --watch`: ships for a door that another process manager runs."""

import functools
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from tests.system.conftest import IMPATIENT, Place
from tests.tools.support.oracle import DirectoryArchive, Ledger, read_lines, verify
from tests.tools.support.relay import Relay
from tests.tools.support.samples import Samples
from tests.tools.support.server import Life, Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system


class Spools:
    """Spools of doors that are gone, each with callbacks of its own."""

    def __init__(self, roots: Sequence[Path], ledger: Ledger) -> None:
        self.roots = roots
        self.ledger = ledger

    def add(self, number: int, it: Receiver) -> None:
        """Put one of them into a receiver's spool, so that it is there whole or not at all."""
        it.spool.mkdir(exist_ok=True)
        for directory in self.roots[number].iterdir():
            if directory.is_dir():
                copy = it.root / directory.name
                shutil.copytree(directory, copy)
                copy.rename(it.spool / directory.name)


@pytest.fixture(scope="module")
def spools(tmp_path_factory: pytest.TempPathFactory) -> Spools:
    ledger, samples, roots = Ledger(), Samples(seed=303), []
    for _ in range(2):
        root = tmp_path_factory.mktemp("door")
        with Receiver(root, {"RECEIVER_BATCH_SECONDS": "600"}) as door:
            door.start()
            for _ in range(6):
                ledger.deliver(door.request, samples.postback(), token=door.token)
            door.kill_all()
        roots.append(door.spool)
    return Spools(roots, ledger)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path) as receiver:
        yield receiver


def watch(it: Receiver) -> Life:
    """Begin to watch, and wait until it says so."""
    command = [sys.executable, "-m", "receiver", "ship", "--watch"]
    life = Life(command, cwd=it.root, environ=it.environ)
    it.lives.append(life)
    wait_for(lambda: life.logged("watching"), "it watches")
    return life


def end(life: Life, number: int = signal.SIGTERM) -> int:
    life.signal(number)
    status = life.wait()
    life.wait_for_all()
    return status


def test_what_comes_into_the_spool_is_shipped_until_it_is_told_to_stop(
    it: Receiver, spools: Spools
) -> None:
    # Also where the door has not made the spool yet.
    life = watch(it)
    for number in range(2):
        spools.add(number, it)
        it.wait_until_shipped()
    assert 0 == end(life)
    verify(DirectoryArchive(it.archive), spools.ledger)
    assert [0] == [line["segments_left_in_spool"] for line in life.logged("stopped")]
    # All that it says is a log.
    assert [] == life.errors
    assert all(orjson.loads(line)["level"] for line in life.output)


def test_an_archive_that_is_away_is_tried_again_with_pauses(
    tmp_path: Path, spools: Spools, far: Place, relay: Relay
) -> None:
    relay.behave("slow_down")
    settings = {**far.settings, **IMPATIENT, "RECEIVER_RETRY_SECONDS_MAX": "1"}
    with Receiver(tmp_path, settings) as it:
        for number in range(2):
            spools.add(number, it)
        life = watch(it)
        failed = wait_for(lambda: life.logged("pass failed"), "it failed")[0]
        assert ("ship", 1) == (failed["pass"], failed["failures"])
        # A pass makes two tries, each of two attempts, for two segments.
        wait_for(lambda: relay.met["slow_down"] > 3 * 2 * 2, "it tried again and again")
        relay.behave("pass")
        it.wait_until_shipped()
        [works] = wait_for(lambda: life.logged("pass works again"), "it works again")
        assert 0 == end(life)
    # One line for each kind of error, however often it is met.
    errors = [line["error"] for line in life.logged("pass failed")]
    assert len(errors) == len(set(errors))
    assert works["failures"] >= 2
    assert works["seconds"] > 0
    assert [] == life.logged("segment not shipped")
    verify(far.archive, spools.ledger)


def test_a_signal_ends_the_pause(tmp_path: Path, spools: Spools, far: Place, relay: Relay) -> None:
    relay.behave("slow_down")
    settings = {**far.settings, **IMPATIENT, "RECEIVER_RETRY_SECONDS_MAX": "600"}

    def more_than(met: int) -> bool:
        return relay.met["slow_down"] > met

    with Receiver(tmp_path, settings) as it:
        spools.add(0, it)
        life = watch(it)
        wait_for(lambda: life.logged("pass failed"), "it failed")
        # The pauses double with each failure: the signal ends them for as long as it comes.
        for _ in range(10):
            met = relay.met["slow_down"]
            life.signal(signal.SIGUSR1)
            wait_for(functools.partial(more_than, met), "it tries at once")
        relay.behave("pass")
        life.signal(signal.SIGUSR1)
        it.wait_until_shipped()
        assert 0 == end(life)


def test_what_is_left_at_the_end_is_shipped_in_a_last_pass(
    tmp_path: Path, spools: Spools, far: Place, relay: Relay
) -> None:
    relay.behave("refuse")
    # So long a pause that no regular pass ships it.
    settings = {**far.settings, **IMPATIENT, "RECEIVER_RETRY_SECONDS_MAX": "600"}
    with Receiver(tmp_path, settings) as it:
        for number in range(2):
            spools.add(number, it)
        life = watch(it)
        wait_for(lambda: life.logged("pass failed"), "it failed")
        life.signal(signal.SIGTERM)
        wait_for(lambda: life.logged("not all shipped at the end"), "the last pass failed")
        relay.behave("pass")
        assert 0 == life.wait()
        life.wait_for_all()
        assert [] == it.spooled()
    verify(far.archive, spools.ledger)


def test_a_second_signal_ends_the_last_pass(
    tmp_path: Path, spools: Spools, far: Place, relay: Relay
) -> None:
    relay.behave("hang")
    with Receiver(tmp_path, {**far.settings, "RECEIVER_S3_TIMEOUT_SECONDS": "600"}) as it:
        spools.add(0, it)
        life = watch(it)
        life.signal(signal.SIGTERM)
        wait_for(lambda: life.logged("stopping"), "it stops")
        assert life.status is None
        assert 0 == end(life)
        # It is there for the next one.
        assert it.spooled()


def test_ctrl_c_is_status_130(it: Receiver, spools: Spools) -> None:
    life = watch(it)
    spools.add(0, it)
    it.wait_until_shipped()
    assert 130 == end(life, signal.SIGINT)
    assert len(read_lines(DirectoryArchive(it.archive))) == 6


def test_it_takes_no_output_and_refuses_what_cannot_be(it: Receiver) -> None:
    ran = it.command("ship", "--watch", "--output", "json")
    assert (2, "") == (ran.returncode, ran.stdout)
    assert "--watch prints logs" in ran.stderr
    ran = it.command("ship", "--watch", RECEIVER_ARCHIVE="ftp://nowhere")
    assert (3, "") == (ran.returncode, ran.stdout)
    [line] = ran.stderr.splitlines()
    assert "RECEIVER_ARCHIVE" in line

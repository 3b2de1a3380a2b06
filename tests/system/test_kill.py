"""`kill -9` at random moments, under load: no acknowledged callback is lost.

The moments come from a seed, which is printed; TEST_KILL_SEED sets it.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.system.conftest import Place
from tests.tools.support.oracle import Ledger, Load, verify
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

# Half of a minute on a machine of its own.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

# Over both stores 40 kills.
_KILLS = ("server",) * 10 + ("parent",) * 4 + ("all",) * 3 + ("all while starting",) * 3

_SETTINGS = {
    "RECEIVER_WORKERS": "2",
    "RECEIVER_BATCH_BYTES": "65536",
    "RECEIVER_BATCH_SECONDS": "0.2",
}


class _Killer:
    """Kills in different ways, each time after the load has gone on for a random while."""

    def __init__(self, receiver: Receiver, ledger: Ledger, seed: int) -> None:
        self._receiver = receiver
        self._ledger = ledger
        self._random = random.Random(seed)
        self.kills = 0

    def kill_all_ways(self) -> None:
        kills = list(_KILLS)
        self._random.shuffle(kills)
        for kill in kills:
            self._let_some_through()
            if kill == "server":
                self._kill_server()
            elif kill == "parent":
                self._kill_parent()
            else:
                self._kill_all(while_starting=kill == "all while starting")
            self.kills += 1

    def _let_some_through(self) -> None:
        """Wait for a random number of callbacks, so that no two kills meet the same state."""
        wanted = len(self._ledger.acknowledged) + self._random.randint(3, 60)
        wait_for(lambda: len(self._ledger.acknowledged) >= wanted, "callbacks are acknowledged")
        self._pause(0.05)

    def _pause(self, seconds_max: float) -> None:
        # A moment that nothing in the receiver decides.
        time.sleep(self._random.uniform(0, seconds_max))

    def _kill_server(self) -> None:
        def killed() -> bool:
            # The parent may not have learnt yet of one that was killed before.
            pids = self._receiver.server_pids()
            return bool(pids) and self._receiver.kill_server(self._random.choice(pids))

        wait_for(killed, "there is a server process to kill")

    def _kill_parent(self) -> None:
        """Kill the parent; its server processes end by themselves, often after the next start."""
        self._receiver.kill_parent()
        if self._random.random() < 0.3:
            self._receiver.life.wait_for_all()
        self._receiver.start()

    def _kill_all(self, *, while_starting: bool) -> None:
        self._receiver.kill_all()
        if while_starting:
            self._receiver.launch()
            self._pause(1.0)
            self._receiver.kill_all()
        self._receiver.start()


def test_kill_9_of_any_process_loses_nothing(tmp_path: Path, place: Place) -> None:
    seed = int(os.environ.get("TEST_KILL_SEED", time.time_ns()))
    print(f"TEST_KILL_SEED={seed}")
    ledger = Ledger()
    with Receiver(tmp_path, {**_SETTINGS, **place.settings}) as it:
        it.start()
        killer = _Killer(it, ledger, seed)
        with Load(it, ledger, seed=seed) as load:
            killer.kill_all_ways()
        assert len(_KILLS) == killer.kills
        # A kill must have hit requests under way, or this showed nothing.
        assert sum(load.unanswered.values()) > 10
        assert {200} == set(ledger.statuses)
        it.wait_until_shipped()
        for life in it.lives[:-1]:
            life.wait_for_all()  # server processes outlive their parent for a while
        assert 0 == it.terminate()
        assert [] == [path for path in it.spool.iterdir() if not path.name.startswith(".new-")]
    verdict = verify(place.archive, ledger)
    assert verdict.acknowledged > 500

"""A run of a sweep: its lease, its limits, and tasks that fail."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from receiver.errors import LeaseLost, ProviderError, SpoolUnavailable
from tests.reconciler.dataforseo import ORGANIC, age, sweep_of
from tests.reconciler.place import HOUR, Place, past
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.faults import Fault
from tests.tools.support.oracle import read_lines


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    """A provider whose clock is two hours behind, until `age` is called."""
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: DataForSeo) -> Place:
    return Place(tmp_path, "dataforseo", simulator)


# Leases and spools.


def test_a_sweep_whose_lease_is_taken_stops_and_the_other_finishes(
    tmp_path: Path, simulator: DataForSeo
) -> None:
    here, there = (Place(tmp_path, "dataforseo", simulator, instance=n) for n in ("a", "b"))
    ids = simulator.add_ready(ORGANIC, 300)
    age(simulator)
    taken = {"owner": "b/1", "generation": 9, "expires_at_us": 0}

    def progress(*, done: int, total: int) -> None:
        if done == 20:
            # From here on, calls take far longer than the lease lasts without renewal.
            simulator.latency_seconds = 1.0
            here.store.put("leases/sweep-dataforseo.json", orjson.dumps(taken))

    with pytest.raises(LeaseLost):
        here.sweep(sweep_of(), lease_seconds=4.0, progress=progress)
    simulator.latency_seconds = 0.0
    done = set(here.lines())
    assert 20 <= len(done) < 300
    (report,) = here.reports()
    assert "leases/sweep-dataforseo.json" in report[-1]["alarms"][0]
    summary = there.sweep(sweep_of())
    assert 10 == summary.generation
    assert set(ids) == set(there.lines())


def test_the_lease_is_kept_during_a_long_call(place: Place, simulator: DataForSeo) -> None:
    simulator.add_ready(ORGANIC, 5)
    age(simulator)
    simulator.fail(Fault.SLOW, family="tasks_ready", times=1, seconds=7.0)
    assert {"repaired": 5} == place.sweep(sweep_of(), lease_seconds=6.0).outcomes


def test_nothing_is_collected_while_the_spool_is_full(place: Place, simulator: DataForSeo) -> None:
    ids = simulator.add_ready(ORGANIC, 5)
    age(simulator)
    place.arrived("pingback", ["x" * 1000])
    with pytest.raises(SpoolUnavailable, match="RECEIVER_SPOOL_BYTES_MAX"):
        place.sweep(sweep_of(), spool_bytes_max=500)
    assert ids == simulator.uncollected()
    assert {"repaired": 5} == place.sweep(sweep_of()).outcomes


# Tasks that fail.


def held(place: Place) -> set[str]:
    """Return the tasks of which the archive has a valid result, beside those that were stored."""
    return {line["task_id"] for line in read_lines(place.archive) if line["invalid"] is None}


def test_a_task_that_fails_does_not_stop_the_others_and_is_tried_again(
    place: Place, simulator: DataForSeo
) -> None:
    ids = simulator.add_ready(ORGANIC, 10)
    age(simulator)
    # The calls are carried out, so the tasks leave the list, but only half of each answer comes.
    simulator.fail(Fault.HALF_JSON, family="task_get", times=3)
    summary = place.sweep(sweep_of())
    assert ({"repaired": 7, "failed": 3}, True) == (summary.outcomes, summary.failed)
    assert [] == simulator.uncollected()
    assert {"repaired": 3} == place.sweep(sweep_of()).outcomes
    assert set(ids) == held(place)


def test_a_provider_that_keeps_failing_is_left_alone_and_nothing_is_lost(
    place: Place, simulator: DataForSeo
) -> None:
    ids = simulator.add_ready(ORGANIC, 200)
    age(simulator)
    simulator.fail(Fault.HALF_JSON, family="task_get")
    with pytest.raises(ProviderError, match="tasks failed in a row"):
        place.sweep(sweep_of())
    assert simulator.ledger.count("task_get") < 60
    (report,) = place.reports()
    assert 1 <= len(report[-1]["alarms"])
    simulator.recover()
    place.sweep(sweep_of())
    assert set(ids) == held(place)


def test_tasks_that_fail_in_every_sweep_do_not_hold_up_new_ones(
    place: Place, simulator: DataForSeo
) -> None:
    failing = simulator.add_ready(ORGANIC, 60)
    age(simulator)
    sweep = sweep_of()
    for task_id in failing:
        simulator.task(task_id).ours = False  # every call is answered with 40001
    with pytest.raises(ProviderError, match="tasks failed in a row"):
        place.sweep(sweep)
    tried = {repair.task_id for repair in place.repairs()}
    new = simulator.add_ready(ORGANIC, 5)
    for task_id in new:
        simulator.task(task_id).posted_at -= HOUR
    summary = place.sweep(sweep)
    assert any("tasks of earlier sweeps" in alarm for alarm in summary.alarms)
    assert set(new) == set(place.lines())
    # Tasks that had failed came after those that had not been reached.
    assert not tried & {repair.task_id for repair in place.repairs()[:10]}
    for task_id in failing:
        simulator.task(task_id).ours = True
    place.sweep(sweep)
    assert set(failing + new) == set(place.lines())


def test_a_result_that_is_too_large_is_fetched_once_and_reported_by_every_sweep(
    place: Place, simulator: DataForSeo
) -> None:
    simulator.add_ready(ORGANIC, 1)
    age(simulator)
    sweep = sweep_of()
    simulator.fail(Fault.ENDLESS, family="task_get", times=1)
    assert {"failed": 1} == place.sweep(sweep, body_bytes_max=1 << 20).outcomes
    calls = simulator.ledger.count("task_get")
    assert {"failed": 1} == place.sweep(sweep, body_bytes_max=1 << 20).outcomes
    (repair,) = place.repairs()
    assert "RECEIVER_RESULT_BYTES_MAX" in str(repair.detail)
    assert calls == simulator.ledger.count("task_get")
    # A new process, perhaps with a larger limit, tries again.
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes

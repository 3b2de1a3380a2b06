"""Sweeps of Outscraper."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import ProviderError
from receiver.reconciler import OutscraperSweep
from tests.reconciler.place import HOUR, TOKEN, Place, body_of, past
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.outscraper.work import Outcome
from tests.tools.simulators.sink import Sink
from tests.tools.support.oracle import read_lines

pytestmark = pytest.mark.integration


@pytest.fixture
def simulator() -> Iterator[Outscraper]:
    with Outscraper(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: Outscraper) -> Place:
    return Place(tmp_path, "outscraper", simulator)


@pytest.fixture
def door() -> Iterator[Sink]:
    with Sink() as running:
        running.status = 503
        yield running


def sweep_of() -> OutscraperSweep:
    return OutscraperSweep(grace_seconds=600.0)


def webhook(door: Sink) -> str:
    return f"{door.url}/outscraper/webhook/{TOKEN}"


def finished(simulator: Outscraper, count: int = 1, outcome: Outcome = "Success") -> list[str]:
    ids = [simulator.submit(f"bars {number}") for number in range(count)]
    for request_id in ids:
        simulator.finish(request_id, outcome)
    simulator.wait_idle()
    return ids


def arrived(place: Place, simulator: Outscraper, ids: list[str]) -> None:
    """Put webhooks as the provider sends them into the archive."""
    bodies = {one: b'{"id":"%s","status":"SUCCESS"}' % one.encode() for one in ids}
    place.arrived("webhook", ids, bodies=bodies)
    place.ship()


def test_results_without_a_webhook_are_repaired(place: Place, simulator: Outscraper) -> None:
    ids = finished(simulator, 50)
    simulator.clock.advance(2 * HOUR)
    summary = place.sweep(sweep_of())
    assert ({"repaired": 50}, ()) == (summary.outcomes, summary.alarms)
    lines = place.lines(origin="sweep", kind="result", provider="outscraper")
    assert set(ids) == set(lines)
    for request_id, line in lines.items():
        assert simulator.data(request_id) == body_of(line)["data"]
        assert f"{request_id}:result" == line["key"]
        assert "Success" == line["status"]
    summary = place.sweep(sweep_of())
    assert ({}, 50) == (summary.outcomes, summary.held)
    assert [] == place.unfinished()


def test_twenty_calls_a_second_are_never_exceeded(place: Place, simulator: Outscraper) -> None:
    finished(simulator, 40)
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 40} == place.sweep(sweep_of(), real_time=True).outcomes
    assert 20 >= simulator.ledger.maximum_within(1.0)
    assert 0 == simulator.ledger.count_http(429)


def test_results_with_a_webhook_are_collected(place: Place, simulator: Outscraper) -> None:
    ids = finished(simulator, 3)
    arrived(place, simulator, ids)
    assert {"collected": 3} == place.sweep(sweep_of()).outcomes
    results = place.lines(kind="result")
    assert set(ids) == set(results)
    assert set(ids) == set(place.lines(kind="webhook"))


def test_a_result_with_a_webhook_is_fetched_even_if_no_list_has_it(
    place: Place, simulator: Outscraper
) -> None:
    ids = finished(simulator, 3)
    arrived(place, simulator, ids)
    simulator.settings.requests_listed_max = 0
    assert {"collected": 3} == place.sweep(sweep_of()).outcomes


def test_a_result_is_fetched_while_its_four_hours_last(tmp_path: Path) -> None:
    with Outscraper(clock=past(4 * HOUR)) as simulator:
        place = Place(tmp_path, "outscraper", simulator)
        (request_id,) = finished(simulator)
        simulator.clock.advance(4 * HOUR - 120)
        assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
        assert request_id in place.lines()


def test_a_request_that_is_pending_again_is_reported_as_lost_once(tmp_path: Path) -> None:
    with Outscraper(clock=past(5 * HOUR)) as simulator:
        place = Place(tmp_path, "outscraper", simulator)
        (lost,) = finished(simulator)
        simulator.clock.advance(5 * HOUR - 60)
        (found,) = finished(simulator)
        sweep = sweep_of()
        summary = place.sweep(sweep)
        assert ({lost: "lost", found: "repaired"}, True) == (place.outcomes(), summary.failed)
        summary = place.sweep(sweep)
        assert ({}, False) == (summary.outcomes, summary.failed)
        assert [] == place.unfinished()


def test_a_request_with_a_webhook_that_is_pending_is_tried_again(
    place: Place, simulator: Outscraper
) -> None:
    request_id = simulator.submit("bars")
    arrived(place, simulator, [request_id])
    sweep = sweep_of()
    assert {"pending": 1} == place.sweep(sweep).outcomes
    simulator.finish(request_id)
    assert {"collected": 1} == place.sweep(sweep).outcomes


@pytest.mark.parametrize("form", ["204", "200"])
def test_a_request_that_failed_is_kept_once(place: Place, simulator: Outscraper, form: Any) -> None:
    simulator.settings.failure_form = form
    (request_id,) = finished(simulator, outcome="Failure")
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert {} == place.sweep(sweep_of()).outcomes
    line = place.lines()[request_id]
    assert (f"{request_id}:result", "Failure", None) == (
        line["key"],
        line["status"],
        line["invalid"],
    )


def test_platform_tasks_are_fetched_once_they_are_done(place: Place, simulator: Outscraper) -> None:
    ids = [simulator.create_task() for _ in range(120)]
    for task_id in ids[:-1]:
        simulator.finish(task_id, "Failure" if task_id == ids[0] else "Success")
    simulator.clock.advance(2 * HOUR)
    young = simulator.create_task()
    simulator.finish(young)
    summary = place.sweep(sweep_of())
    assert ({"repaired": 119}, 1) == (summary.outcomes, summary.young)
    lines = place.lines(kind="result")
    assert set(ids[:-1]) == set(lines)
    assert simulator.task(ids[1]) == body_of(lines[ids[1]])


def test_failed_webhook_calls_are_an_alarm(place: Place, simulator: Outscraper, door: Sink) -> None:
    request_id = simulator.submit("bars", webhook=webhook(door))
    simulator.finish(request_id)
    simulator.wait_idle()
    simulator.clock.advance(2 * HOUR)
    summary = place.sweep(sweep_of())
    assert {"repaired": 1} == summary.outcomes
    assert summary.failed
    (alarm,) = summary.alarms
    assert alarm.startswith("1 webhook calls failed in 24 hours, the last at ")
    assert alarm.endswith(": Status code: 503")


def test_an_unknown_request_is_lost_once_and_does_not_stop_the_others(
    place: Place, simulator: Outscraper
) -> None:
    (request_id,) = finished(simulator)
    simulator.clock.advance(2 * HOUR)
    arrived(place, simulator, [f"made-up-{number}" for number in range(30)])
    sweep = sweep_of()
    assert {"repaired": 1, "lost": 30} == place.sweep(sweep).outcomes
    assert request_id in {line["task_id"] for line in read_lines(place.archive)}
    assert {} == place.sweep(sweep).outcomes
    assert [] == place.unfinished()


def test_requests_that_fail_in_every_sweep_do_not_hold_up_new_ones(
    place: Place, simulator: Outscraper, door: Sink
) -> None:
    failing = finished(simulator, 20)
    simulator.settings.refused = set(failing)
    request_id = simulator.submit("bars", webhook=webhook(door))
    simulator.finish(request_id)
    simulator.wait_idle()
    simulator.clock.advance(2 * HOUR)
    sweep = sweep_of()
    with contextlib.suppress(ProviderError):  # where nothing else was answered in between
        place.sweep(sweep)
    for _ in range(3):
        (new,) = finished(simulator)
        alarms = place.sweep(sweep).alarms
        assert [True, True] == [
            alarms[0].startswith("tasks of earlier sweeps: 20 tasks failed in a row"),
            alarms[1].startswith("1 webhook calls failed in 24 hours"),
        ]
        assert new in place.lines(origin="sweep")
        # On one list, however often it failed.
        assert [1] * 20 == [place.unfinished().count(one) for one in failing]
    simulator.settings.refused.clear()
    place.sweep(sweep)
    assert set(failing) < set(place.lines(origin="sweep"))
    place.sweep(sweep)
    assert [] == place.unfinished()


def test_a_provider_that_refuses_every_new_request_is_left_alone(
    place: Place, simulator: Outscraper, door: Sink
) -> None:
    failing = [simulator.submit("bars", webhook=webhook(door)), *finished(simulator, 60)]
    simulator.finish(failing[0])
    simulator.wait_idle()
    simulator.settings.refused = set(failing)
    with pytest.raises(ProviderError, match="tasks failed in a row"):
        place.sweep(sweep_of())
    assert simulator.ledger.count("request") < 40
    # The failed webhook calls are told all the same.
    (report,) = place.reports()
    assert report[-1]["alarms"][0].startswith("1 webhook calls failed in 24 hours")
    assert sorted(failing) == sorted(place.unfinished())


def test_a_dry_run_fetches_nothing(place: Place, simulator: Outscraper) -> None:
    finished(simulator, 2)
    simulator.clock.advance(2 * HOUR)
    assert {"wanted": 2} == place.sweep(sweep_of(), dry_run=True).outcomes
    assert 0 == simulator.ledger.count("request")
    assert [] == place.archive.keys()

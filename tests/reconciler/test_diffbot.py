"""Sweeps of Diffbot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from receiver.errors import ProviderError
from receiver.providers import PROVIDERS
from receiver.reconciler import DiffbotSweep
from tests.reconciler.place import HOUR, TOKEN, Place, body_of, own_url, past
from tests.tools.deliveries import envelope_of, head_of
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.faults import Fault
from tests.tools.simulators.sink import Sink
from tests.tools.support.oracle import read_lines


@pytest.fixture
def simulator() -> Iterator[Diffbot]:
    with Diffbot(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: Diffbot) -> Place:
    return Place(tmp_path, "diffbot", simulator)


@pytest.fixture
def door() -> Iterator[Sink]:
    with Sink() as running:
        running.status = 503
        yield running


SWEEP = DiffbotSweep(own_urls=[own_url("diffbot", "notification")], grace_seconds=600.0)


def webhook(door: Sink) -> str:
    return f"{door.url}/diffbot/notification/{TOKEN}"


def complete(simulator: Diffbot, door: Sink, *names: str, **parameters: str) -> None:
    for name in names:
        fields = {"seeds": "https://example.org", "notifyWebhook": webhook(door)} | parameters
        simulator.create(name, kind="crawl", token=None, **fields)
        simulator.complete(name)
    simulator.wait_idle()


def key_of_notification(simulator: Diffbot, name: str, number: int = -1) -> str | None:
    """Return the key that the archive gives a notification as the engine sent it."""
    body = simulator.notifications(name)[number].body
    head = head_of(provider="diffbot", kind="notification", headers=[("x-crawl-name", name)])
    return PROVIDERS["diffbot"].recognise(envelope_of(body, head), body, whole=True).key


def test_a_lost_notification_is_written_with_the_key_of_the_real_one(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    complete(simulator, door, "shop", "news")
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 2} == place.sweep(SWEEP).outcomes
    lines = place.lines(origin="sweep", kind="notification", provider="diffbot")
    assert {"shop", "news"} == set(lines)
    for name, line in lines.items():
        assert key_of_notification(simulator, name) == line["key"]
        assert simulator.job(name) | {"currentTime": 0, "currentTimeUTC": 0} == body_of(line) | {
            "currentTime": 0,
            "currentTimeUTC": 0,
        }
        assert ("9", None) == (line["status"], line["invalid"])
    for repair in place.repairs():
        assert "sent, not received" == repair.why
        assert repair.missing_seconds == pytest.approx(2 * HOUR, abs=60)
    summary = place.sweep(SWEEP)
    assert (2, {}) == (summary.held, summary.outcomes)
    assert 2 == len(place.lines())


def test_a_notification_that_came_is_not_written_again(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    complete(simulator, door, "shop")
    simulator.clock.advance(2 * HOUR)
    place.arrived(
        "notification", ["shop"], bodies={"shop": simulator.notifications("shop")[0].body}
    )
    place.ship()
    summary = place.sweep(SWEEP)
    assert (1, {}) == (summary.held, summary.outcomes)


def test_the_report_says_whether_a_notification_was_sent(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    simulator.create("shop", seeds="https://example.org", notifyWebhook=webhook(door))
    simulator.set_status("shop", 11)
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 1} == place.sweep(SWEEP).outcomes
    assert ["not sent"] == [repair.why for repair in place.repairs()]


def test_each_round_of_a_job_has_a_notification(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    complete(simulator, door, "daily", repeat="1")
    simulator.clock.advance(HOUR)
    assert {"repaired": 1} == place.sweep(SWEEP).outcomes
    simulator.start_round("daily")
    simulator.complete("daily")
    simulator.wait_idle()
    simulator.clock.advance(HOUR)
    assert {"repaired": 1} == place.sweep(SWEEP).outcomes
    keys = {line["key"] for line in read_lines(place.archive)}
    assert {key_of_notification(simulator, "daily", number) for number in (0, 1)} == keys
    assert 2 == len(keys)


def test_a_new_job_of_the_same_name_has_another_notification(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    complete(simulator, door, "shop")
    simulator.clock.advance(HOUR)
    place.sweep(SWEEP)
    with_token = {"name": "shop", "token": "token", "delete": "1"}
    assert 200 == httpx2.get(f"{simulator.url}/v3/crawl", params=with_token).status_code
    complete(simulator, door, "shop")
    simulator.clock.advance(HOUR)
    assert {"repaired": 1} == place.sweep(SWEEP).outcomes
    assert 2 == len({line["key"] for line in read_lines(place.archive)})


def test_jobs_of_others_and_jobs_that_run_are_left_alone(
    place: Place, simulator: Diffbot, door: Sink
) -> None:
    complete(simulator, door, "theirs", notifyWebhook=f"{door.url}/elsewhere")
    complete(simulator, door, "token-of-others", notifyWebhook=f"{webhook(door)[:-4]}xxxx")
    complete(simulator, door, "silent", notifyWebhook="")
    simulator.create("running", seeds="https://example.org", notifyWebhook=webhook(door))
    simulator.clock.advance(2 * HOUR)
    summary = place.sweep(SWEEP)
    assert (4, 3, {}) == (summary.listed, summary.foreign, summary.outcomes)


def test_a_young_notification_may_still_come(place: Place, simulator: Diffbot, door: Sink) -> None:
    simulator.clock.advance(2 * HOUR)
    complete(simulator, door, "shop")
    summary = place.sweep(SWEEP)
    assert (1, {}) == (summary.young, summary.outcomes)


def test_names_are_of_any_alphabet(place: Place, simulator: Diffbot, door: Sink) -> None:
    names = ["\u043c\u0430\u0433\u0430\u0437\u0438\u043d", "caf\u00e9", "a b&c=d/e"]
    complete(simulator, door, *names)
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 3} == place.sweep(SWEEP).outcomes
    assert set(names) == set(place.lines())


def test_bulk_jobs_are_in_the_same_list(place: Place, simulator: Diffbot, door: Sink) -> None:
    simulator.create(
        "pages", kind="bulk", urls="https://example.org/1", notifyWebhook=webhook(door)
    )
    simulator.complete("pages")
    simulator.wait_idle()
    simulator.clock.advance(2 * HOUR)
    assert {"repaired": 1} == place.sweep(SWEEP).outcomes
    assert key_of_notification(simulator, "pages") == place.lines()["pages"]["key"]


@pytest.mark.parametrize(
    "strange",
    [
        {"roundsCompleted": "1"},
        {"jobCompletionTimeUTC": 1786703600.5},
        {"jobCreationTimeUTC": "1786700000"},
        {"jobStatus": "done"},
        {"jobStatus": None},
        {"jobStatus": {"status": "9"}},
        {"jobStatus": {"status": [9]}},
        {"objectsFound": orjson.Fragment(b"1" * 30)},
    ],
)
def test_an_undocumented_job_is_an_alarm_and_does_not_hide_others(
    place: Place, simulator: Diffbot, door: Sink, strange: dict[str, Any]
) -> None:
    complete(simulator, door, "odd", "shop")
    complete(simulator, door, "theirs", notifyWebhook=f"{door.url}/elsewhere")
    simulator.clock.advance(2 * HOUR)
    simulator.settings.forge_job = lambda job: job if job["name"] == "shop" else job | strange
    summary = place.sweep(SWEEP)
    assert {"repaired": 1} == summary.outcomes
    (alarm,) = summary.alarms
    assert alarm.startswith("1 jobs were not understood, such as odd")
    assert (0, 1) == (summary.held, summary.foreign)
    simulator.settings.forge_job = None
    summary = place.sweep(SWEEP)
    assert ((), {"odd": "repaired"}) == (summary.alarms, place.outcomes())


def test_a_dry_run_writes_nothing(place: Place, simulator: Diffbot, door: Sink) -> None:
    complete(simulator, door, "shop")
    simulator.clock.advance(2 * HOUR)
    assert {"wanted": 1} == place.sweep(SWEEP, dry_run=True).outcomes
    assert [] == place.archive.keys()


def test_a_sweep_that_cannot_list_says_so_in_its_report(place: Place, simulator: Diffbot) -> None:
    simulator.fail(Fault.HTML)
    with pytest.raises(ProviderError, match="not JSON"):
        place.sweep(SWEEP)
    (report,) = place.reports()
    assert ["diffbot answered HTTP 200 with something that is not JSON"] == report[-1]["alarms"]

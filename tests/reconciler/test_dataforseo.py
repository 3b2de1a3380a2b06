"""Sweeps of DataForSEO and DataForApps."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.errors import ProviderError
from tests.reconciler.dataforseo import ORGANIC, PATH, age, ready, sweep_of
from tests.reconciler.place import DAY, HOUR, TOKEN, Place, own_url, past, result_of
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.sink import Sink

pytestmark = pytest.mark.integration

APP_INFO = "app_data/google/app_info"


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    """A provider whose clock is two hours behind, until `age` is called."""
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: DataForSeo) -> Place:
    return Place(tmp_path, "dataforseo", simulator)


@pytest.fixture
def door() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def posted(door: Sink, provider: str = "dataforseo", kind: str = "postback") -> dict[str, str]:
    return {f"{kind}_url": f"{door.url}/{provider}/{kind}/{TOKEN}?id=$id&tag=$tag", "tag": "ours"}


def post(simulator: DataForSeo, door: Sink, count: int = 1, **fields: str) -> list[str]:
    """Post tasks with a postback, and let them be done and their postbacks be tried."""
    fields = posted(door) | {"postback_data": "advanced", "keyword": "hose"} | fields
    ids = simulator.post(ORGANIC, *([fields] * count))
    simulator.finish(ids)
    simulator.wait_idle()
    return ids


def told(place: Place) -> dict[str, str | None]:
    return {repair.task_id: repair.why for repair in place.repairs()}


# What is fetched.


@pytest.mark.parametrize("brand", ["dataforseo", "dataforapps"])
def test_failed_postbacks_are_repaired_and_the_report_says_what_the_provider_saw(
    tmp_path: Path, door: Sink, brand: Any
) -> None:
    door.status = 503
    with DataForSeo(brand, clock=past(2 * HOUR)) as simulator:
        place = Place(tmp_path, brand, simulator)
        fields = posted(door, brand) | {"postback_data": "advanced", "app_id": "x"}
        ids = simulator.post(APP_INFO, *([fields] * 5))
        simulator.finish(ids)
        simulator.wait_idle()
        age(simulator)
        summary = place.sweep(sweep_of(brand, families=["app_data"]))
        assert {"repaired": 5} == summary.outcomes
        assert ((), False) == (summary.alarms, summary.failed)
        lines = place.lines(origin="sweep", kind="result", provider=brand)
        assert set(ids) == set(lines)
        for task_id in ids:
            assert simulator.result(task_id) == result_of(lines[task_id])
            assert f"{task_id}:advanced" == lines[task_id]["key"]
            assert ("ours", "20000", None) == tuple(
                lines[task_id][name] for name in ("tag", "status", "invalid")
            )
        assert [True] * 5 == [
            str(why).startswith("postback_url: HTTP 503 after ") for why in told(place).values()
        ]
        assert [] == simulator.uncollected()
        assert {} == place.sweep(sweep_of(brand, families=["app_data"])).outcomes
        assert [] == place.unfinished()


def test_the_report_has_a_line_for_each_task_and_a_summary_and_no_token(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    door.status = 503
    ids = post(simulator, door, 2)
    foreign = simulator.add_ready(ORGANIC, 3, tag="theirs")
    age(simulator)
    place.sweep(sweep_of(tags="ours"))
    place.sweep(sweep_of(tags="ours"))
    first, second = place.reports()
    *tasks, summary = first
    assert set(ids) == {task["task_id"] for task in tasks}
    for task in tasks:
        assert ("task", "dataforseo", "repaired", "ours") == tuple(
            task[name] for name in ("type", "provider", "outcome", "tag")
        )
        assert task["how"] == f"/v3/{ORGANIC}/task_get/advanced/{task['task_id']}"
        assert 2 * HOUR <= task["missing_seconds"] < 2 * HOUR + 120
    assert {
        "type": "summary",
        "provider": "dataforseo",
        "instance": "here",
        "dry_run": False,
        "listed": 5,
        "foreign": len(foreign),
        "young": 0,
        "held": 0,
        "outcomes": {"repaired": 2},
        "alarms": [],
        "generation": 1,
    }.items() <= summary.items()
    assert summary["began_at"] < summary["ended_at"]
    assert 2 == second[-1]["generation"]
    for key in place.archive.keys("sweeps/"):
        assert TOKEN.encode() not in place.archive.get(key)


@pytest.mark.parametrize("datatype", ["regular", "advanced", "html"])
def test_the_datatype_of_the_postback_is_fetched(
    place: Place, simulator: DataForSeo, door: Sink, datatype: str
) -> None:
    door.status = 500
    (task_id,) = post(simulator, door, postback_data=datatype)
    age(simulator)
    place.sweep(sweep_of())
    line = place.lines()[task_id]
    assert f"{task_id}:{datatype}" == line["key"]
    assert line["target"] == f"/v3/{ORGANIC}/task_get/{datatype}/{task_id}"
    assert simulator.result(task_id, datatype) == result_of(line)


def test_another_datatype_is_fetched_if_that_of_the_postback_has_expired(
    tmp_path: Path, door: Sink
) -> None:
    door.status = 500
    with DataForSeo(clock=past(8 * DAY)) as simulator:
        simulator.settings.ready_seconds = 30 * DAY
        place = Place(tmp_path, "dataforseo", simulator)
        (task_id,) = post(simulator, door, postback_data="html")
        age(simulator, 8 * DAY)
        assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
        assert f"{task_id}:advanced" == place.lines()[task_id]["key"]


@pytest.mark.parametrize("status", [40101, 40102, 40103])
def test_a_task_that_ended_without_data_is_fetched_too(
    place: Place, simulator: DataForSeo, door: Sink, status: int
) -> None:
    door.status = 500
    ids = simulator.post(ORGANIC, posted(door) | {"postback_data": "regular"})
    simulator.finish(ids, status=status)
    simulator.wait_idle()
    age(simulator)
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    line = place.lines()[ids[0]]
    assert (str(status), None) == (line["status"], result_of(line))


def test_a_crawl_is_fetched_from_its_summary(place: Place, simulator: DataForSeo) -> None:
    (task_id,) = simulator.add_ready("on_page", target="example.org")
    age(simulator)
    assert {"repaired": 1} == place.sweep(sweep_of(families=["on_page"])).outcomes
    assert f"{task_id}:summary" == place.lines()[task_id]["key"]


# What is left alone.


def test_tags_of_others_are_never_collected(place: Place, simulator: DataForSeo) -> None:
    ours = simulator.add_ready(ORGANIC, 2, tag="acme|run-1")
    theirs = simulator.add_ready(ORGANIC, 3, tag="other") + simulator.add_ready(ORGANIC, 1)
    age(simulator)
    summary = place.sweep(sweep_of(tags="acme|*"))
    assert (4, {"repaired": 2}) == (summary.foreign, summary.outcomes)
    assert set(ours) == set(place.lines())
    assert set(theirs) == set(simulator.uncollected())


def test_young_tasks_are_left_for_a_while(place: Place, simulator: DataForSeo) -> None:
    old = simulator.add_ready(ORGANIC, 2)
    age(simulator)
    young = simulator.add_ready(ORGANIC, 3)
    summary = place.sweep(sweep_of())
    assert (3, {"repaired": 2}) == (summary.young, summary.outcomes)
    assert set(old) == set(place.lines())
    assert young == simulator.uncollected()
    assert {"repaired": 3} == place.sweep(sweep_of(grace_seconds=0.0)).outcomes


@pytest.mark.parametrize("state", ["webhook_delay", "send_delay"])
def test_tasks_get_more_time_while_the_provider_reports_late_webhooks(
    place: Place, simulator: DataForSeo, state: str
) -> None:
    simulator.add_ready(ORGANIC, 2)
    age(simulator)
    simulator.status.set("serp", state, endpoint="postback/pingback")
    summary = place.sweep(sweep_of(grace_seconds=1800.0))
    assert (2, {}) == (summary.young, summary.outcomes)
    simulator.status.set("serp", "ok", endpoint="postback/pingback")
    assert {"repaired": 2} == place.sweep(sweep_of(grace_seconds=1800.0)).outcomes


@pytest.mark.parametrize("where", ["archive", "spool"])
@pytest.mark.parametrize("kind", ["postback", "result"])
def test_a_result_that_is_held_is_not_fetched_again(
    place: Place, simulator: DataForSeo, where: str, kind: str
) -> None:
    held = simulator.add_ready(ORGANIC, 3)
    missing = simulator.add_ready(ORGANIC, 2)
    age(simulator)
    if kind == "postback":
        place.arrived("postback", held, bodies={task: postback(task) for task in held})
    else:
        sink = place.new_run().sink
        for task_id in held:
            sink.put(
                provider="dataforseo",
                kind="result",
                target=f"/v3/{ORGANIC}/task_get/advanced/{task_id}",
                headers=[],
                body=postback(task_id),
            )
        sink.close()
    if where == "archive":
        place.ship()
    summary = place.sweep(sweep_of())
    assert (3, {"repaired": 2}) == (summary.held, summary.outcomes)
    assert 2 == simulator.ledger.count("task_get")
    assert set(held + missing) == set(place.lines())


def postback(task_id: str) -> bytes:
    task = {"id": task_id, "status_code": 20000, "data": {"tag": "ours"}, "result": []}
    return orjson.dumps({"status_code": 20000, "tasks": [task]})


@pytest.mark.parametrize("where", ["archive", "spool"])
def test_a_task_with_a_pingback_is_collected_not_repaired(
    place: Place, simulator: DataForSeo, where: str
) -> None:
    pinged = simulator.add_ready(ORGANIC, 3)
    lost = simulator.add_ready(ORGANIC, 1)
    age(simulator)
    place.arrived("pingback", pinged)
    if where == "archive":
        place.ship()
    assert {"collected": 3, "repaired": 1} == place.sweep(sweep_of()).outcomes
    assert dict.fromkeys(pinged, "collected") | dict.fromkeys(lost, "repaired") == place.outcomes()
    assert set(pinged + lost) == set(place.lines(origin="sweep"))


def test_a_dry_run_says_what_it_would_fetch_and_touches_nothing(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    door.status = 503
    asked = post(simulator, door, 2)
    ids = simulator.add_ready(ORGANIC, 4)
    age(simulator)
    summary = place.sweep(sweep_of(), dry_run=True)
    assert (True, {"wanted": 6}) == (summary.dry_run, summary.outcomes)
    assert dict.fromkeys(ids + asked, "wanted") == place.outcomes()
    assert ids == simulator.uncollected()
    assert 0 == simulator.ledger.count("task_get") + simulator.ledger.count("webhook_resend")
    assert [] == place.archive.keys()


# What goes wrong.


def test_a_task_that_is_not_finished_is_tried_again(place: Place, simulator: DataForSeo) -> None:
    ids = simulator.add_ready(ORGANIC, 3)
    age(simulator)
    done_at = simulator.task(ids[0]).done_at
    simulator.task(ids[0]).done_at = None
    assert {"pending": 1, "repaired": 2} == place.sweep(sweep_of()).outcomes
    simulator.task(ids[0]).done_at = done_at
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert set(ids) == set(place.lines())


def test_an_expired_result_is_reported_as_lost_once(tmp_path: Path) -> None:
    with DataForSeo(clock=past(31 * DAY)) as simulator:
        simulator.settings.ready_seconds = 60 * DAY
        place = Place(tmp_path, "dataforseo", simulator)
        (lost,) = simulator.add_ready(ORGANIC, 1)
        age(simulator, 31 * DAY - 2 * HOUR)
        (found,) = simulator.add_ready(ORGANIC, 1)
        age(simulator)
        sweep = sweep_of()
        summary = place.sweep(sweep)
        assert ({"lost": 1, "repaired": 1}, True) == (summary.outcomes, summary.failed)
        assert {lost: "lost", found: "repaired"} == place.outcomes()
        # Still listed, and no longer worth a word.
        assert [lost] == simulator.uncollected()
        summary = place.sweep(sweep)
        assert ({}, False) == (summary.outcomes, summary.failed)
        assert [] == place.unfinished()


def test_the_oldest_tasks_go_first(place: Place, simulator: DataForSeo) -> None:
    newer = simulator.add_ready(ORGANIC, 3)
    for task_id in newer:
        simulator.task(task_id).posted_at += HOUR
    older = simulator.add_ready(ORGANIC, 3)
    age(simulator)
    place.sweep(sweep_of(), tasks_max=3)
    assert set(older) == set(place.lines())
    assert newer == simulator.uncollected()


def test_a_sweep_is_bounded_and_the_next_goes_on(place: Place, simulator: DataForSeo) -> None:
    simulator.add_ready(ORGANIC, 1100)
    age(simulator)
    summary = place.sweep(sweep_of(), tasks_max=500)
    assert ({"repaired": 500}, ()) == (summary.outcomes, summary.alarms)
    assert {"repaired": 600} == place.sweep(sweep_of()).outcomes
    assert 1100 == len(place.lines())


def test_a_family_that_is_refused_does_not_stop_the_others(
    place: Place, simulator: DataForSeo
) -> None:
    simulator.add_ready(ORGANIC, 2)
    age(simulator)
    summary = place.sweep(sweep_of(families=["no_such_api", "serp"]))
    assert {"repaired": 2} == summary.outcomes
    assert summary.failed
    assert any("no_such_api: dataforseo: the API answered 40" in alarm for alarm in summary.alarms)


def test_an_api_all_of_whose_families_are_refused_is_an_error(place: Place) -> None:
    with pytest.raises(ProviderError):
        place.sweep(sweep_of(families=["no_such_api", "no_such_either"]))


def test_errors_of_a_day_are_read_where_a_week_is_refused(tmp_path: Path, door: Sink) -> None:
    door.status = 502
    with DataForSeo("dataforapps", clock=past(2 * HOUR)) as simulator:
        assert simulator.settings.errors_window_strict
        place = Place(tmp_path, "dataforapps", simulator)
        fields = posted(door, "dataforapps") | {"postback_data": "advanced", "app_id": "x"}
        ids = simulator.post(APP_INFO, fields)
        simulator.finish(ids)
        simulator.wait_idle()
        age(simulator)
        summary = place.sweep(sweep_of("dataforapps", families=["app_data"]))
        assert ({"repaired": 1}, ()) == (summary.outcomes, summary.alarms)
        assert "HTTP 502" in str(told(place)[ids[0]])


# Lists of errors.


def test_a_failed_delivery_that_no_list_has_is_requested_again_once(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    door.status = 503
    ids = post(simulator, door, 150)
    age(simulator)
    door.status = 200
    sweep = sweep_of()
    assert {"resent": 150} == place.sweep(sweep).outcomes
    assert 2 == simulator.ledger.count("webhook_resend")
    simulator.wait_idle()
    assert 300 == len(door.arrivals())
    assert {} == place.sweep(sweep).outcomes
    assert 2 == simulator.ledger.count("webhook_resend")
    assert set(ids) == {one.task.id for one in simulator.deliveries() if one.resent}


def test_a_failed_delivery_that_came_later_is_not_requested_again(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    door.status = 503
    ids = post(simulator, door, 3)
    age(simulator)
    place.arrived("postback", ids, bodies={task: postback(task) for task in ids})
    place.ship()
    assert {} == place.sweep(sweep_of()).outcomes


def test_a_failed_postback_is_missing_even_if_a_pingback_of_its_task_came(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    door.status = 503
    both = posted(door, kind="pingback")
    ids = post(simulator, door, 2, **both)
    age(simulator)
    place.arrived("pingback", ids)
    place.ship()
    assert {"resent": 2} == place.sweep(sweep_of()).outcomes
    assert all(str(why).startswith("postback_url:") for why in told(place).values())


def test_a_failed_pingback_whose_result_is_held_is_not_missing(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    door.status = 503
    ids = simulator.post(ORGANIC, posted(door, kind="pingback"))
    simulator.finish(ids)
    simulator.wait_idle()
    age(simulator)
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert str(told(place)[ids[0]]).startswith("pingback_url: HTTP 503")
    assert {} == place.sweep(sweep_of()).outcomes
    assert 0 == simulator.ledger.count("webhook_resend")


def test_failed_deliveries_to_other_urls_are_ignored(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    door.status = 503
    url = f"{door.url}/dataforseo/postback/another-token?id=$id&tag=$tag"
    post(simulator, door, 2, postback_url=url)
    age(simulator)
    assert {} == place.sweep(sweep_of()).outcomes


def test_an_expired_result_that_no_list_has_is_lost_once(
    place: Place, simulator: DataForSeo, door: Sink
) -> None:
    simulator.settings.failed_postbacks_listed = False
    simulator.settings.result_seconds = HOUR
    door.status = 503
    post(simulator, door, 2)
    age(simulator)
    sweep = sweep_of()
    assert {"lost": 2} == place.sweep(sweep).outcomes
    sweep.resent.clear()  # as if the hour had passed
    assert {} == place.sweep(sweep).outcomes


# Full lists.


def test_a_list_full_of_foreign_tasks_is_an_alarm(place: Place, simulator: DataForSeo) -> None:
    simulator.add_ready(ORGANIC, 1000, tag="theirs")
    (hidden,) = simulator.add_ready(ORGANIC, 1, tag="ours")
    age(simulator)
    summary = place.sweep(sweep_of(tags="ours"))
    assert (("serp: the list is full and none of its tasks is ours",), True) == (
        summary.alarms,
        summary.failed,
    )
    assert hidden in simulator.uncollected()
    assert 0 == simulator.ledger.count("task_get")


def test_a_list_full_of_young_tasks_is_not_an_alarm(place: Place, simulator: DataForSeo) -> None:
    age(simulator)
    simulator.add_ready(ORGANIC, 1000)
    summary = place.sweep(sweep_of())
    assert (1000, ()) == (summary.young, summary.alarms)


def test_a_list_full_of_held_tasks_is_cleared_for_those_behind_them(
    place: Place, simulator: DataForSeo
) -> None:
    held = simulator.add_ready(ORGANIC, 1000)
    behind = simulator.add_ready(ORGANIC, 5)
    age(simulator)
    place.arrived("postback", held, bodies={task: postback(task) for task in held})
    place.ship()
    summary = place.sweep(sweep_of())
    assert ({"collected": 1000, "repaired": 5}, ()) == (summary.outcomes, summary.alarms)
    assert [] == simulator.uncollected()
    assert set(behind) <= set(place.lines(origin="sweep"))


# An hour, and more.


def test_no_limit_is_exceeded_and_nothing_is_left_behind(
    place: Place, simulator: DataForSeo
) -> None:
    """Five thousand finished tasks; the pace of calls is that of any number of them."""
    ids = [
        *simulator.add_ready(ORGANIC, 4000),
        *simulator.add_ready(APP_INFO, 1000),
    ]
    age(simulator)
    simulator.latency_seconds = 0.002
    began = simulator.clock.time()
    summary = place.sweep(sweep_of(families=["serp", "app_data"]))
    minutes = (simulator.clock.time() - began) / 60
    print(f"{len(ids)} tasks in {minutes:.1f} simulated minutes")
    assert {"repaired": len(ids)} == summary.outcomes
    ledger = simulator.ledger
    for calendar in (False, True):
        assert 20 >= ledger.maximum_per_minute("tasks_ready", calendar=calendar)
        assert 10 >= ledger.maximum_per_minute("status", calendar=calendar)
        assert 2000 >= ledger.maximum_per_minute(calendar=calendar)
    assert 1 < ledger.simultaneous_max() <= 30
    assert 0 == ledger.count(code=40202) + ledger.count(code=40209)
    assert len(ids) == ledger.count("task_get")
    assert [] == simulator.uncollected()
    assert set(ids) == set(place.lines())


# What came, and is not as it should be.


@pytest.mark.parametrize(
    ("body", "invalid"),
    [
        (b"\x1f\x8b\x08\x00cut", "not_gzip"),
        (b"", "empty"),
        (b'{"tasks": [{"id"', "not_json"),
        (b"[]", "unknown_kind"),
        (b'{"status_code": 50000, "tasks": null}', "no_task"),
    ],
)
def test_a_postback_without_a_result_does_not_count_as_held(
    place: Place, simulator: DataForSeo, body: bytes, invalid: str
) -> None:
    (task_id,) = ready(simulator, 1)
    place.arrived("postback", [task_id], bodies={task_id: body})
    place.ship()
    assert invalid == place.lines(kind="postback")[task_id]["invalid"]
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert [task_id] == list(place.lines(kind="result"))


def test_a_postback_that_inflates_too_far_counts_as_held(
    place: Place, simulator: DataForSeo
) -> None:
    (task_id,) = ready(simulator, 1)
    place.arrived("postback", [task_id], bodies={task_id: bomb()})
    place.ship()
    assert "inflates_too_far" == place.lines()[task_id]["invalid"]
    summary = place.sweep(sweep_of())
    assert (1, {}) == (summary.held, summary.outcomes)


def bomb() -> bytes:
    """Return gzip of more than an archive inflates."""
    return gzip.compress(b" " * (65 << 20), compresslevel=1)


def test_a_postback_without_a_result_is_requested_again(
    place: Place, simulator: DataForSeo
) -> None:
    simulator.settings.failed_postbacks_listed = False
    with Sink() as door:
        door.status = 503
        url = f"{door.url}{own_url('dataforseo', 'postback')}?id=$id"
        task = {"keyword": "hose", "postback_url": url, "postback_data": "advanced"}
        (task_id,) = simulator.post(ORGANIC, task)
        simulator.finish([task_id])
        simulator.wait_idle()
        simulator.clock.advance(2 * HOUR)
        place.arrived("postback", [task_id])
        place.ship()
        assert {"resent": 1} == place.sweep(sweep_of()).outcomes
        simulator.wait_idle()


@pytest.mark.parametrize("results", [2, 3])
def test_fetched_results_that_are_none_count_as_held_once_there_are_three(
    place: Place, simulator: DataForSeo, results: int
) -> None:
    (task_id,) = ready(simulator, 1)
    for _ in range(results):
        sink = place.new_run().sink
        target = PATH + task_id
        sink.put(provider="dataforseo", kind="result", target=target, headers=[], body=b"<a>")
        sink.close()
        place.ship()
    summary = place.sweep(sweep_of())
    if results < 3:
        assert (0, {"repaired": 1}, ()) == (summary.held, summary.outcomes, summary.alarms)
    else:
        assert (1, {}) == (summary.held, summary.outcomes)
        assert summary.alarms[0].startswith(f"{task_id} was fetched 3 times and is given up")


def test_rows_of_an_unknown_form_are_an_alarm(place: Place, simulator: DataForSeo) -> None:
    ready(simulator, 2, tag="ours")
    ready(simulator, 3, tag="theirs")
    simulator.settings.forge_endpoint = lambda path: f"https://elsewhere.example{path}"
    summary = place.sweep(sweep_of(tags="ours"))
    assert ("serp: 2 rows of tasks_ready were not understood",) == summary.alarms
    assert summary.failed
    assert {} == summary.outcomes
    # Written in another way, they are.
    simulator.settings.forge_endpoint = lambda path: f"https://api.dataforseo.com{path}/"
    summary = place.sweep(sweep_of(tags="ours"))
    assert ((), {"repaired": 2}) == (summary.alarms, summary.outcomes)


def test_requests_to_resend_are_remembered_for_an_hour(place: Place, simulator: DataForSeo) -> None:
    sweep = sweep_of()
    for name, minutes in (("old", 61), ("new", 59)):
        sweep.resent[name] = datetime.now(UTC) - timedelta(minutes=minutes)
    place.sweep(sweep)
    assert ["new"] == list(sweep.resent)

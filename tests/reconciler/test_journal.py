"""The journal: tasks that were recorded and not fetched are fetched by a later sweep."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from receiver.clock import new_id, now_us
from receiver.errors import ProviderError
from receiver.reconciler.journal import Journal, MissingTask
from tests.reconciler.dataforseo import ORGANIC, PATH, age, ready, sweep_of
from tests.reconciler.place import DAY, HOUR, Place, past
from tests.tools.simulators.dataforseo import DataForSeo


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    """A provider whose clock is two hours behind, until `age` is called."""
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: DataForSeo) -> Place:
    return Place(tmp_path, "dataforseo", simulator)


def test_a_recorded_task_has_the_fields_that_every_version_reads(
    place: Place, simulator: DataForSeo
) -> None:
    (task_id,) = ready(simulator, 1, tag="ours")
    place.arrived("pingback", [task_id])
    place.sweep(sweep_of())
    (key,) = place.archive.keys("sweeps/unfinished/dataforseo/")
    (task,) = orjson.loads(place.archive.get(key))["tasks"]
    assert {
        "task_id": task_id,
        "path": PATH + task_id,
        "tag": "ours",
        "why": None,
        "endpoints": {
            name: PATH.replace("advanced", name) + task_id
            for name in ("regular", "advanced", "html")
        },
        "since_us": int(simulator.task(task_id).posted_at) * 1_000_000,
        "told": True,
    } == task


def test_a_task_whose_notification_came_is_collected_by_a_later_sweep(
    place: Place, simulator: DataForSeo
) -> None:
    (task_id,) = simulator.add_ready(ORGANIC, 1, listed=False)
    task = {"task_id": task_id, "path": PATH + task_id, "told": True}
    place.store.put(
        f"sweeps/unfinished/dataforseo/{new_id()}-0.json", orjson.dumps({"tasks": [task]})
    )
    assert {"collected": 1} == place.sweep(sweep_of()).outcomes


def test_a_task_in_the_journal_is_recorded_once(place: Place, simulator: DataForSeo) -> None:
    ids = ready(simulator, 25)
    for task_id in ids:
        simulator.task(task_id).ours = False  # answered with 40001, every time
    with pytest.raises(ProviderError):
        place.sweep(sweep_of())
    # Each is like a new process, which does not know what failed before.
    for _ in range(2):
        place.sweep(sweep_of())
    assert sorted(ids) == sorted(place.unfinished())
    assert 1 == len(place.archive.keys("sweeps/unfinished/"))


def test_a_task_in_two_lists_is_fetched_once(place: Place, simulator: DataForSeo) -> None:
    (task_id,) = ready(simulator, 1)
    for number in range(2):
        task = {"task_id": task_id, "path": PATH + task_id}
        key = f"sweeps/unfinished/dataforseo/{new_id()}-{number}.json"
        place.store.put(key, orjson.dumps({"tasks": [task]}))
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert {} == place.sweep(sweep_of()).outcomes
    assert [] == place.unfinished()


def test_other_objects_under_the_prefix_are_reported_once_and_left_alone(
    place: Place, simulator: DataForSeo
) -> None:
    ids = ready(simulator, 2)
    prefix = "sweeps/unfinished/dataforseo/"
    task = {"tasks": [{"task_id": "7", "path": f"{PATH}7"}]}
    foreign = [f"{prefix}{name}" for name in ("README.md", "copy.json", f"old/{new_id()}-0.json")]
    for key in foreign:
        place.store.put(key, orjson.dumps(task))
    sweep = sweep_of()
    summary = place.sweep(sweep)
    (alarm,) = summary.alarms
    assert all(key in alarm for key in foreign)
    assert dict.fromkeys(ids, "repaired") == place.outcomes()
    assert () == place.sweep(sweep).alarms
    assert sorted(foreign) == place.archive.keys(prefix)


@pytest.mark.integration
def test_a_lost_task_leaves_the_journal_even_if_others_fail_in_a_row(tmp_path: Path) -> None:
    with DataForSeo(clock=past(31 * DAY)) as simulator:
        simulator.settings.ready_seconds = 60 * DAY
        place = Place(tmp_path, "dataforseo", simulator)
        (lost,) = simulator.add_ready(ORGANIC, 1)
        simulator.clock.advance(31 * DAY - 2 * HOUR)
        failing = ready(simulator, 40)
        for task_id in failing:
            simulator.task(task_id).ours = False
        with pytest.raises(ProviderError, match="tasks failed in a row"):
            place.sweep(sweep_of())
        assert "lost" == place.outcomes()[lost]
        assert sorted(failing) == sorted(place.unfinished())


def test_a_recorded_task_that_is_lost_leaves_the_journal(
    place: Place, simulator: DataForSeo
) -> None:
    tasks = [{"task_id": name, "path": PATH + name} for name in simulator.add_ready(ORGANIC, 1)]
    tasks.append({"task_id": "gone", "path": f"{PATH}gone"})
    key = f"sweeps/unfinished/dataforseo/{new_id()}-0.json"
    place.store.put(key, orjson.dumps({"tasks": tasks}))
    assert {"repaired": 1, "lost": 1} == place.sweep(sweep_of()).outcomes
    assert [tasks[0]["task_id"]] == place.unfinished()


def test_no_list_holds_a_secret_even_if_an_earlier_one_did(place: Place) -> None:
    journal = Journal(
        place.store,
        provider="dataforseo",
        sweep=new_id(),
        hide=lambda text: text.replace("s3", "*"),
    )
    tasks = [MissingTask(task_id=name, path=PATH + name, why=f"/s3/{name}") for name in "ab"]
    journal.record(tasks)
    earlier = f"sweeps/unfinished/dataforseo/{new_id()}-0.json"
    journal.adopt(earlier, tasks)
    journal.drop({"a"})
    keys = place.archive.keys("sweeps/unfinished/")
    assert 2 == len(keys)
    for key in keys:
        assert [("b", "/*/b")] == [(task.task_id, task.why) for task in journal.read(key)]


@pytest.mark.parametrize(
    "content",
    [
        b'{"tasks": [{"task',
        b'{"tasks": [{"task_id": "x", "path": "/x", "since_us": %s}]}' % (b"9" * 400),
        b'{"tasks": [], "x": %s' % (b"[" * 5000),
    ],
)
def test_a_list_that_cannot_be_read_is_an_alarm_and_left_in_place(
    place: Place, simulator: DataForSeo, content: bytes
) -> None:
    simulator.add_ready(ORGANIC, 2)
    age(simulator)
    key = f"sweeps/unfinished/dataforseo/{new_id()}-0.json"
    place.store.put(key, content)
    summary = place.sweep(sweep_of())
    assert ({"repaired": 2}, (f"{key} cannot be read and is left in place",)) == (
        summary.outcomes,
        summary.alarms,
    )
    assert key in place.archive.keys()


def test_a_list_of_another_version_is_read(place: Place, simulator: DataForSeo) -> None:
    (task_id,) = simulator.add_ready(ORGANIC, 1, listed=False)
    path = f"/v3/{ORGANIC}/task_get/advanced/{task_id}"
    task = {"task_id": task_id, "path": path, "unheard_of": 7}
    key = f"sweeps/unfinished/dataforseo/{new_id()}-0.json"
    place.store.put(key, orjson.dumps({"tasks": [task], "version": 9}))
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    place.sweep(sweep_of())
    assert [] == place.unfinished()


def test_a_task_that_was_recorded_a_month_ago_is_lost(place: Place, simulator: DataForSeo) -> None:
    path = f"/v3/{ORGANIC}/task_get/advanced/7"
    key = f"sweeps/unfinished/dataforseo/{new_id(now_us() - int(32 * DAY * 1e6))}-0.json"
    place.store.put(key, orjson.dumps({"tasks": [{"task_id": "7", "path": path}]}))
    assert {"lost": 1} == place.sweep(sweep_of()).outcomes
    assert 0 == simulator.ledger.count("task_get")
    assert [] == place.unfinished()


def test_what_a_lost_machine_collected_is_fetched_by_another_instance(
    tmp_path: Path, simulator: DataForSeo
) -> None:
    here, there = (Place(tmp_path, "dataforseo", simulator, instance=n) for n in ("a", "b"))
    ids = simulator.add_ready(ORGANIC, 50)
    age(simulator)
    here.sweep(sweep_of())
    # This machine and its disk are lost before anything was shipped.
    for key in here.archive.keys():
        if key.startswith(("callbacks/", "index/")):
            here.store.delete(key)
    assert [] == simulator.uncollected()
    assert {"repaired": 50} == there.sweep(sweep_of()).outcomes
    assert set(ids) == set(there.lines())
    there.sweep(sweep_of())
    assert [] == there.unfinished()

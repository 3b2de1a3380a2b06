"""What a sweep makes of what is not as it should be: callbacks, lists, spools."""

import gzip
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.clock import new_id
from receiver.errors import ProviderError
from receiver.reconciler import DataForSeoSweep, Repair
from receiver.reconciler.memory import Memory
from receiver.reconciler.report import Report
from receiver.reconciler.waiting import Waiting
from receiver.spool import segment
from tests.reconciler.place import DAY, HOUR, Place, own_url, past
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.sink import Sink

pytestmark = pytest.mark.integration

ORGANIC = "serp/google/organic"
PATH = f"/v3/{ORGANIC}/task_get/advanced/"


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: DataForSeo) -> Place:
    return Place(tmp_path, "dataforseo", simulator)


def sweep_of(**options: Any) -> DataForSeoSweep:
    own_urls = [own_url("dataforseo", kind) for kind in ("postback", "pingback")]
    base: dict[str, Any] = {"families": ["serp"], "tags": "*", "grace_seconds": 600.0}
    return DataForSeoSweep(**base | {"own_urls": own_urls} | options)


def ready(simulator: DataForSeo, count: int, **options: Any) -> list[str]:
    """List finished tasks that are old enough to be missing."""
    ids = simulator.add_ready(ORGANIC, count, **options)
    simulator.clock.advance(2 * HOUR)
    return ids


# What came, and is no result.


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
def test_a_postback_without_a_result_hides_no_task(
    place: Place, simulator: DataForSeo, body: bytes, invalid: str
) -> None:
    (task_id,) = ready(simulator, 1)
    place.arrived("postback", [task_id], bodies={task_id: body})
    place.ship()
    assert invalid == place.lines(kind="postback")[task_id]["invalid"]
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert [task_id] == list(place.lines(kind="result"))


def test_a_postback_that_is_only_too_large_to_be_inflated_is_held(
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


def test_a_postback_without_a_result_is_asked_for_again(
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


def test_what_was_fetched_is_held_whatever_it_is(place: Place, simulator: DataForSeo) -> None:
    (task_id,) = ready(simulator, 1)
    sink = place.new_session().sink
    sink.put(provider="dataforseo", kind="result", target=PATH + task_id, headers=[], body=b"<a>")
    sink.close()
    place.ship()
    assert "not_json" == place.lines()[task_id]["invalid"]
    summary = place.sweep(sweep_of())
    assert (1, {}) == (summary.held, summary.outcomes)


# The spool.


def test_what_waits_is_found_by_task_kind_and_provider(tmp_path: Path) -> None:
    heads = [
        head_of(provider="dataforseo", kind="postback", target="/x?id=a"),
        head_of(provider="dataforseo", kind="pingback", target="/x?id=b"),
        head_of(provider="dataforseo", kind="result", target=f"{PATH}c"),
        head_of(provider="dataforapps", kind="postback", target="/x?id=d"),
    ]
    segment_file(tmp_path, [(head, b"{}") for head in heads])
    waiting = Waiting(tmp_path, "dataforseo")
    assert {"a", "c"} == waiting.among(["a", "b", "c", "d", "e"], ["postback", "result"])
    assert {"b"} == waiting.among(["a", "b"], ["pingback"])
    assert set() == waiting.among([], ["postback"])


def test_a_damaged_head_hides_no_other(place: Place, simulator: DataForSeo) -> None:
    held = ready(simulator, 3)
    targets = [f"/dataforseo/postback/***?id={task_id}" for task_id in held]
    path = segment_file(place.spool, [(head_of(target=target), b"{}") for target in targets])
    content = bytearray(path.read_bytes())
    content[segment.HEADER_BYTES] = 0  # of the first head
    second = content.index(held[1].encode())
    content[second : second + 2] = b"\xff\xff"
    path.write_bytes(content)
    summary = place.sweep(sweep_of())
    assert (1, {"repaired": 2}) == (summary.held, summary.outcomes)
    assert set(held[:2]) == set(place.lines(kind="result"))


def test_a_spool_that_is_full_takes_a_few_bytes_a_callback(tmp_path: Path) -> None:
    count = 20_000
    heads = (head_of(kind="pingback", target=f"/x?id=task-{n}") for n in range(count))
    segment_file(tmp_path, [(head, b"") for head in heads])
    waiting = Waiting(tmp_path, "dataforseo")
    tracemalloc.start()
    try:
        found = waiting.among([f"task-{count - 1}", "other"], ["pingback"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {f"task-{count - 1}"} == found
    assert peak < 40 * count


# Lists.


def test_rows_that_are_not_understood_are_told(place: Place, simulator: DataForSeo) -> None:
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


def test_what_is_on_a_list_of_what_is_unfinished_is_written_down_once(
    place: Place, simulator: DataForSeo
) -> None:
    ids = ready(simulator, 25)
    for task_id in ids:
        simulator.task(task_id).ours = False  # answered with 40001, every time
    with pytest.raises(ProviderError):
        place.sweep(sweep_of())
    # Each as by a process that knows nothing of what failed before.
    for _ in range(2):
        place.sweep(sweep_of())
    assert sorted(ids) == sorted(place.unfinished())
    assert 1 == len(place.archive.keys("sweeps/unfinished/"))


def test_a_task_on_two_lists_is_fetched_once(place: Place, simulator: DataForSeo) -> None:
    (task_id,) = ready(simulator, 1)
    for number in range(2):
        task = {"task_id": task_id, "path": PATH + task_id}
        key = f"sweeps/unfinished/dataforseo/{new_id()}-{number}.json"
        place.store.put(key, orjson.dumps({"tasks": [task]}))
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert {} == place.sweep(sweep_of()).outcomes
    assert [] == place.unfinished()


def test_what_is_no_list_of_what_is_unfinished_is_told_once_and_left_alone(
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


def test_what_is_lost_is_taken_off_its_list_though_others_fail_in_a_row(tmp_path: Path) -> None:
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


# Memory.


def test_memory_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.reconciler.memory._MOST", 3)
    memory = Memory()
    memory.too_large = {str(n): "too large" for n in range(5)}
    for n in range(5):
        memory.take(report({f"lost-{n}": "lost", f"failed-{n}": "failed"}))
    # Failed again, it is the newest; it has not failed any more, it is forgotten.
    memory.take(report({"failed-2": "failed", "failed-3": "repaired"}))
    assert ["lost-2", "lost-3", "lost-4"] == list(memory.lost)
    assert ["failed-4", "failed-2"] == list(memory.failed)
    assert ["2", "3", "4"] == list(memory.too_large)


def report(outcomes: dict[str, Any]) -> Report:
    found = Report(provider="dataforseo", instance="here", dry_run=True)
    for task_id, outcome in outcomes.items():
        found.add(Repair(provider="dataforseo", task_id=task_id, outcome=outcome, how=""))
    return found


def test_what_was_asked_for_again_is_remembered_for_an_hour(
    place: Place, simulator: DataForSeo
) -> None:
    sweep = sweep_of()
    for name, minutes in (("old", 61), ("new", 59)):
        sweep.resent[name] = datetime.now(UTC) - timedelta(minutes=minutes)
    place.sweep(sweep)
    assert ["new"] == list(sweep.resent)

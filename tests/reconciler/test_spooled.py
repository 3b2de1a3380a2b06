"""Callbacks in this machine's spool: their tasks are not missing."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.reconciler.spooled import SpooledCallbacks
from receiver.spool import segment
from tests.reconciler.dataforseo import PATH, ready, sweep_of
from tests.reconciler.place import HOUR, Place, past
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    """A provider whose clock is two hours behind, until `age` is called."""
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, simulator: DataForSeo) -> Place:
    return Place(tmp_path, "dataforseo", simulator)


def test_a_spooled_callback_is_found_by_task_kind_and_provider(tmp_path: Path) -> None:
    heads = [
        head_of(provider="dataforseo", kind="postback", target="/x?id=a"),
        head_of(provider="dataforseo", kind="pingback", target="/x?id=b"),
        head_of(provider="dataforseo", kind="result", target=f"{PATH}c"),
        head_of(provider="dataforapps", kind="postback", target="/x?id=d"),
    ]
    segment_file(tmp_path, [(head, b"{}") for head in heads])
    spooled = SpooledCallbacks(tmp_path, "dataforseo")
    assert {"a", "c"} == spooled.held(["a", "b", "c", "d", "e"], ["postback", "result"])
    assert {"b"} == spooled.held(["a", "b"], ["pingback"])
    assert set() == spooled.held([], ["postback"])


def test_a_damaged_head_does_not_hide_other_callbacks(place: Place, simulator: DataForSeo) -> None:
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


def test_a_full_spool_takes_a_few_bytes_of_memory_per_callback(tmp_path: Path) -> None:
    count = 20_000
    heads = (head_of(kind="pingback", target=f"/x?id=task-{n}") for n in range(count))
    segment_file(tmp_path, [(head, b"") for head in heads])
    spooled = SpooledCallbacks(tmp_path, "dataforseo")
    tracemalloc.start()
    try:
        found = spooled.held([f"task-{count - 1}", "other"], ["pingback"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {f"task-{count - 1}"} == found
    assert peak < 40 * count

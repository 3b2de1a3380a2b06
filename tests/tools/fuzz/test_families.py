"""A short run of the families that attack the archive, and what they would not let pass."""

import dataclasses
from pathlib import Path

import pytest

from tests.tools.fuzz import amplification, hostile_bucket
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.support.target import TargetServer

pytestmark = pytest.mark.system


def test_hostile_objects_of_the_bucket_stop_no_command(tmp_path: Path) -> None:
    assert [] == hostile_bucket.problems(tmp_path, seed=1, requests=3)


# What was found, and must not come back: a lease and a journal that are nested too deeply.
@pytest.mark.parametrize("number", [12, 144])
def test_what_stopped_a_sweep_stops_none(tmp_path: Path, number: int) -> None:
    assert [] == hostile_bucket.problems(tmp_path, seed=1, requests=1, number=number)


def test_a_case_is_made_again_by_its_number(tmp_path: Path) -> None:
    one, again, other = (
        hostile_bucket.make(seed, 7, tmp_path / str(number))
        for number, seed in enumerate((1, 1, 2))
    )
    assert one.what == again.what != other.what


def test_a_command_that_fails_is_a_problem(tmp_path: Path) -> None:
    case = hostile_bucket.make(1, 0, tmp_path)
    good = "\n".join(sorted(case.good))
    addresses = {"http://127.0.0.1:1"}
    for what, command, output in (
        ("ended with None", "show x", "Traceback (most recent call last):\n--- status None"),
        ("ended with 2", "show x", "--- status 2"),
        ("connected to api.example:443", "sweep", "--- to api.example:443\n\n--- status 0"),
        ("does not find", "find", "--- status 0"),
        ("not replayed", "find", f"{good}\n--- status 0"),
    ):
        sent = set() if what == "not replayed" else case.good
        found = hostile_bucket.judge(case, [(command, output)], sent, addresses)
        assert found
        assert all(what in problem for problem in found)
    assert [] == hostile_bucket.judge(case, [("find", f"{good}\n--- status 0")], case.good, set())


def test_commands_are_watched_where_they_connect(tmp_path: Path) -> None:
    case = hostile_bucket.make(1, 0, tmp_path)
    with DataForSeo() as provider, TargetServer() as target:
        outputs = hostile_bucket.run(case, provider, target)
        found = hostile_bucket.judge(case, outputs, case.good, set())
    assert any("`sweep dataforseo` connected to 127.0.0.1:" in problem for problem in found)


@pytest.mark.parametrize("given", amplification.INPUTS, ids=lambda given: given.name)
def test_a_small_input_costs_little(tmp_path: Path, given: amplification.Input) -> None:
    assert () == amplification.measure(tmp_path / "root", given).problems


def test_each_bound_can_be_broken(tmp_path: Path) -> None:
    given = dataclasses.replace(
        amplification.INPUTS[0], memory_bytes=-(1 << 40), disk_bytes=-1, seconds=-99.0
    )
    problems = amplification.measure(tmp_path / "root", given).problems
    assert ["bytes of memory", "bytes of disk", "CPU seconds"] == [
        next(name for name in ("bytes of memory", "bytes of disk", "CPU seconds") if name in each)
        for each in problems
    ]

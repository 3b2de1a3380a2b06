"""The position, compared with a plain set of segments."""

from datetime import date, timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from receiver.errors import Damaged
from receiver.replay.position import Position

PROCESSES = [f"01a1ffe2-9af7-7876-bde4-fce4249227b{n}" for n in range(3)]
FIRST_DAY = date(2026, 11, 21)
# Ten days before.
SINCE_US = 1_795_291_199_500_000 - 10 * 86_400_000_000
processes = st.sampled_from(PROCESSES)
days = st.integers(0, 5).map(lambda ago: FIRST_DAY - timedelta(days=ago))
NUMBERS_MAX = 60


class Model(RuleBasedStateMachine):
    """Random segments in any order, some repeated; the position is stored and read in between."""

    def __init__(self) -> None:
        super().__init__()
        self.position = Position(SINCE_US)
        self.from_day = FIRST_DAY - timedelta(days=11)
        # By process: the newest day and the numbers.
        self.model: dict[str, tuple[date, set[int]]] = {}

    @rule(process=processes, number=st.integers(0, NUMBERS_MAX), day=days)
    def add(self, process: str, number: int, day: date) -> None:
        self.position.add(f"{process}-{number}", day)
        newest, numbers = self.model.get(process, (day, set()))
        self.model[process] = max(newest, day), numbers | {number}

    @rule(process=processes, first=st.integers(0, NUMBERS_MAX), count=st.integers(1, 9), day=days)
    def add_a_run(self, process: str, first: int, count: int, day: date) -> None:
        for number in range(first, min(first + count, NUMBERS_MAX)):
            self.add(process, number, day)

    @rule(day=days)
    def move_on(self, day: date) -> None:
        assert (day > self.from_day) == self.position.move_on(day)
        if day > self.from_day:
            self.from_day = day
            self.model = {p: found for p, found in self.model.items() if found[0] >= day}

    @rule()
    def read_again(self) -> None:
        content = self.position.content(generation=3, written_at="2026-11-21T00:00:00Z")
        self.position = Position.read(content)

    @invariant()
    def it_never_goes_back(self) -> None:
        assert self.from_day == self.position.from_day

    @invariant()
    def it_has_what_the_set_has(self) -> None:
        for process in PROCESSES:
            _, numbers = self.model.get(process, (None, set()))
            has = {n for n in range(NUMBERS_MAX + 2) if self.position.has(f"{process}-{n}")}
            assert numbers == has

    @invariant()
    def it_holds_no_more_than_the_runs(self) -> None:
        written = orjson.loads(self.position.content(generation=1, written_at=""))
        assert self.model.keys() == written["processes"].keys()
        for process, (newest, numbers) in self.model.items():
            runs = [tuple(run) for run in written["processes"][process]["done"]]
            firsts = sorted(n for n in numbers if n - 1 not in numbers)
            lasts = sorted(n for n in numbers if n + 1 not in numbers)
            assert list(zip(firsts, lasts, strict=True)) == runs
            assert str(newest) == written["processes"][process]["day"]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(numbers=st.lists(st.integers(0, 10**12), max_size=200))
def test_numbers_of_any_size_are_kept(numbers: list[int]) -> None:
    position = Position(0)
    for number in numbers:
        position.add(f"{PROCESSES[0]}-{number}", FIRST_DAY)
    near = {abs(number + step) for number in numbers for step in (-1, 0, 1)}
    assert set(numbers) == {n for n in near if position.has(f"{PROCESSES[0]}-{n}")}


def test_the_file_names_the_beginning_and_the_lease() -> None:
    position = Position(1_795_291_199_500_000)
    content = position.content(generation=7, written_at="2026-11-21T19:59:59.500000Z")
    assert {
        "since_us": 1_795_291_199_500_000,
        "from_day": "2026-11-20",
        "generation": 7,
        "written_at": "2026-11-21T19:59:59.500000Z",
        "processes": {},
    } == orjson.loads(content)
    assert 1_795_291_199_500_000 == Position.read(content).since_us


def test_fields_of_a_later_version_are_ignored() -> None:
    content = b'{"since_us": 5, "from_day": "2026-11-21", "more": [1]}'
    assert (5, date(2026, 11, 21)) == (
        Position.read(content).since_us,
        Position.read(content).from_day,
    )


def written(processes: str) -> bytes:
    start = b'{"since_us": 5, "from_day": "2026-11-21", "processes": '
    return start + processes.encode() + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"{",
        b"[]",
        b"{}",
        b'{"since_us": 5}',
        b'{"since_us": "5", "from_day": "2026-11-21"}',
        b'{"since_us": 5, "from_day": "2026-11"}',
        written("[]"),
        written('{"a": {"day": "yesterday", "done": []}}'),
        written('{"a": {"day": "2026-11-21", "done": [[0]]}}'),
        written('{"a": {"day": "2026-11-21", "done": [[-1, 0]]}}'),
        written('{"a": {"day": "2026-11-21", "done": [[0, 99999999999999999999]]}}'),
        b'{"since_us": 99999999999999999999, "from_day": "2026-11-21"}',
        b'{"since_us": 5, "from_day": "2026-11-21", "x": %s' % (b"[" * 5000),
    ],
)
def test_a_damaged_position_is_an_error(content: bytes) -> None:
    Position.read(written('{"a": {"day": "2026-11-21", "done": [[0, 0]]}}'))
    with pytest.raises(Damaged, match="position of the forwarding"):
        Position.read(content)

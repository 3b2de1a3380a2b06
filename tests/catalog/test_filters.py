"""Filters, held against the plainest model of each."""

import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.catalog.filters import Filters, Shard, read_moment, read_shard

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
NOW_US = 1_795_291_200_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T20:00:00Z", NOW_US),
        ("2026-11-21T21:00:00+01:00", NOW_US),
        ("2026-11-21T20:00:00", NOW_US),
        ("2026-11-21", NOW_US - 20 * 3_600_000_000),
        ("2026-11-21T20:00:00.000001Z", NOW_US + 1),
        ("2h", NOW_US - 2 * 3_600_000_000),
        ("30m", NOW_US - 30 * 60_000_000),
        ("0s", NOW_US),
        ("1w", NOW_US - 7 * 86_400_000_000),
    ],
)
def test_a_moment_is_read_in_utc(text: str, expected: int) -> None:
    assert expected == read_moment(text, now=NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "2h30m", "-2h", "2026-13-01", "12345"])
def test_what_is_no_moment_says_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        read_moment(text, now=NOW)


def test_an_age_longer_than_the_calendar_is_no_moment() -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        read_moment("999999999w", now=NOW)


columns = ("provider", "kind", "origin", "task_id", "tag", "key", "status")
words = st.sampled_from(["a", "b", "c"])
rows = st.fixed_dictionaries(
    {name: words | st.none() for name in columns} | {"invalid": words | st.none()}
)
filters = st.fixed_dictionaries(
    {},
    optional={name: words for name in columns}
    | {
        "invalid": st.sampled_from(["a", "b", "", "*"]),
        "since_us": st.integers(0, 4),
        "until_us": st.integers(0, 4),
    },
)


def passes(wanted: dict[str, Any], row: dict[str, Any], at_us: int) -> bool:
    """The model: each filter by itself, and all of them."""
    checks = [row[name] == wanted[name] for name in columns if name in wanted]
    if "since_us" in wanted:
        checks.append(at_us >= wanted["since_us"])
    if "until_us" in wanted:
        checks.append(at_us < wanted["until_us"])
    if wanted.get("invalid") == "*":
        checks.append(row["invalid"] is not None)
    elif wanted.get("invalid") == "":
        checks.append(row["invalid"] is None)
    elif "invalid" in wanted:
        checks.append(row["invalid"] == wanted["invalid"])
    return all(checks)


@given(wanted=filters, row=rows, at_us=st.integers(0, 4))
def test_a_row_passes_if_it_passes_each_filter(
    wanted: dict[str, Any], row: dict[str, Any], at_us: int
) -> None:
    assert passes(wanted, row, at_us) == Filters(**wanted).match(row, at_us)


def test_an_interval_is_half_open() -> None:
    interval = Filters(since_us=10, until_us=20)
    row: dict[str, Any] = {"invalid": None}
    assert [False, True, True, False] == [interval.match(row, at) for at in (9, 10, 19, 20)]


def test_ages_are_counted_back_from_now() -> None:
    ago = NOW - timedelta(days=3)
    assert int(ago.timestamp() * 1e6) == read_moment("3d", now=NOW)


# Parts.


@given(provider=st.text(max_size=20), key=st.text(max_size=40), of=st.integers(1, 999_999))
def test_every_key_is_in_one_part(provider: str, key: str, of: int) -> None:
    index = zlib.crc32(f"{provider}\0{key}".encode()) % of
    assert Shard(index, of).holds(provider, key)
    for other in {0, of - 1, (index + 1) % of, (index - 1) % of} - {index}:
        assert not Shard(other, of).holds(provider, key)


@pytest.mark.parametrize("of", [2, 3, 8, 30])
def test_parts_are_about_as_large_as_each_other(of: int) -> None:
    sizes = Counter(
        index
        for number in range(3000)
        for index in range(of)
        if Shard(index, of).holds("dataforseo", f"08141207-1535-0066-0000-{number:012x}:advanced")
    )
    assert 3000 == sizes.total()
    assert of == len(sizes)
    assert max(sizes.values()) < 1.5 * 3000 / of


@pytest.mark.parametrize(
    ("text", "expected"), [("0/1", (0, 1)), ("3/4", (3, 4)), ("007/008", (7, 8))]
)
def test_a_part_is_read(text: str, expected: tuple[int, int]) -> None:
    assert Shard(*expected) == read_shard(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/4", "4/4", "5/4", "0/0", "-1/4", "1/4/2", "a/b", "0/4\n", "1/1000000"]
)
def test_what_is_no_part_says_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="with I from 0 to N-1"):
        read_shard(text)

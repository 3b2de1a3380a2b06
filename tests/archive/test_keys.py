"""Keys: built as the layout draws them, and parsed back."""

import ast
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import receiver
from receiver import clock
from receiver.archive import callbacks_key, index_key, keys, quarantine_key
from receiver.archive.members import COMPRESSIONS
from tests.tools.deliveries import AT_US, HOUR_US

PROCESS = "01a1ffb1-b80c-7000-9cab-4a661666b604"  # of AT_US
SEGMENT = f"{PROCESS}-7"
INDEX = f"index/date=2026-11-21/hour=19/{SEGMENT}.jsonl.gz"
moments = st.integers(0, 253_402_300_799_999_999)


def key_of(at_us: int = AT_US, suffix: str = ".jsonl.gz") -> str:
    return callbacks_key(
        SEGMENT, received_at_us=at_us, provider="diffbot", kind="notification", suffix=suffix
    )


def test_keys_are_partitioned_by_arrival_provider_and_kind() -> None:
    folder = "callbacks/date=2026-11-21/hour=19/provider=diffbot/kind=notification"
    assert f"{folder}/{SEGMENT}.jsonl.gz" == key_of()
    assert INDEX == index_key(SEGMENT, first_at_us=AT_US + 499_999)
    assert INDEX.replace("=19", "=20") == index_key(SEGMENT, first_at_us=AT_US + 500_000)
    assert f"quarantine/{SEGMENT}/24-96.bin" == quarantine_key(SEGMENT, offset=24, end=96)


def test_an_index_without_records_is_filed_under_the_time_its_process_began() -> None:
    assert INDEX == index_key(SEGMENT, first_at_us=None)


@given(at_us=moments, suffix=st.sampled_from([each.suffix for each in COMPRESSIONS.values()]))
def test_what_is_built_is_parsed(at_us: int, suffix: str) -> None:
    day = keys.day_at(at_us)
    for top, key in (
        (keys.CALLBACKS, key_of(at_us, suffix)),
        (keys.INDEX, index_key(SEGMENT, first_at_us=at_us)),
    ):
        assert SEGMENT == keys.segment_of(key)
        assert day == keys.day_of(key)
        assert key.startswith(keys.hour_prefix(top, at_us))
        assert keys.hour_prefix(top, at_us).startswith(keys.day_prefix(top, day))
        assert f"/{keys.day_folder(at_us)}/" in key
    assert suffix == keys.suffix_of(key_of(at_us, suffix))
    index = index_key(SEGMENT, first_at_us=at_us)
    assert keys.is_index(index)
    hour = keys.hour_of(index)
    assert hour == clock.rfc3339(at_us)[:13]
    assert key_of(at_us, suffix) in keys.callbacks_keys(SEGMENT, hour, "diffbot", "notification")


@given(moments, moments)
def test_keys_sort_by_hour_and_a_prefix_ends_before_the_next(one: int, other: int) -> None:
    one, other = sorted((one, other))
    first, second = (keys.hour_prefix(keys.INDEX, at_us) for at_us in (one, other))
    assert first <= second
    if first != second:
        assert index_key(SEGMENT, first_at_us=one) < keys.end_of(first) < second
    assert second < keys.end_of(keys.INDEX)


@pytest.mark.parametrize(
    "key",
    [
        "index/README.jsonl.gz",
        f"index/{SEGMENT}.jsonl.gz",
        f"index/date=soon/hour=19/{SEGMENT}.jsonl.gz",
        f"{INDEX}.bak",
        INDEX.removesuffix(".jsonl.gz"),
        INDEX.replace(".gz", ".zst"),
        INDEX.replace(SEGMENT, PROCESS),
        INDEX.replace(SEGMENT, f"{PROCESS}-"),
        INDEX.replace(SEGMENT, f"{PROCESS}-x"),
        INDEX.replace(SEGMENT, "00000000-0000-4000-8000-000000000000-1"),
        # Of the year 10889, of days that are none, and of hours that are none.
        INDEX.replace(PROCESS, f"ffffffff-ffff-{PROCESS[14:]}"),
        INDEX.replace("2026-11-21", "2026-11-31"),
        INDEX.replace("2026-11-21", "0001-01-01"),
        INDEX.replace("2026", "٢٠٢٦"),
        INDEX.replace("hour=19", "hour=24"),
        INDEX.replace("hour=19/", ""),
        INDEX.replace("hour=19/", "hour=19/../"),
        f"../{INDEX}",
    ],
)
def test_other_objects_are_not_taken_for_an_index(key: str) -> None:
    assert not keys.is_index(key)


def test_folders_that_are_not_days_are_left_out() -> None:
    folders = ["index/date=2026-11-22/", "index/other/", "index/date=2026-11-21/", "index/date=x/"]
    folders += ["callbacks/date=2026-11-21/", "index/date=2026-13-01/"]
    assert [date(2026, 11, 21), date(2026, 11, 22)] == keys.days(folders)
    with pytest.raises(ValueError, match="README"):
        keys.day_of("index/README")


def test_partitions_are_hours_in_utc() -> None:
    midnight_us = AT_US + 500_000 + 4 * HOUR_US
    assert "index/date=2026-11-21/hour=23/" == keys.hour_prefix(keys.INDEX, midnight_us - 1)
    assert "index/date=2026-11-22/hour=00/" == keys.hour_prefix(keys.INDEX, midnight_us)
    assert "callbacks/date=1970-01-01/hour=00/" == keys.hour_prefix(keys.CALLBACKS, 0)
    assert "date=2026-11-21" == keys.day_folder(midnight_us - 1)


def test_no_other_module_spells_out_the_layout() -> None:
    """Modules outside the archive, too, ask for a partition or a suffix."""
    package = Path(receiver.__file__).parent
    marks = ("date=", "hour=", ".jsonl.")
    found = {
        f"{path.relative_to(package)}: {text}"
        for path in package.rglob("*.py")
        if path.relative_to(package).as_posix() not in ("archive/keys.py", "archive/members.py")
        for text in strings(ast.parse(path.read_text()))
        if any(mark in text for mark in marks)
    }
    assert set() == found


def strings(tree: ast.Module) -> set[str]:
    """Return the strings of a module that are not docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs
    }

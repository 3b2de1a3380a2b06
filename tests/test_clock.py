"""Times, and ids that sort by time, differ, and contain their time."""

import re
import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import clock
from tests.tools.deliveries import AT_US

moments = st.integers(0, 253_402_300_799_999_999)


def test_the_clock_is_the_wall_clock() -> None:
    before = time.time_ns() // 1000
    assert before <= clock.now_us() <= time.time_ns() // 1000


@given(moments)
def test_an_id_is_a_uuid_of_version_7_and_contains_its_time(at_us: int) -> None:
    identifier = clock.new_id(at_us)
    parsed = uuid.UUID(identifier)
    assert identifier == str(parsed)
    assert 0b0111 == parsed.int >> 76 & 0xF
    assert 0b10 == parsed.int >> 62 & 0b11
    assert at_us // 1000 * 1000 == clock.id_time_us(identifier)


@given(moments, moments)
def test_ids_sort_by_time(one_us: int, other_us: int) -> None:
    earlier, later = sorted((one_us, other_us))
    if earlier < later:
        assert clock.new_id(earlier) < clock.new_id(later)


def test_ids_of_one_moment_differ() -> None:
    assert 20_000 == len({clock.new_id(AT_US) for _ in range(20_000)})


@given(moments)
def test_an_id_is_recognised(at_us: int) -> None:
    assert clock.is_id(clock.new_id(at_us))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "019da001-7b2c-7d4e-8f00-0123456789a",
        "019da001-7b2c-7d4e-8f00-0123456789abc",
        "019da001-7b2c-7d4e-8f00-0123456789ab\n",
        "019DA001-7B2C-7D4E-8F00-0123456789AB",
        "019da001-7b2c-4d4e-8f00-0123456789ab",  # version 4
        "019da001-7b2c-7d4e-cf00-0123456789ab",  # another variant
        "019da0017b2c7d4e8f000123456789ab",
        "019da001-7b2c-7d4e-8f00-0123456789a\N{FULLWIDTH DIGIT ONE}",
    ],
)
def test_other_text_is_not_an_id(text: str) -> None:
    assert not clock.is_id(text)


def test_an_id_is_of_the_present_by_default() -> None:
    before = clock.now_us() // 1000 * 1000
    assert before <= clock.id_time_us(clock.new_id()) <= clock.now_us()


@given(moments)
def test_rfc3339_is_read_back_to_the_microsecond(at_us: int) -> None:
    text = clock.rfc3339(at_us)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    assert at_us == (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def test_rfc3339_is_in_utc() -> None:
    assert "2026-11-21T19:59:59.500000Z" == clock.rfc3339(AT_US)
    assert "1970-01-01T00:00:00.000000Z" == clock.rfc3339(0)

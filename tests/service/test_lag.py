"""The lag is the age of the oldest acknowledged callback, whatever state its file is in."""

from pathlib import Path

import pytest

from receiver import clock, spool
from receiver.service.lag import Lag
from receiver.spool import segment
from tests.tools.deliveries import framed, head_of, segment_file

SECOND_US = 1_000_000


@pytest.fixture
def now_us(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the present, which stands still."""
    now = clock.now_us()
    monkeypatch.setattr(clock, "now_us", lambda: now)
    return now


def measure(root: Path, lag: Lag | None = None) -> float:
    return (lag or Lag()).measure(list(spool.files(root)))


def test_an_empty_spool_does_not_lag(tmp_path: Path, now_us: int) -> None:
    segment_file(tmp_path, [], suffix=segment.OPEN)
    assert 0.0 == measure(tmp_path)


@pytest.mark.parametrize("suffix", segment.SUFFIXES)
def test_the_oldest_first_record_counts(tmp_path: Path, now_us: int, suffix: str) -> None:
    for seconds in (40, 90, 10):
        moments = (now_us - seconds * SECOND_US, now_us)
        records = [(head_of(at_us=at_us), b"body") for at_us in moments]
        process = clock.new_id(now_us - seconds * SECOND_US)
        segment_file(tmp_path, records, suffix=suffix, process=process)
    assert 90.0 == measure(tmp_path)


def test_what_was_shipped_does_not_lag(tmp_path: Path, now_us: int) -> None:
    lag = Lag()
    path = segment_file(tmp_path, [(head_of(at_us=now_us - 30 * SECOND_US), b"")])
    assert 30.0 == measure(tmp_path, lag)
    path.unlink()
    assert 0.0 == measure(tmp_path, lag)


def test_sealing_changes_nothing(tmp_path: Path, now_us: int) -> None:
    lag = Lag()
    path = segment_file(
        tmp_path, [(head_of(at_us=now_us - 30 * SECOND_US), b"")], suffix=segment.OPEN
    )
    assert 30.0 == measure(tmp_path, lag)
    path.rename(path.with_suffix(segment.SEALED))
    assert 30.0 == measure(tmp_path, lag)


def test_a_file_that_is_shipped_meanwhile_is_left_out(tmp_path: Path, now_us: int) -> None:
    segment_file(tmp_path, [(head_of(at_us=now_us - 30 * SECOND_US), b"")])
    found = list(spool.files(tmp_path))
    found[0].path.unlink()
    assert 0.0 == Lag().measure(found)


def test_a_clock_that_went_back_gives_no_negative_lag(tmp_path: Path, now_us: int) -> None:
    segment_file(tmp_path, [(head_of(at_us=now_us + SECOND_US), b"")])
    assert 0.0 == measure(tmp_path)


def test_damage_never_stops_the_measuring(tmp_path: Path) -> None:
    process = clock.new_id()
    records = [(head_of("id"), b"body"), (head_of("id"), b"body")]
    content = framed(process, records)
    path = segment_file(tmp_path, records, process=process)
    written = path.stat().st_mtime * SECOND_US
    for position in range(len(framed(process, records[:1]))):
        for mask in (0x01, 0x04, 0x1E, 0x80):
            flipped = bytearray(content)
            flipped[position] ^= mask
            path.write_bytes(flipped)
            # By the time in the record or, where that is not to be had, by the file's own.
            assert measure(tmp_path) >= 0.0
    path.write_bytes(b"\xff" * 100)
    assert measure(tmp_path) <= (clock.now_us() - written) / SECOND_US
    for length in range(1, 60):
        path.write_bytes(content[:length])
        assert measure(tmp_path) >= 0.0

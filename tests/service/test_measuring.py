"""Measuring the spool: the gauges and `/status` show what it holds."""

import time
from pathlib import Path
from typing import Any

import pytest

from receiver import clock, metrics, spool
from receiver.config import Settings
from receiver.instance import Receiver
from receiver.service.measuring import Measuring
from receiver.spool import segment
from tests.tools.deliveries import head_of, segment_file

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def settings(tmp_path: Path) -> Settings:
    given: dict[str, Any] = {"spool_bytes_max": "1MiB", "disk_reserve_bytes": 0}
    return Settings(spool=tmp_path / "spool", **given)


def value(name: str, **labels: str) -> float | None:
    for sample, its_labels, found in metrics.snapshot():
        if (sample, its_labels) == (name, labels):
            return found
    return None


async def test_what_the_spool_holds_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now_us()
    monkeypatch.setattr(clock, "now_us", lambda: now)
    measuring = Measuring(Receiver(settings(tmp_path)))
    assert {} == measuring.status
    head = head_of(at_us=now - 30_000_000)
    for suffix in (segment.SEALED, segment.SEALED, segment.TORN):
        segment_file(tmp_path / "spool", [(head, bytes(1000))], suffix=suffix)
    await measuring.run()
    held = sum(found.bytes for found in spool.files(tmp_path / "spool"))
    states = {"open": 0, "seg": 2, "torn": 1}
    assert {
        "lag_seconds": 30.0,
        "spool": {"bytes": held, "left_bytes": (1 << 20) - held, "segments": states},
    } == measuring.status
    assert 30.0 == value("receiver_lag_seconds")
    assert held == value("receiver_spool_bytes")
    assert (1 << 20) - held == value("receiver_spool_left_bytes")
    for state, count in states.items():
        assert count == value("receiver_spool_segments", state=state)


async def test_an_overfull_spool_has_nothing_left(tmp_path: Path) -> None:
    measuring = Measuring(Receiver(settings(tmp_path)))
    segment_file(tmp_path / "spool", [(head_of(), bytes(2 << 20))])
    await measuring.run()
    assert 0 == measuring.status["spool"]["left_bytes"]
    assert 0 == value("receiver_spool_left_bytes")


async def test_a_long_measurement_is_followed_by_a_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Measuring(Receiver(settings(tmp_path)))
    now, counted = 100.0, 0
    real = spool.files

    def files(root: Path) -> object:
        nonlocal now, counted
        counted += 1
        now += 2.0
        return real(root)

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        patch.setattr(spool, "files", files)
        await measuring.run()
        now = 119.9
        await measuring.run()
        assert 1 == counted
        now = 120.0
        await measuring.run()
        assert 2 == counted

"""The sweeps' way into the spool: a result is durable on return, and is sealed and shipped."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from receiver import spool
from receiver.errors import SpoolUnavailable
from receiver.providers.envelope import Envelope, decode
from receiver.reconciler.sink import Sink
from receiver.spool import segment
from receiver.spool.segment import Record
from tests.spool.helpers import Syncs, fail_once, names, refuse


def sink_of(root: Path, **options: Any) -> Sink:
    """Return a sink that seals nothing by itself, unless told otherwise."""
    defaults: dict[str, Any] = {
        "instance": "tests",
        "batch_bytes": 1 << 40,
        "batch_seconds": 3600.0,
        "spool_bytes_max": 1 << 40,
        "disk_reserve_bytes": 0,
    }
    return Sink(root, **(defaults | options))


def put(sink: Sink, body: bytes, *, target: str = "/v3/task_get/1") -> str:
    return sink.put(
        provider="dataforseo",
        kind="result",
        target=target,
        headers=[("content-type", "application/json")],
        body=body,
    )


def stored(root: Path) -> list[Envelope]:
    """Return the deliveries in the spool, which must hold nothing else."""
    parts = [part for found in spool.files(root) for part in segment.read(found.path)]
    assert all(isinstance(part, Record) for part in parts)
    return [decode(part.head, part.body) for part in parts if isinstance(part, Record)]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def test_a_result_is_durable_on_return(tmp_path: Path, syncs: Syncs) -> None:
    delivery_id = put(sink_of(tmp_path), b"body", target="/v3/ünïcode")
    assert 1 == syncs.count
    (delivery,) = stored(tmp_path)
    assert delivery_id == delivery.delivery_id
    assert ("dataforseo", "result", "sweep", None, "tests") == (
        delivery.provider,
        delivery.kind,
        delivery.origin,
        delivery.peer,
        delivery.instance,
    )
    assert ("GET", b"body") == (delivery.method, delivery.body)
    assert "/v3/ünïcode" == delivery.target.encode("latin-1").decode()


def test_a_sink_that_gets_nothing_leaves_nothing(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    sink.check_room()
    sink.close()
    assert [] == list(tmp_path.iterdir())


def test_results_of_several_threads_share_a_segment_and_none_is_lost(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: put(sink, b"%d" % number), range(100)))
    sink.close()
    assert ["0.seg"] == names(tmp_path)
    assert sorted(ids) == sorted(delivery.delivery_id for delivery in stored(tmp_path))


def test_a_segment_is_sealed_when_it_is_due_and_at_the_close(tmp_path: Path) -> None:
    sink = sink_of(tmp_path, batch_bytes=1000)
    put(sink, bytes(600))
    assert ["0.open"] == names(tmp_path)
    put(sink, bytes(600))
    assert ["0.seg", "1.open"] == names(tmp_path)
    put(sink, b"last")
    sink.close()
    assert ["0.seg", "1.seg"] == names(tmp_path)
    assert all(found.ready for found in spool.files(tmp_path))


def test_a_result_that_is_not_durable_is_refused_and_the_next_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse(errno.EIO))
        with pytest.raises(SpoolUnavailable, match="the spool's disk failed: Input/output error"):
            put(sink, b"refused")
    put(sink, b"taken")
    assert b"taken" == stored(tmp_path)[-1].body


def test_a_directory_that_cannot_be_made_refuses_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse(errno.ENOSPC))
        with pytest.raises(SpoolUnavailable, match="No space left on device"):
            put(sink, b"refused")
    put(sink, b"taken")
    assert [b"taken"] == [delivery.body for delivery in stored(tmp_path)]


def test_a_seal_that_fails_refuses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path, batch_bytes=5000)
    put(sink, b"one")
    fail_once(monkeypatch, "rename", errno.EIO)
    delivery_id = put(sink, bytes(6000))
    assert ["0.open"] == names(tmp_path)
    assert delivery_id == stored(tmp_path)[-1].delivery_id
    sink.close()
    assert ["0.seg"] == names(tmp_path)


def test_a_writer_whose_lock_was_removed_is_replaced(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    put(sink, b"one")
    (directory,) = spool.directories(tmp_path)
    (directory / "lock").unlink()
    put(sink, b"two")
    assert 2 == len(spool.directories(tmp_path))
    assert [b"one", b"two"] == [delivery.body for delivery in stored(tmp_path)]


def test_a_full_spool_is_found_before_anything_is_fetched(tmp_path: Path) -> None:
    sink = sink_of(tmp_path, spool_bytes_max=1000)
    sink.check_room()
    put(sink, bytes(1000))
    with pytest.raises(SpoolUnavailable, match=r"the spool is full \(RECEIVER_SPOOL_BYTES_MAX\)"):
        sink.check_room()


def test_the_reserve_of_the_disk_is_left_alone(tmp_path: Path) -> None:
    volume = os.statvfs(tmp_path)
    reserve = volume.f_bavail * volume.f_frsize + (1 << 40)
    with pytest.raises(SpoolUnavailable, match="RECEIVER_DISK_RESERVE_BYTES"):
        sink_of(tmp_path, disk_reserve_bytes=reserve).check_room()

"""Committing: when segments are sealed, and how a disk that failed comes back."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receiver import disk, metrics, spool
from receiver.errors import SpoolUnavailable
from receiver.spool import Committer, Writer, segment
from receiver.spool.committer import CommitThread
from tests.spool.helpers import DEADLINE_SECONDS, Syncs, bodies, commit, fail_once, names, refuse

HOUR = 3600.0
LARGE = 1 << 40


class Place:
    """A committer that seals nothing by itself unless told otherwise, and what it sealed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sealed: list[str] = []

    def committer(self, *, batch_bytes: int = LARGE, batch_seconds: float = HOUR) -> Committer:
        return Committer(
            self.root,
            batch_bytes=batch_bytes,
            batch_seconds=batch_seconds,
            sealed=self.sealed.append,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "spool")


def failures() -> float:
    return float(metrics.spool_failures._value.get())


def failure(committer: Committer) -> str | None:
    return committer.failure


def rest_seconds(committer: Committer) -> float:
    """Return how long to rest, where maintenance will be due."""
    seconds = committer.rest_seconds()
    assert seconds is not None
    return seconds


# Committing.


def test_a_group_is_durable_on_return_in_the_segment_that_is_named(
    place: Place, syncs: Syncs
) -> None:
    name = commit(place.committer(), b"one", b"two")
    assert 1 == syncs.count
    (found,) = spool.files(place.root)
    assert name == found.name
    assert [b"one", b"two"] == bodies(place.root)


def test_the_directory_is_made_for_the_first_group(place: Place) -> None:
    committer = place.committer()
    assert not place.root.exists()
    assert committer.rest_seconds() is None
    commit(committer, b"one")
    assert ["0.open"] == names(place.root)


def test_opening_makes_the_directory_at_once(place: Place) -> None:
    committer = place.committer()
    committer.open()
    assert failure(committer) is None
    assert ["0.open"] == names(place.root)
    commit(committer, b"one")
    assert ["0.open"] == names(place.root)


def test_a_failure_is_raised_counted_and_remembered_until_a_group_is_durable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = failures()
    committer = place.committer()
    fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(SpoolUnavailable, match="disk failed: Input/output error"):
        commit(committer, b"one")
    assert "the spool's disk failed: Input/output error" == failure(committer)
    assert before + 1 == failures()
    commit(committer, b"two")
    assert failure(committer) is None
    assert ["0.torn", "1.open"] == names(place.root)


def test_a_directory_that_cannot_be_made_is_made_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = place.committer()
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse(errno.ENOSPC))
        committer.open()
        assert "the spool's disk failed: No space left on device" == failure(committer)
        committer.maintain()
        assert failure(committer) is not None
        with pytest.raises(SpoolUnavailable):
            commit(committer, b"one")
    committer.maintain()
    assert failure(committer) is None
    assert ["0.open"] == names(place.root)


# Maintaining.


def test_a_disk_that_failed_is_tried_until_it_works(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = place.committer()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse(errno.EIO))
        with pytest.raises(SpoolUnavailable):
            commit(committer, b"one")
        committer.maintain()
        assert failure(committer) is not None
        # Often enough that service resumes soon, and not in a busy loop.
        assert 0.1 <= rest_seconds(committer) <= 1.0
    committer.maintain()
    assert failure(committer) is None
    assert committer.rest_seconds() is None


def test_maintenance_is_due_when_the_first_record_is_old_enough(place: Place) -> None:
    committer = place.committer(batch_seconds=100.0)
    assert committer.rest_seconds() is None
    commit(committer, b"one")
    assert 0 < rest_seconds(committer) < 100.0
    committer.maintain()
    assert [] == place.sealed


def test_an_age_that_no_thread_can_wait_for_is_waited_for_in_parts(place: Place) -> None:
    committer = place.committer(batch_seconds=float("inf"))
    commit(committer, b"one")
    assert rest_seconds(committer) <= threading.TIMEOUT_MAX


# Sealing.


@pytest.mark.parametrize("due", [{"batch_bytes": 100}, {"batch_seconds": 1e-9}])
@pytest.mark.parametrize("seal", [Committer.seal_if_due, Committer.maintain])
def test_a_segment_is_sealed_when_it_is_large_or_old_enough(
    place: Place, due: dict[str, Any], seal: Callable[[Committer], None]
) -> None:
    committer = place.committer(**due)
    name = commit(committer, bytes(100))
    assert ["0.open"] == names(place.root)
    seal(committer)
    assert ["0.seg", "1.open"] == names(place.root)
    assert [name] == place.sealed
    seal(committer)
    assert [name] == place.sealed
    assert name != commit(committer, b"next")


def test_a_segment_that_is_not_due_is_not_sealed(place: Place) -> None:
    committer = place.committer(batch_bytes=1000)
    commit(committer, bytes(500))
    committer.seal_if_due()
    assert ["0.open"] == names(place.root)


def test_a_seal_that_fails_is_counted_and_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = failures()
    committer = place.committer(batch_bytes=1)
    name = commit(committer, b"one")
    fail_once(monkeypatch, "rename", errno.EIO)
    committer.seal_if_due()
    assert before + 1 == failures()
    assert [] == place.sealed
    # The record is durable: no request is refused for a seal.
    assert failure(committer) is None
    assert 0.1 <= rest_seconds(committer) <= 1.0
    committer.maintain()
    assert [name] == place.sealed
    assert committer.rest_seconds() is None
    assert [b"one"] == bodies(place.root)


@pytest.mark.parametrize("name", ["open", "fsync"])
def test_a_segment_is_reported_even_if_the_next_one_cannot_be_begun(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = failures()
    committer = place.committer(batch_bytes=1)
    first = commit(committer, b"one")
    fail_once(monkeypatch, name, errno.ENOSPC)
    committer.seal_if_due()
    assert before + 1 == failures()
    assert [first] == place.sealed
    # Nothing is left to seal, so there is nothing to wait for.
    assert committer.rest_seconds() is None
    second = commit(committer, b"two")
    assert [0, 1] == [segment.number_of(first), segment.number_of(second)]


def test_closing_seals_and_a_later_group_makes_another_directory(place: Place) -> None:
    committer = place.committer()
    commit(committer, b"one")
    committer.close()
    assert ["0.seg"] == names(place.root)
    commit(committer, b"two")
    assert ["0.seg", "0.open"] == names(place.root)
    committer.close()
    committer.close()
    assert [b"one", b"two"] == bodies(place.root)


def test_a_close_that_fails_leaves_the_records_to_the_shipper(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = failures()
    committer = place.committer()
    commit(committer, b"one")
    fail_once(monkeypatch, "rename", errno.EIO)
    committer.close()
    assert before + 1 == failures()
    (found,) = spool.files(place.root)
    assert found.ready
    assert [b"one"] == bodies(place.root)


# A directory that is removed from under the writer.


def remove_lock(root: Path) -> None:
    (directory,) = spool.directories(root)
    (directory / "lock").unlink()


def test_a_writer_whose_lock_was_removed_is_replaced_before_the_next_group(place: Place) -> None:
    committer = place.committer()
    commit(committer, b"one")
    remove_lock(place.root)
    commit(committer, b"two")
    assert failure(committer) is None
    assert ["0.seg", "0.open"] == names(place.root)
    assert [b"one", b"two"] == bodies(place.root)


def test_a_writer_whose_segment_was_removed_is_not_sealed_again_and_again(place: Place) -> None:
    committer = place.committer(batch_bytes=1)
    commit(committer, b"one")
    (found,) = spool.files(place.root)
    found.path.unlink()
    committer.seal_if_due()
    assert [] == place.sealed
    assert committer.rest_seconds() is None
    commit(committer, b"two")
    assert [b"two"] == bodies(place.root)


def test_closing_a_writer_whose_lock_was_removed_leaves_its_records_to_the_shipper(
    place: Place,
) -> None:
    before = failures()
    committer = place.committer()
    commit(committer, b"one")
    remove_lock(place.root)
    committer.close()
    assert before == failures()
    assert [b"one"] == bodies(place.root)
    assert all(found.ready for found in spool.files(place.root))


# The thread.


class Posted:
    """Notes which calls were posted."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._arrived = threading.Semaphore(0)
        self._seen = 0

    def __call__(self, call: Callable[..., object], *given: object) -> None:
        self.calls.append((call, *given))
        self._arrived.release()

    def wait(self) -> tuple[Any, ...]:
        """Return the next call."""
        assert self._arrived.acquire(timeout=DEADLINE_SECONDS)
        self._seen += 1
        return self.calls[self._seen - 1]


def settle(name: str, failure: str | None) -> None:
    """Stand for a group's settling; only posted here."""


def recovered() -> None:
    """Stand for what is called once the disk works again; only posted here."""


def test_the_thread_posts_what_became_of_each_group_and_ends_sealed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted = Posted()
    thread = CommitThread(place.committer(), post=posted, recovered=recovered)
    thread.start()
    thread.hand_over([(b"head", [b"one"])], settle)
    call, name, failure = posted.wait()
    assert (settle, None) == (call, failure)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", refuse(errno.EIO))
        thread.hand_over([(b"head", [b"two"])], settle)
        assert (settle, "", "the spool's disk failed: Input/output error") == posted.wait()
    assert (recovered,) == posted.wait()
    thread.hand_over([(b"head", [b"three"])], settle)
    thread.end()
    assert (settle, name, None) == posted.wait()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert ["0.seg"] == names(place.root)
    assert [b"one", b"three"] == bodies(place.root)


def test_a_segment_is_sealed_by_age_while_group_follows_group(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.sync_data

    def slowly(fd: int) -> None:
        time.sleep(0.001)
        real(fd)

    monkeypatch.setattr(disk, "sync_data", slowly)
    thread = CommitThread(place.committer(batch_seconds=0.02), post=Posted(), recovered=recovered)
    # All work is there from the start, so the thread never waits for any.
    for _ in range(300):
        thread.hand_over([(b"head", [b"body"])], settle)
    thread.end()
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert len(place.sealed) > 2
    assert 300 == len(bodies(place.root))


@pytest.mark.integration
def test_a_process_that_cannot_commit_any_more_ends_instead_of_waiting_for_ever(
    tmp_path: Path,
) -> None:
    program = """
import asyncio, pathlib, sys
from receiver.spool import Spool, Writer

def stumble(self, buffers, *, records):
    raise MemoryError

Writer.write = stumble

async def main():
    spool = Spool(
        pathlib.Path(sys.argv[1]),
        batch_bytes=1 << 30, batch_seconds=60.0, spool_bytes_max=1 << 30, disk_reserve_bytes=0,
    )
    await spool.append(b"head", [b"body"], body_bytes=4)

asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert 1 == ended.returncode
    assert "commit thread failed, this process ends" in ended.stderr
    assert "MemoryError" in ended.stderr
    assert all(found.ready for found in spool.files(tmp_path))

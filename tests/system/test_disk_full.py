"""The spool is full, by its limit or by its disk: 503, nothing lost, and service resumes."""

import errno
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Place
from tests.tools.support.http import Answer
from tests.tools.support.oracle import DirectoryArchive, Ledger, Load, verify
from tests.tools.support.relay import Relay
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.tools import cannot
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_DISK_BYTES = 2 << 20


class Disk:
    """A small file system, and a ballast that fills it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Leave not a byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise

    def use_up_names(self) -> None:
        """Leave not one file that could be made."""
        for number in range(100_000):
            try:
                (self.root / f"name-{number}").touch()
            except OSError:
                return
        raise AssertionError("there is no end of names")

    def clear(self) -> None:
        """Give back what the ballast took."""
        self._ballast.unlink(missing_ok=True)
        for path in self.root.glob("name-*"):
            path.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of two megabytes, where this user may mount one."""
    root = tmp_path / "disk"
    root.mkdir()
    options = f"size={_DISK_BYTES},nr_inodes=200"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        cannot(f"a small file system cannot be mounted here: {exc}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", str(root)], check=True)


def assert_full(answer: Answer, named: str) -> None:
    """The answer that lets a provider keep its callback."""
    assert 503 == answer.status
    assert int(answer.headers["retry-after"]) > 0
    assert "x-delivery-id" not in answer.headers
    assert "spool_unavailable" == answer.json["error"]
    assert named in answer.json["detail"]


def post(receiver: Receiver, ledger: Ledger, samples: Samples) -> Answer:
    """Post one sample."""
    return ledger.deliver(receiver.request, samples.postback(), token=receiver.token)


def test_a_full_spool_answers_503_until_the_archive_is_back(
    tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger, samples = Ledger(), Samples(seed=21)
    settings = {**far.settings, "RECEIVER_SPOOL_BYTES_MAX": str(256 << 10)}
    with Receiver(tmp_path, settings) as it:
        it.start()
        relay.behave("refuse")
        wait_for(lambda: post(it, ledger, samples).status == 503, "there is no room for a body")

        def unready() -> bool:
            # Where room was measured too small for a moment, there is some more to fill.
            assert_full(_fill_up(it, ledger, samples), "RECEIVER_SPOOL_BYTES_MAX")
            return it.readiness() == 503

        wait_for(unready, "it is unready")
        assert 200 == it.request("GET", "/healthz").status
        assert sum(path.stat().st_size for path in it.spooled()) < (256 << 10) + 65536
        wait_for(lambda: it.metric("receiver_spool_left_bytes") < 65536, "the gauge says so")
        wait_for(
            lambda: it.metric("receiver_rejected_total", reason="spool_unavailable") > 0,
            "refusals are counted",
        )
        relay.behave("pass")
        wait_for(lambda: it.readiness() == 200, "it resumes by itself")
        wait_for(lambda: post(it, ledger, samples).status == 200, "callbacks are taken again")
        it.wait_until_shipped()
        it.terminate()
    assert {200, 503} == set(ledger.statuses)
    verify(far.archive, ledger)


def _fill_up(receiver: Receiver, ledger: Ledger, samples: Samples) -> Answer:
    """Fill the rest with callbacks that have no body, until not one more is taken."""

    def refused() -> Answer | None:
        sample = samples.pingback()
        answer = ledger.deliver(receiver.request, sample, token=receiver.token)
        return answer if answer.status == 503 else None

    answer = wait_for(refused, "the spool is full")
    assert answer is not None
    return answer


def _post_until_503(receiver: Receiver, ledger: Ledger, samples: Samples) -> Answer:
    while (answer := post(receiver, ledger, samples)).status == 200:
        pass
    return answer


def test_a_body_that_would_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with Receiver(tmp_path, {"RECEIVER_SPOOL_BYTES_MAX": str(64 << 10)}) as it:
        it.start()
        path = it.path("diffbot", "notification")
        assert_full(it.request("POST", path, b" " * (80 << 10)), "RECEIVER_SPOOL_BYTES_MAX")
        assert 200 == it.request("POST", path, b" " * 1000).status


def test_a_reserve_of_free_disk_is_left_alone(tmp_path: Path) -> None:
    with Receiver(tmp_path, {"RECEIVER_DISK_RESERVE_BYTES": str(1 << 55)}) as it:
        it.start()
        path = it.path("diffbot", "notification")
        assert_full(it.request("POST", path, b"{}"), "RECEIVER_DISK_RESERVE_BYTES")
        assert 503 == it.readiness()
        assert [] == it.spooled()


def test_a_disk_that_is_full_before_the_start_is_waited_for(tmp_path: Path, disk: Disk) -> None:
    ledger, samples = Ledger(), Samples(seed=22)
    with Receiver(tmp_path, {"RECEIVER_SPOOL": str(disk.root / "spool")}) as it:
        disk.fill()
        it.start()
        assert 503 == post(it, ledger, samples).status
        assert 503 == it.readiness()
        disk.clear()
        wait_for(lambda: it.readiness() == 200, "it resumes by itself")
        # Some of the room may have been seen, and not all of it.
        wait_for(lambda: post(it, ledger, samples).status == 200, "callbacks are taken")
        it.terminate()
    verify(DirectoryArchive(it.archive), ledger)


def test_a_disk_that_fills_up_under_load_loses_nothing(
    tmp_path: Path, far: Place, relay: Relay, disk: Disk
) -> None:
    ledger = Ledger()
    settings = {**far.settings, "RECEIVER_SPOOL": str(disk.root / "spool")}
    with Receiver(tmp_path, settings) as it:
        it.spool = disk.root / "spool"
        it.start("--workers", "2")
        relay.behave("refuse")
        with Load(it, ledger, seed=23):
            wait_for(lambda: len(ledger.acknowledged) > 50, "callbacks are taken")

            def a_write_fails() -> bool:
                """Fill the disk, again and again until a write is faster than the measuring."""
                disk.clear()
                wait_for(lambda: it.readiness() == 200, "there is room")
                before = ledger.statuses[503]
                disk.fill()
                wait_for(lambda: ledger.statuses[503] > before, "a callback is refused")
                return bool(it.life.logged("commit failed"))

            wait_for(a_write_fails, "a write meets the end of the disk itself")
            disk.fill()
            wait_for(lambda: it.readiness() == 503, "it is unready")
            refused = ledger.statuses[503]
            wait_for(lambda: ledger.statuses[503] > refused + 20, "callbacks are refused")
            disk.clear()
            wait_for(lambda: it.readiness() == 200, "it resumes by itself")
            taken = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > taken + 20, "callbacks are taken again")
            disk.fill()
            wait_for(lambda: it.readiness() == 503, "it is unready again")
            # With no room at all, what is there can still be shipped, and that makes room.
            relay.behave("pass")
            wait_for(lambda: far.archive.keys("index/"), "the first segment is in the archive")
            disk.clear()
            wait_for(lambda: it.readiness() == 200, "it resumes again")
        it.wait_until_shipped()
        it.terminate()
    assert {200, 503} == set(ledger.statuses)
    verify(far.archive, ledger)


def test_kills_on_a_full_disk_lose_nothing(
    tmp_path: Path, far: Place, relay: Relay, disk: Disk
) -> None:
    ledger = Ledger()
    settings = {**far.settings, "RECEIVER_SPOOL": str(disk.root / "spool")}
    with Receiver(tmp_path, settings) as it:
        it.spool = disk.root / "spool"
        it.start()
        relay.behave("refuse")
        with Load(it, ledger, seed=24):
            wait_for(lambda: len(ledger.acknowledged) > 50, "callbacks are taken")
            disk.fill()
            wait_for(lambda: ledger.statuses[503] > 0, "callbacks are refused")
            it.kill_all()
        assert it.spooled()
        # A write that failed was cut back, and that gave pages to the disk again.
        disk.fill()
        it.start()
        # What a killed probe held was given back too.
        disk.fill()
        wait_for(lambda: it.readiness() == 503, "it is unready")
        relay.behave("pass")
        it.wait_until_shipped()
        disk.clear()
        wait_for(lambda: it.readiness() == 200, "it resumes by itself")
        it.terminate()
    verify(far.archive, ledger)


def test_a_disk_without_room_for_a_directory_is_answered_503(tmp_path: Path, disk: Disk) -> None:
    ledger, samples = Ledger(), Samples(seed=25)
    with Receiver(tmp_path, {"RECEIVER_SPOOL": str(disk.root / "spool")}) as it:
        (disk.root / "spool").mkdir()
        disk.use_up_names()
        it.start()
        assert 503 == post(it, ledger, samples).status
        assert 503 == it.readiness()
        disk.clear()
        wait_for(lambda: it.readiness() == 200, "it resumes by itself")
        # Some of the room may have been seen, and not all of it.
        wait_for(lambda: post(it, ledger, samples).status == 200, "callbacks are taken")
        it.terminate()
    verify(DirectoryArchive(it.archive), ledger)


@pytest.mark.parametrize("bytes_more", [0, 700])
def test_a_limit_on_file_size_makes_writes_fail_and_loses_nothing(
    tmp_path: Path, bytes_more: int
) -> None:
    ledger, samples = Ledger(), Samples(seed=26)
    with Receiver(tmp_path, {"RECEIVER_BATCH_SECONDS": "30"}) as it:
        it.start()
        for _ in range(5):
            assert 200 == post(it, ledger, samples).status
        [server] = it.server_pids()
        [segment] = it.spooled()
        # A write that goes past it is cut short (setrlimit(2), RLIMIT_FSIZE).
        limit = segment.stat().st_size + bytes_more
        free = resource.prlimit(server, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        wait_for(lambda: post(it, ledger, samples).status == 503, "a write fails")
        assert_full(_post_until_503(it, ledger, samples), "File too large")
        resource.prlimit(server, resource.RLIMIT_FSIZE, free)
        wait_for(lambda: it.readiness() == 200, "it resumes by itself")
        for _ in range(5):
            assert 200 == post(it, ledger, samples).status
        it.terminate()
    verify(DirectoryArchive(it.archive), ledger)

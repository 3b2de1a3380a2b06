"""Spool and shipper together, in any order, through crashes and power cuts.

After every step each acknowledged delivery can be read, in the spool or in the archive, with its
body unchanged; the archive holds none twice, and nothing that was never sent.
"""

import base64
import contextlib
import errno
import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from receiver import spool
from receiver.archive import COMPRESSIONS
from receiver.errors import StoreError
from receiver.providers import PROVIDERS
from receiver.providers.envelope import decode
from receiver.shipper import Shipper
from receiver.spool import Writer, segment
from receiver.spool.segment import Damage, Record
from receiver.store import DirectoryStore
from tests.tools.deliveries import AT_US, HOUR_US, head_of

bodies_of_a_group = st.lists(st.binary(max_size=24), min_size=1, max_size=3)


class Unsteady(DirectoryStore):
    """A directory store whose n-th put fails, before or after it took effect."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fails_at = 0
        self.after = False

    def put(self, key: str, content: bytes) -> None:
        self.fails_at -= 1
        if self.fails_at == 0 and not self.after:
            raise StoreError("no answer")
        super().put(key, content)
        if self.fails_at == 0:
            raise StoreError("no answer, though it was written")


class SpoolMachine(RuleBasedStateMachine):
    """One spool, at most one live writer, any number of dead ones, and an archive."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="spool-machine-"))
        # The rules model what a power cut leaves, so a real sync would only take time.
        self.faults = contextlib.ExitStack()
        for name in ("fsync", "fdatasync"):
            self.faults.enter_context(mock.patch.object(os, name))
        self.spool = self.home / "spool"
        self.store = Unsteady(self.home / "archive")
        self.writer: Writer | None = None
        self.sent: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        # Segments in which the disk replaced unacknowledged bytes by zeros.
        self.damaged: set[str] = set()

    # The writer's life.

    @initialize()
    def start(self) -> None:
        self.writer = Writer(self.spool)

    @precondition(lambda self: self.writer is None)
    @rule()
    def start_again(self) -> None:
        self.start()

    @precondition(lambda self: self.writer is not None)
    @rule(bodies=bodies_of_a_group)
    def append(self, bodies: list[bytes]) -> None:
        group, buffers = self._group(bodies)
        self._writer.write(buffers, records=len(group))
        self.acknowledged |= set(group)

    @precondition(lambda self: self.writer is not None)
    @rule(bodies=bodies_of_a_group, written=st.integers(0, 400), cut_back=st.booleans())
    def append_to_a_full_disk(self, bodies: list[bytes], written: int, cut_back: bool) -> None:
        _, buffers = self._group(bodies)

        def writev(fd: int, given: Sequence[bytes]) -> int:
            os.write(fd, b"".join(given)[:written])
            raise OSError(errno.ENOSPC, "No space left on device")

        with contextlib.ExitStack() as faults:
            faults.enter_context(mock.patch.object(os, "writev", writev))
            if not cut_back:
                faults.enter_context(mock.patch.object(os, "ftruncate", _fail))
            self._fail_to_write(buffers)

    @precondition(lambda self: self.writer is not None)
    @rule(bodies=bodies_of_a_group, kept=st.integers(0, 400), zeros=st.booleans())
    def append_to_a_failing_disk(self, bodies: list[bytes], kept: int, zeros: bool) -> None:
        """Fail the sync; the disk keeps some of the bytes that were not synced."""
        _, buffers = self._group(bodies)
        synced = self._writer.bytes
        name = segment.name_of(self._writer.process, self._number())
        with mock.patch.object(os, "fdatasync", _fail):
            self._fail_to_write(buffers)
        self._lose_tail(self._path(name), synced, kept, zeros)

    @precondition(lambda self: self.writer is not None)
    @rule(failing=st.sampled_from([None, None, "rename", "open", "fsync"]))
    def seal(self, failing: str | None) -> None:
        if failing is None:
            self._writer.seal()
            return
        with mock.patch.object(os, failing, _fail), contextlib.suppress(OSError):
            self._writer.seal()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def close(self) -> None:
        self._writer.close()
        self.writer = None

    @precondition(lambda self: self.writer is not None)
    @rule()
    def kill(self) -> None:
        """End the process: the kernel closes its files and frees its lock, no more."""
        self._abandon()

    @precondition(lambda self: self.writer is not None)
    @rule(bodies=bodies_of_a_group, kept=st.integers(0, 400), zeros=st.booleans())
    def cut_the_power(self, bodies: list[bytes], kept: int, zeros: bool) -> None:
        """End everything between a write and its sync; the disk keeps some bytes of the write."""
        _, buffers = self._group(bodies)
        synced = self._writer.bytes
        name = segment.name_of(self._writer.process, self._number())

        def stop(fd: int) -> None:
            raise KeyboardInterrupt

        with mock.patch.object(os, "fdatasync", stop), contextlib.suppress(KeyboardInterrupt):
            self._writer.write(buffers, records=len(bodies))
        self._abandon()
        self._lose_tail(self._path(name), synced, kept, zeros)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def cut_the_power_before_a_rename_is_durable(self) -> None:
        """A segment that was set aside has its old name again."""
        # Not a precondition: the choice of rules must not depend on the disk.
        if self._writer._fd is not None:
            return
        process = self._writer.process
        self._abandon()
        torn = sorted((self.spool / process).glob(f"*{segment.TORN}"))
        for path in torn[-1:]:
            path.rename(path.with_suffix(segment.OPEN))

    # Shipping.

    @rule()
    def ship(self) -> None:
        self._ship()

    @rule(fails_at=st.integers(1, 6), after=st.booleans())
    def ship_to_a_failing_store(self, fails_at: int, after: bool) -> None:
        self.store.fails_at, self.store.after = fails_at, after
        with contextlib.suppress(StoreError):
            self._ship()
        self.store.fails_at = 0

    @rule()
    def ship_and_lose_the_unlink(self) -> None:
        """The power fails after a pass: the files that it removed are back."""
        kept = self.home / "kept"
        ready = [found.path for found in spool.files(self.spool) if found.ready]
        shutil.copytree(self.spool, kept)
        self._ship()
        for path in ready:
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                shutil.copy(kept / path.relative_to(self.spool), path)
        shutil.rmtree(kept)

    # Invariants.

    @invariant()
    def acknowledged_deliveries_can_be_read_and_are_unchanged(self) -> None:
        archived, spooled = self._archived(), self._spooled()
        assert self.acknowledged <= {*archived, *spooled}
        for found in (archived, spooled):
            for delivery_id, body in found.items():
                assert self.sent[delivery_id] == body

    def teardown(self) -> None:
        try:
            if self.writer is not None:
                self.kill()
            self._ship()
            archived = self._archived()
            assert self.acknowledged <= set(archived)
            assert [] == list(spool.files(self.spool))
            assert [] == [path for path in self.spool.iterdir() if path.is_dir()]
            self._assert_numbers_have_no_gaps()
            self._assert_the_index_is_of_the_lines(archived)
        finally:
            self.faults.close()
            shutil.rmtree(self.home)

    # Helpers.

    @property
    def _writer(self) -> Writer:
        assert self.writer is not None
        return self.writer

    def _group(self, bodies: list[bytes]) -> tuple[list[str], list[bytes]]:
        """Return ids and buffers of a group of deliveries, an hour apart."""
        ids, buffers = [], []
        for body in bodies:
            delivery_id = f"delivery-{len(self.sent)}"
            head = head_of(delivery_id, at_us=AT_US + len(self.sent) % 2 * HOUR_US)
            self.sent[delivery_id] = body
            ids.append(delivery_id)
            buffers += [segment.frame(self._writer.marker, head, [body]), body]
        return ids, buffers

    def _fail_to_write(self, buffers: list[bytes]) -> None:
        try:
            self._writer.write(buffers, records=len(buffers) // 2)
        except OSError:
            return
        raise AssertionError("a write that failed was taken for durable")

    def _number(self) -> int:
        return self._writer._number

    def _path(self, name: str) -> Path:
        process = segment.process_of(name)
        (found,) = (self.spool / process).glob(f"{name}.*")
        return found

    def _lose_tail(self, path: Path, synced: int, kept: int, zeros: bool) -> None:
        """Keep some of the bytes that were not synced; replace the rest by zeros or drop it."""
        size = path.stat().st_size
        lost = max(0, size - synced - kept)
        os.truncate(path, size - lost)
        if zeros:
            os.truncate(path, size)
            self.damaged.add(path.stem)

    def _abandon(self) -> None:
        for fd in (self._writer._fd, self._writer._lock):
            if fd is not None:
                os.close(fd)
        self.writer = None

    def _ship(self) -> None:
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        ).ship(self.spool)

    def _spooled(self) -> dict[str, bytes]:
        found = {}
        for file in spool.files(self.spool):
            for part in segment.read(file.path):
                if isinstance(part, Record):
                    delivery = decode(part.head, part.body)
                    found[delivery.delivery_id] = delivery.body
                # Only zeros that the disk wrote can be taken for damage.
                assert not isinstance(part, Damage) or file.name in self.damaged
        return found

    def _archived(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for line in self._lines("callbacks/"):
            assert line["delivery_id"] not in found, "archived twice"
            found[line["delivery_id"]] = _body(line)
        return found

    def _lines(self, prefix: str) -> Iterator[dict[str, Any]]:
        for listed in self.store.list(prefix):
            yield from map(orjson.loads, gzip.decompress(self.store.get(listed.key)).splitlines())

    def _assert_numbers_have_no_gaps(self) -> None:
        numbers: dict[str, list[int]] = {}
        for listed in self.store.list("index/"):
            name = Path(listed.key).name.removesuffix(".jsonl.gz")
            numbers.setdefault(segment.process_of(name), []).append(segment.number_of(name))
        for found in numbers.values():
            assert list(range(len(found))) == sorted(found)

    def _assert_the_index_is_of_the_lines(self, archived: dict[str, bytes]) -> None:
        entries = list(self._lines("index/"))
        assert sorted(archived) == sorted(entry["delivery_id"] for entry in entries)
        for entry in entries:
            assert entry["of"] == sum(one["segment"] == entry["segment"] for one in entries)


def _body(line: dict[str, Any]) -> bytes:
    if line["body"] is None:
        return base64.b64decode(line["body_base64"])
    return str(line["body"]).encode()


def _fail(*given: object, **named: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)

"""What the tests of the spool share: opening one, reading its files, slow and failing disks."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver import disk, spool
from receiver.spool import Committer, Spool, segment
from receiver.spool.segment import Record

DEADLINE_SECONDS = 60.0


@contextlib.asynccontextmanager
async def opened(root: Path, **options: Any) -> AsyncIterator[Spool]:
    """Open a spool that seals nothing by itself, unless told otherwise; close it at the end."""
    defaults: dict[str, Any] = {
        "batch_bytes": 1 << 40,
        "batch_seconds": 3600.0,
        "spool_bytes_max": 1 << 40,
        "disk_reserve_bytes": 0,
    }
    made = Spool(root, **(defaults | options))
    try:
        yield made
    finally:
        await made.close()


def append(into: Spool, body: bytes) -> "asyncio.Future[Any]":
    """Append a record with this body, in two chunks."""
    return into.append(b"head", [body[:3], body[3:]], body_bytes=len(body))


def commit(committer: Committer, *bodies: bytes) -> str:
    """Commit records with these bodies, in one group."""
    return committer.commit([(b"head", [body[:3], body[3:]]) for body in bodies])


def bodies(root: Path) -> list[bytes]:
    """Return the bodies in all of a spool's files, which must hold nothing but records."""
    parts = [part for found in spool.files(root) for part in segment.read(found.path)]
    found = [part.body for part in parts if isinstance(part, Record)]
    assert len(found) == len(parts)
    return found


def names(root: Path) -> list[str]:
    """Return number and suffix of each segment, in order."""
    return [f"{segment.number_of(found.name)}{found.path.suffix}" for found in spool.files(root)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 # nothing there reports it
            await asyncio.sleep(0.005)


class Syncs:
    """Counts the syncs of data, and holds them up on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.steps: list[str] = []
        self._go_on = threading.Event()
        self._go_on.set()
        real = disk.sync_data

        def sync(fd: int) -> None:
            self.count += 1
            self.steps.append("sync")
            assert self._go_on.wait(DEADLINE_SECONDS)
            real(fd)
            self.steps.append("synced")

        monkeypatch.setattr(disk, "sync_data", sync)

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        """Let no sync return until the end of the block."""
        self._go_on.clear()
        try:
            yield
        finally:
            self._go_on.set()


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Make the next call of a function of `os` fail, a write after half of its bytes."""
    real = getattr(os, name)

    def fail(first: Any, *given: Any, **named: Any) -> Any:
        if name == "open" and not given[0] & os.O_CREAT:
            return real(first, *given, **named)  # makes no file
        monkeypatch.setattr(os, name, real)
        if name == "writev":
            content = b"".join(given[0])
            os.write(first, content[: len(content) // 2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def refuse(code: int) -> Callable[..., Any]:
    """Return a function that always fails with this error."""

    def fail(*given: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail

"""Amplification: bytes in, and what they cost in memory, disk and time.

Each input is small and could be expensive.  One command handles it in a process of its own, whose
peak of resident memory, CPU seconds and bytes left on disk are measured and held to the bounds of
its row.
"""

import gzip
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.archive import COMPRESSIONS
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.tools import hostile
from tests.tools.deliveries import head_of, segment_file
from tests.tools.support.server import clean_environ

_MEBI = 1 << 20
# What an interpreter with the command's modules takes, before any input.
_BASE_BYTES = 130 * _MEBI
_BASE_SECONDS = 3.0

_MEASURED = """
import os, sys, time
from receiver.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    os.write(1, f"\\n--- {peak} {time.process_time()}\\n".encode())
"""


@dataclass(frozen=True, slots=True)
class Input:
    """A small input, the command that handles it, and what this may cost beyond the base.

    ``make`` writes the input below a directory and returns its size.
    """

    name: str
    make: Callable[[Path], int]
    command: tuple[str, ...]
    memory_bytes: int
    disk_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What an input came to; ``problems`` name the bounds that it broke."""

    name: str
    bytes_in: int
    memory_bytes: int
    disk_bytes: int
    seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        disk, memory = self.disk_bytes >> 10, self.memory_bytes >> 20
        figures = f"{memory:>5} MiB {disk:>6} KiB on disk {self.seconds:>6.1f} s"
        return f"{self.name:<40} {self.bytes_in:>9} bytes in {figures}"


def costs(root: Path, *, number: int | None = None) -> list[Cost]:
    """Handle all inputs, or the one of a number, and return what they cost."""
    chosen = INPUTS if number is None else (INPUTS[number % len(INPUTS)],)
    return [measure(root / str(position), each) for position, each in enumerate(chosen)]


def measure(root: Path, given: Input) -> Cost:
    """Handle one input."""
    root.mkdir(parents=True)
    bytes_in = given.make(root)
    before = _left(root)
    environ = clean_environ() | {
        "RECEIVER_ARCHIVE": str(root / "archive"),
        "RECEIVER_SPOOL": str(root / "spool"),
        "RECEIVER_CATALOG": str(root / "catalog"),
        "RECEIVER_DISK_RESERVE_BYTES": "0",
    }
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED, *given.command],
        cwd=root,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    shown = (ran.stdout + ran.stderr).decode(errors="replace")
    found = re.search(r"--- (\d+) (\S+)", shown)
    assert found is not None, shown[-2000:]
    cost = int(found[1]), _left(root) - before, float(found[2])
    problems = list(_broken(given, *cost))
    if "Traceback" in shown or ran.returncode not in (0, 1, 3, 4):
        problems.append(f"{given.name}: ended with {ran.returncode}: {shown[-1500:]}")
    return Cost(given.name, bytes_in, *cost, tuple(problems))


def _broken(given: Input, memory: int, disk: int, seconds: float) -> list[str]:
    bounds = (
        ("bytes of memory", memory, _BASE_BYTES + given.memory_bytes),
        ("bytes of disk", disk, given.disk_bytes),
        ("CPU seconds", seconds, _BASE_SECONDS + given.seconds),
    )
    return [
        f"{given.name}: {found} {what}, allowed are {bound}"
        for what, found, bound in bounds
        if found > bound
    ]


def _left(root: Path) -> int:
    """Return how much archive and catalog hold."""
    return _size(root / "archive") + _size(root / "catalog")


def _size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


# Inputs that a provider, or who has its token, can send.


def _spool(root: Path, bodies: Sequence[bytes]) -> int:
    segment_file(root / "spool", [(head_of(), body) for body in bodies])
    return sum(map(len, bodies))


def _body(make_body: Callable[[], bytes]) -> Callable[[Path], int]:
    """Return a maker of a spool with one body."""
    return lambda root: _spool(root, [make_body()])


def _headers(root: Path) -> int:
    """Requests with as many headers as the door takes, none of them long."""
    headers = [(f"x-{number}", "") for number in range(1000)]
    segment_file(root / "spool", [(head_of(headers=headers), b"{}") for _ in range(50)])
    return _size(root)


def _ids(root: Path) -> int:
    """Postbacks of 8 KB with an id of 8 MiB."""
    body = b'{"status_code":20000,"tasks":[{"id":"%s","status_code":20000}]}'
    return _spool(root, [gzip.compress(body % (b"x" * (8 * _MEBI - 200)), 9)] * 40)


def _statuses(root: Path) -> int:
    """Postbacks with 5,000 statuses, in an archive that is searched."""
    body = '{"status_code":20000,"tasks":[{"id":"task-%d","status_code":"s%d"}]}'
    made = _spool(root, [(body % (number, number)).encode() for number in range(5000)])
    _ship(root, "gzip")
    return made


# Inputs that whoever writes to the bucket can leave there.


def _ship(root: Path, compression: str) -> None:
    Shipper(
        store=DirectoryStore(root / "archive"),
        providers=PROVIDERS,
        compression=COMPRESSIONS[compression],
        inflated_bytes_max=_MEBI,
        concurrency=1,
    ).ship(root / "spool")


def _archive(root: Path, compression: str = "gzip") -> Path:
    """Write an archive of three callbacks; return the index object."""
    segment_file(root / "spool", [(head_of(), b"{}") for _ in range(3)])
    _ship(root, compression)
    (path,) = (root / "archive" / "index").rglob("*.jsonl.gz")
    return path


def _index(content: Callable[[bytes], bytes]) -> Callable[[Path], int]:
    """Return a maker of an archive whose index object is made of what it was."""

    def make(root: Path) -> int:
        path = _archive(root)
        path.write_bytes(content(path.read_bytes()))
        return path.stat().st_size

    return make


def _repeated(index: bytes) -> bytes:
    """Return an index of 64 MiB of the same entry."""
    line = gzip.decompress(index).splitlines(keepends=True)[0]
    return gzip.compress(line * (64 * _MEBI // len(line)), 6)


def _zstd_line(root: Path) -> int:
    """A line whose zstd frame is a bomb."""
    path = _archive(root, "zstd")
    member = hostile.bomb(256 * _MEBI, zstd=True)

    def change(entries: list[hostile.Row]) -> None:
        hostile.add_member(root / "archive", entries[1], member, 16 * _MEBI)

    hostile.rewrite_index(path, change)
    return len(member)


_DEEP_START = b'{"status_code":20000,"tasks":[{"id":"t","result":'
INPUTS = (
    Input(
        "a gzip bomb",
        _body(lambda: hostile.bomb(128 * _MEBI)),
        ("ship",),
        64 * _MEBI,
        6 * _MEBI,
        8,
    ),
    Input(
        "a megabyte of empty gzip members",
        _body(lambda: gzip.compress(b"") * 50_000),
        ("ship",),
        64 * _MEBI,
        3 * _MEBI,
        3,
    ),
    Input(
        "a megabyte of brackets",
        _body(lambda: _DEEP_START + b"[" * _MEBI),
        ("ship",),
        64 * _MEBI,
        2 * _MEBI,
        3,
    ),
    Input("1,000 headers, 50 times", _headers, ("ship",), 64 * _MEBI, 2 * _MEBI, 3),
    Input("40 ids of 8 MiB", _ids, ("ship",), 128 * _MEBI, 2 * _MEBI, 20),
    Input("5,000 statuses", _statuses, ("find", "--limit", "10"), 64 * _MEBI, 8 * _MEBI, 4),
    Input(
        "an index object that is a bomb",
        _index(lambda _: hostile.bomb(256 * _MEBI)),
        ("find",),
        128 * _MEBI,
        _MEBI,
        4,
    ),
    Input(
        "an index object that is a zstd bomb",
        _index(lambda _: hostile.bomb(256 * _MEBI, zstd=True)),
        ("find",),
        64 * _MEBI,
        _MEBI,
        2,
    ),
    Input(
        "an index object of one entry, repeated",
        _index(_repeated),
        ("find",),
        64 * _MEBI,
        _MEBI,
        4,
    ),
    Input("a line that is a zstd bomb", _zstd_line, ("export",), 64 * _MEBI, _MEBI, 4),
)

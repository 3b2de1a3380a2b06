"""Reading the archive back: `verify` beside `zcat`, and `export` beside DuckDB.

Each side is a process of its own over the same objects, in a directory; what it took to start is
counted.  The archive holds standard callbacks, shipped with default settings.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from receiver.archive.schema import LINE
from tests.tools.bench import ship
from tests.tools.bench.pairs import Ratio
from tests.tools.bench.process import Failed
from tests.tools.bench.rows import Asked, Figure

_CALLBACKS = 20_000
_CALLBACKS_QUICK = 1_000
# One of 64 bodies, each with a tag of its own.
_TAG = "acme|run-7"
_ROOT = Path(__file__).parents[3]
_ZCAT = 'zcat "$0"/callbacks/*/*/*/*/*.gz > /dev/null'
# A program counts the memory of what held its process before, so a small one starts it.
_STARTER = """
import resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, seconds, used.ru_maxrss)
sys.exit(status)
"""
_DUCKDB = """
import sys, duckdb
archive, to, where, columns = sys.argv[1:]
lines = f"read_json('{archive}/callbacks/**/*.gz', columns={{{columns}}})"
duckdb.sql(f"COPY (SELECT * FROM {lines} WHERE {where}) TO '{to}' (FORMAT json)")
"""
_TYPES = {"number": "BIGINT", "pairs": "VARCHAR[][]"}
_COLUMNS = ", ".join(f"{column.name}: '{_TYPES.get(column.type, 'VARCHAR')}'" for column in LINE)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of a command took."""

    cpu_seconds: float
    seconds: float
    memory_peak_bytes: int


Side = Callable[[], Spent]


def measure_verify(asked: Asked) -> list[Figure]:
    """Verify an archive, and inflate the same objects, in turn."""
    with _Archive(asked) as archive:
        inflated = archive.inflated_bytes()
        zcat = ["bash", "-c", _ZCAT, str(archive.path)]
        runs = archive.take_turns(
            {
                "verify": lambda: archive.run([*_receiver("verify", "--since", "7d")]),
                "zcat": lambda: archive.run(zcat),
            }
        )
        figure = _figure("verify", "zcat of the same objects", runs["verify"], runs["zcat"])
        rates = {
            name: inflated / 1e6 / statistics.median(spent.seconds for spent in spents)
            for name, spents in runs.items()
        }
        return [
            figure,
            Figure(
                name=f"verify: MB/s of {inflated / 1e6:,.0f} MB inflated",
                value=f"{rates['verify']:,.0f}; zcat {rates['zcat']:,.0f}",
                raw={"inflated_bytes": inflated, "mb_per_second": rates},
            ),
        ]


def measure_export(asked: Asked) -> list[Figure]:
    """Export lines of an archive by its own index, and by DuckDB out of the objects, in turn."""
    with _Archive(asked) as archive:
        # The catalog is made once; every later command finds it.
        archive.run(_receiver("find", "--limit", "1"))
        return [
            _measure_export(archive, "export of all", (), "true"),
            _measure_export(archive, "export of one tag of 64", ("--tag", _TAG), f"tag = '{_TAG}'"),
        ]


def _measure_export(
    archive: "_Archive", name: str, arguments: tuple[str, ...], where: str
) -> Figure:
    ours, theirs = archive.root / "ours.jsonl", archive.root / "theirs.jsonl"
    duckdb = [sys.executable, "-c", _DUCKDB, str(archive.path), str(theirs), where, _COLUMNS]
    runs = archive.take_turns(
        {
            "export": lambda: archive.run(_receiver("export", "--to", str(ours), *arguments)),
            "duckdb": lambda: archive.run(duckdb),
        }
    )
    lines = [path.read_bytes().count(b"\n") for path in (ours, theirs)]
    if lines[0] != lines[1] or not lines[0]:
        raise Failed(f"{name}: {lines[0]} lines, and DuckDB has {lines[1]}")
    return _figure(f"{name}, {lines[0]:,} lines", "DuckDB", runs["export"], runs["duckdb"])


def _receiver(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "receiver", *arguments]


def _figure(name: str, other: str, ours: Sequence[Spent], theirs: Sequence[Spent]) -> Figure:
    each = [a.cpu_seconds / b.cpu_seconds for a, b in zip(ours, theirs, strict=True)]
    ratio = Ratio(statistics.median(each), min(each), max(each))
    return Figure(
        name=f"{name}: CPU s, s, peak memory",
        value=f"{_medians(ours)}; {other} {_medians(theirs)}; CPU in pairs {ratio} x",
        raw={
            "ours": [asdict(spent) for spent in ours],
            "theirs": [asdict(spent) for spent in theirs],
            "cpu_ratio": asdict(ratio),
        },
    )


def _medians(spents: Sequence[Spent]) -> str:
    cpu = statistics.median(spent.cpu_seconds for spent in spents)
    seconds = statistics.median(spent.seconds for spent in spents)
    peak = max(spent.memory_peak_bytes for spent in spents)
    return f"{cpu:.2f}, {seconds:.2f}, {peak >> 20} MiB"


class _Archive:
    """An archive of standard callbacks in a directory, for as long as the context lasts."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.root = asked.setting.directory / "reading"
        self.path = self.root / "archive"
        self._cores = asked.setting.cores.server | asked.setting.cores.load

    def __enter__(self) -> "_Archive":
        callbacks = _CALLBACKS_QUICK if self._asked.quick else _CALLBACKS
        self._asked.progress(f"archiving {callbacks} callbacks to read them back")
        ship.fill(self.root / "spool", callbacks)
        ship.empty(self.root / "spool", str(self.path), {}, self._cores)
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self.root)

    def inflated_bytes(self) -> int:
        """Return how long all lines are together."""
        program = _ZCAT.replace("> /dev/null", "| wc -c")
        done = subprocess.run(
            ["bash", "-c", program, str(self.path)], capture_output=True, check=True
        )
        return int(done.stdout)

    def take_turns(self, sides: Mapping[str, Side]) -> dict[str, list[Spent]]:
        """Run the sides one after the other, some times over, after one round that warms up."""
        taken: dict[str, list[Spent]] = {name: [] for name in sides}
        for number in range(self._asked.pairs + 1):
            for name, run in sides.items():
                self._asked.progress(f"{name}, round {number}")
                spent = run()
                if number:
                    taken[name].append(spent)
        return taken

    def run(self, command: Sequence[str]) -> Spent:
        """Run a command to its end; return what it and its children took."""
        own = {
            "RECEIVER_ARCHIVE": str(self.path),
            "RECEIVER_SPOOL": str(self.root / "spool"),
            "RECEIVER_CATALOG": str(self.root / "catalog"),
            "PYTHONPATH": str(_ROOT),
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RECEIVER_")}
        done = subprocess.run(
            [sys.executable, "-c", _STARTER, *command],
            cwd=self.root,
            env=clean | own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self._cores),
            check=False,
        )
        if done.returncode:
            raise Failed(f"{' '.join(command[:4])}: {done.stderr.decode(errors='replace')[-2000:]}")
        cpu, seconds, peak = done.stdout.split()
        return Spent(float(cpu), float(seconds), int(peak) << 10)

"""The catalog: finding in many entries, and taking in many.

    python -m tests.tools.bench.catalog find|sync …

does one measurement in a process of its own, and prints it as JSON.
"""

import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from receiver.catalog import Catalog
from receiver.catalog.filters import Filters
from receiver.store import open_store
from tests.tools.bench import made, sides
from tests.tools.bench.made import Made, MadeStore
from tests.tools.bench.pairs import percentile
from tests.tools.bench.process import Failed, Program, memory_peak_bytes
from tests.tools.bench.programs import BUCKET
from tests.tools.bench.rows import Asked, Figure

_ROOT = Path(__file__).parents[3]
_ASKED = 200
_HOUR_US = 3_600_000_000
_SYNC_ENTRIES = 1_000_000
_SYNC_ENTRIES_QUICK = 10_000
_FIND_ENTRIES_QUICK = 50_000
# Median and 99th percentile of S3 for a small object.
_DELAY_MS = (30.0, 200.0)
_LOOKUP_MS = 10.0
_TAG = "newest 100 of a tag that one in ten has"
_PROMISED = ("by task_id", "by key", "by delivery id", _TAG)
_SYNC_SECONDS = 60.0


def measure_find(asked: Asked) -> list[Figure]:
    """Build a catalog of many entries, and look things up in it."""
    entries = min(asked.entries, _FIND_ENTRIES_QUICK) if asked.quick else asked.entries
    asked.progress(f"a catalog of {entries:,} entries, and finding in it")
    directory = asked.setting.directory / "catalog-find"
    done = _run(asked, "find", str(directory), str(entries))
    shutil.rmtree(directory)
    figures = [_built(name, done[name]) for name in ("built", "grown")]
    for name, times in done["lookups"].items():
        p50, p99 = statistics.median(times), percentile(times, 99)
        wanted = name in _PROMISED
        figures.append(
            Figure(
                name=f"in {entries:,} entries: {name}",
                value=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
                goal=f"median under {_LOOKUP_MS:g} ms" if wanted else None,
                met=p50 < _LOOKUP_MS,
                raw={"milliseconds": times},
            )
        )
    return figures


def measure_sync(asked: Asked) -> list[Figure]:
    """Take in an index of a million entries, from a directory and from S3."""
    entries = _SYNC_ENTRIES_QUICK if asked.quick else _SYNC_ENTRIES
    root = asked.setting.directory / "index-to-sync"
    asked.progress(f"an index of {entries:,} entries")
    made.write(root, entries)
    try:
        figures = [_sync(asked, "a directory", str(root), {}, entries)]
        for name, delay in (("S3 that answers at once", ()), ("S3 as slow as it is", _DELAY_MS)):
            bucket = _bucket(asked, root, delay)
            try:
                environ = sides.s3_environ(bucket.url)
                figures.append(_sync(asked, name, f"s3://{BUCKET}", environ, entries))
            finally:
                bucket.end()
    finally:
        shutil.rmtree(root)
    return figures


def _sync(
    asked: Asked, name: str, address: str, environ: Mapping[str, str], entries: int
) -> Figure:
    runs = []
    for number in range(asked.pairs):
        asked.progress(f"sync from {name}, round {number + 1}")
        directory = asked.setting.directory / "catalog-sync"
        runs.append(_run(asked, "sync", str(directory), address, environ=environ))
        shutil.rmtree(directory)
        if runs[-1]["entries"] != entries:
            raise Failed(f"{runs[-1]['entries']} of {entries} entries were taken in")
    seconds = [run["seconds"] for run in runs]
    cpu = statistics.median(run["cpu_seconds"] for run in runs)
    peak = max(run["memory_peak_bytes"] for run in runs)
    again = statistics.median(run["again_seconds"] for run in runs)
    return Figure(
        name=f"sync of {entries:,} entries from {runs[0]['segments']:,} objects in {name}",
        value=f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
        f"CPU {cpu:.1f} s, peak memory {peak >> 20} MiB; again, nothing new: {again:.2f} s",
        goal=f"under {_SYNC_SECONDS:g} s",
        met=statistics.median(seconds) < _SYNC_SECONDS,
        raw={"runs": runs},
    )


def _built(name: str, run: dict[str, Any]) -> Figure:
    what = "built" if name == "built" else "then so many more taken in"
    return Figure(
        name=f"catalog {what}: {run['entries']:,} entries",
        value=f"{run['seconds']:.0f} s, CPU {run['cpu_seconds']:.0f} s with the making of the "
        f"index, {run['file_bytes'] / 1e6:,.0f} MB, peak memory "
        f"{run['memory_peak_bytes'] >> 20} MiB",
        raw=run,
    )


def _bucket(asked: Asked, root: Path, delay_ms: Iterable[float]) -> Program:
    return Program(
        "bucket",
        [sys.executable, "-m", "tests.tools.bench.bucket", str(root), *map(str, delay_ms)],
        directory=asked.setting.directory,
        environ={"PYTHONPATH": str(_ROOT)},
        cores=asked.setting.cores.load,
    )


def _run(asked: Asked, *arguments: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Measure in a process of its own, on all cores."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("RECEIVER_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.bench.catalog", *arguments],
        cwd=asked.setting.directory,
        env=clean | {"PYTHONPATH": str(_ROOT)} | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(
            0, asked.setting.cores.server | asked.setting.cores.load
        ),
        check=False,
    )
    if done.returncode:
        raise Failed(f"{arguments[0]}: {done.stderr.decode(errors='replace')[-2000:]}")
    result = orjson.loads(done.stdout)
    assert isinstance(result, dict)
    return result


# What runs in the process of its own.


def find(directory: Path, entries: int) -> dict[str, Any]:
    """Build a catalog, let it grow by a tenth, and look things up."""
    path = directory / "catalog.sqlite"
    store = MadeStore(entries)
    built = _taken(path, store)
    store.grow(entries + entries // 10)
    grown = _taken(path, store)
    # Another one, so that nothing is in its memory yet.
    catalog = Catalog(path, store)
    few = _lookups_of_few(catalog, entries)
    many = _lookups_of_many(catalog)
    lookups = {
        **{name: [_milliseconds(ask) for _ in range(_ASKED)] for name, ask in few.items()},
        **{name: [_milliseconds(ask) for _ in range(3)] for name, ask in many.items()},
    }
    return {"built": built, "grown": grown, "lookups": lookups}


def _lookups_of_few(catalog: Catalog, entries: int) -> dict[str, Callable[[], int]]:
    """Return what an index must answer at once; each asks for another entry every time."""
    chosen = random.Random(7)

    def some() -> Made:
        return Made(chosen.randrange(entries))

    def found(limit: int | None = None, **wanted: Any) -> int:
        return sum(1 for _ in catalog.find(Filters(**wanted), order="newest", limit=limit))

    def of_id() -> int:
        at_us = some().at_us // 1000 * 1000
        return found(since_us=at_us, until_us=at_us + 1000)

    def hour() -> dict[str, int]:
        at_us = some().at_us
        return {"since_us": at_us, "until_us": at_us + _HOUR_US}

    return {
        "by task_id": lambda: found(task_id=some().task_id),
        "by key": lambda: found(key=some().key),
        "by delivery id": of_id,
        _TAG: lambda: found(100, tag=made.TAG_OF_MANY),
        "newest 100 of that tag in an hour": lambda: found(100, tag=made.TAG_OF_MANY, **hour()),
        "newest 100 of a tag": lambda: found(100, tag=f"acme|run-{some().number // 20_000}"),
        "that tag and a task_id": lambda: found(task_id=some().task_id, tag=made.TAG_OF_MANY),
        "newest 100": lambda: found(100),
        "newest 100 of an hour": lambda: found(100, **hour()),
        "newest 100 of a provider": lambda: found(100, provider="outscraper"),
    }


def _lookups_of_many(catalog: Catalog) -> dict[str, Callable[[], int]]:
    """Return what has to look at much of an index, or at all of it."""

    def found(**wanted: Any) -> int:
        return sum(1 for _ in catalog.find(Filters(**wanted), order="newest", limit=100))

    return {
        "newest 100 of a status that 1 in 5,000 has": lambda: found(status=made.RARE_STATUS),
        "all that are invalid, 1 in 100,000": lambda: found(invalid="*"),
        "nothing, by a status that some have and no provider": lambda: found(
            status=made.RARE_STATUS, invalid="*"
        ),
        "the number of all, and their bytes": lambda: catalog.count(Filters())[0],
    }


def _milliseconds(ask: Callable[[], int]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1e3


def sync(directory: Path, address: str) -> dict[str, Any]:
    """Take in a whole index, and look once more."""
    path = directory / "catalog.sqlite"
    store = open_store(address)
    taken = _taken(path, store)
    began = time.perf_counter()
    Catalog(path, store).sync()
    return taken | {"again_seconds": time.perf_counter() - began}


def _taken(path: Path, store: Any) -> dict[str, Any]:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    synced = Catalog(path, store).sync()
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "segments": synced.segments,
        "entries": synced.entries,
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "file_bytes": path.stat().st_size,
        "memory_peak_bytes": memory_peak_bytes(os.getpid()),
    }


if __name__ == "__main__":
    what, where, more = sys.argv[1:]
    if what == "find":
        measured = find(Path(where), int(more))
    else:
        measured = sync(Path(where), more)
    sys.stdout.buffer.write(orjson.dumps(measured))

"""`make bench`, or `python -m tests.tools.bench --help`."""

import contextlib
import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.tools.bench import callback, figures, load, machine, sides
from tests.tools.bench.pairs import median, ratio, take_turns
from tests.tools.bench.process import Failed, Program, cores
from tests.tools.bench.report import LABELS, Report
from tests.tools.bench.rows import Asked
from tests.tools.bench.rows import rows as more_rows
from tests.tools.bench.sides import Setting, Side

# What each row is compared with.
_REFERENCES = {
    "bare": "starlette",
    "spool": "starlette",
    "shipping": "starlette",
    "fastapi": "spool",
    "beside": "spool",
}
_FIGURES = ("half-load", "ship", "s3")
_CHOICES = (*(name for name in LABELS if name != "beside"), *_FIGURES, *more_rows())
_RATE = 1000
_PYTHON = Path(".venv") / "bin" / "python"
_HALF_LOAD_CONNECTIONS = 64


def _list_of(choices: tuple[str, ...]) -> Callable[[object, object, str], tuple[str, ...]]:
    def parse(ctx: object, parameter: object, value: str) -> tuple[str, ...]:
        given = tuple(part.strip() for part in value.split(",") if part.strip())
        unknown = set(given) - set(choices)
        if unknown:
            raise click.BadParameter(f"{', '.join(sorted(unknown))} not in {', '.join(choices)}")
        return given

    return parse


def _numbers(ctx: object, parameter: object, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as exc:
        raise click.BadParameter("numbers, separated by commas") from exc


@click.command(context_settings={"show_default": True})
@click.option("--quick", is_flag=True, help="One pair, 64 connections, little of the rest.")
@click.option("--pairs", type=click.IntRange(1, 100), default=5, help="Pairs of runs.")
@click.option("--seconds", type=click.IntRange(1, 60), default=2, help="Length of a run.")
@click.option("--connections", callback=_numbers, default="16,64,256", help="Connections at once.")
@click.option(
    "--rows", callback=_list_of(_CHOICES), default=",".join(_CHOICES), help="What to measure."
)
@click.option("--callbacks", type=click.IntRange(1), default=10_000, help="Callbacks to ship.")
@click.option(
    "--entries", type=click.IntRange(1000), default=10_000_000, help="Entries to find in."
)
@click.option(
    "--s3-seconds", type=click.IntRange(1), default=25, help="How long S3 requests are counted."
)
@click.option(
    "--beside",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Another checkout, with its .venv: rows spool and ship measure its receiver in turn.",
)
@click.option(
    "--disk",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory on the disk to measure; by default where the results go.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    help="Directory for table and plot.",
)
def main(
    *,
    quick: bool,
    pairs: int,
    seconds: int,
    connections: tuple[int, ...],
    rows: tuple[str, ...],
    callbacks: int,
    entries: int,
    s3_seconds: int,
    beside: Path | None,
    disk: Path | None,
    output: Path,
) -> None:
    """Measure what a callback costs, and print one table; see the package's docstring."""
    problem = load.missing()
    if problem is not None:
        raise click.ClickException(problem)
    if quick:
        pairs, connections = 1, (64,)
        callbacks, s3_seconds = min(callbacks, 1000), min(s3_seconds, 4)
    bench = _Bench(
        pairs=pairs,
        seconds=seconds,
        connections=connections,
        rows=frozenset(rows),
        callbacks=callbacks,
        entries=entries,
        s3_seconds=s3_seconds,
        beside=_python(beside),
        quick=quick,
    )
    output.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=disk or output)).resolve()
    usable = os.sched_getaffinity(0)
    try:
        report = bench.measure(directory)
    except Failed as exc:
        raise click.ClickException(str(exc)) from exc
    finally:
        os.sched_setaffinity(0, usable)
        shutil.rmtree(directory)
    report.write(output)
    click.echo(report.markdown())
    click.echo(f"written to {output}: bench.md, bench.json, bench.png, bench.svg", err=True)


class _Bench:
    """One run of everything that was asked for."""

    def __init__(
        self,
        *,
        pairs: int,
        seconds: int,
        connections: tuple[int, ...],
        rows: frozenset[str],
        callbacks: int,
        entries: int,
        s3_seconds: int,
        beside: str | None,
        quick: bool,
    ) -> None:
        self._quick = quick
        self._pairs = pairs
        self._seconds = seconds
        self._connections = connections
        self._rows = rows
        self._callbacks = callbacks
        self._entries = entries
        self._s3_seconds = s3_seconds
        self._beside = beside
        self._began = time.monotonic()

    def measure(self, directory: Path) -> Report:
        """Start everything, measure, and end it all again."""
        apart = cores()
        body = directory / "body"
        body.write_bytes(callback.standard())
        setting = Setting(directory, apart, body, self._beside)
        report = Report(about=machine.description(directory, apart) | self._method(body))
        # What is started from here on has these cores, unless it is given others.
        os.sched_setaffinity(0, apart.load)
        with contextlib.ExitStack() as started:
            stub = sides.s3(setting)
            started.callback(stub.end)
            self._measure_sides(setting, stub, report, started)
            self._measure_figures(setting, stub, report)
        return report

    def _method(self, body: Path) -> dict[str, str]:
        wire = body.read_bytes()
        return {
            "callback": f"{len(wire):,} bytes of gzip, {len(gzip.decompress(wire)):,} of JSON",
            "method": f"{self._pairs} pairs of runs of {self._seconds} s, side after side; "
            "medians, and in brackets the least and the most of the pairs",
        }

    def _measure_sides(
        self, setting: Setting, stub: Program, report: Report, started: contextlib.ExitStack
    ) -> None:
        running = {}
        for name in self._sides():
            running[name] = started.enter_context(_start(name, setting, stub))
            self._progress(f"warming up {name}")
            running[name].run(connections=16, seconds=1)
        for connections in self._connections:
            for name, side in running.items():
                if name in _REFERENCES:
                    self._compare(running[_REFERENCES[name]], side, connections, report)
                elif len(running) == 1:
                    report.runs[name, connections] = [
                        side.run(connections=connections, seconds=self._seconds)
                        for _ in range(self._pairs)
                    ]
        report.memory_peak_bytes |= {
            name: side.memory_peak_bytes() for name, side in running.items()
        }
        if "half-load" in self._rows:
            self._measure_half_load(running["starlette"], running["spool"], report)

    def _sides(self) -> list[str]:
        """Return the rows to measure, and what they are compared with, in their order."""
        wanted = (self._rows & LABELS.keys()) - {"beside"}
        if "half-load" in self._rows:
            wanted |= {"spool"}
        if self._beside is not None and "spool" in wanted:
            wanted |= {"beside"}
        while more := {_REFERENCES[name] for name in wanted & _REFERENCES.keys()} - wanted:
            wanted |= more
        return [name for name in LABELS if name in wanted]

    def _compare(self, reference: Side, side: Side, connections: int, report: Report) -> None:
        pairs = take_turns(
            reference,
            side,
            pairs=self._pairs,
            connections=connections,
            seconds=self._seconds,
            progress=self._progress,
        )
        for name, runs in (
            (reference.name, [pair.reference for pair in pairs]),
            (side.name, [pair.run for pair in pairs]),
        ):
            report.runs.setdefault((name, connections), []).extend(runs)
        compared = ratio(pairs, lambda run: run.cpu_us)
        report.ratios[side.name, connections] = reference.name, compared

    def _measure_half_load(self, route: Side, receiver: Side, report: Report) -> None:
        at = min(self._connections, key=lambda count: abs(count - _HALF_LOAD_CONNECTIONS))
        rate_max = median(report.runs["spool", at], lambda run: run.requests_per_second)
        report.half_load = figures.half_load(
            route,
            receiver,
            rate_max=rate_max,
            pairs=self._pairs,
            seconds=self._seconds,
            progress=self._progress,
        )

    def _measure_figures(self, setting: Setting, stub: Program, report: Report) -> None:
        if "ship" in self._rows:
            for name, archive in (("a directory", None), ("the stub of S3", "s3://bench/shipped")):
                report.shipping[name] = figures.shipping(
                    setting,
                    archive=archive,
                    environ=sides.s3_environ(stub.url),
                    rounds=self._pairs,
                    callbacks=self._callbacks,
                    progress=self._progress,
                )
        if "s3" in self._rows:
            report.s3_requests = figures.s3_requests(
                setting, stub, rate=_RATE, seconds=self._s3_seconds, progress=self._progress
            )
            report.memory_peak_bytes["shipping-to-s3"] = (
                report.s3_requests.server_memory_peak_bytes,
                report.s3_requests.parent_memory_peak_bytes,
            )

        asked = Asked(
            setting=setting,
            stub=stub,
            pairs=self._pairs,
            seconds=self._seconds,
            entries=self._entries,
            quick=self._quick,
            progress=self._progress,
        )
        for name, measure in more_rows().items():
            if name in self._rows:
                report.figures += measure(asked)

    def _progress(self, what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        click.echo(f"{minutes:3}:{seconds:02} {what}", err=True)


def _python(checkout: Path | None) -> str | None:
    """Return the Python by which another checkout's receiver runs."""
    if checkout is None:
        return None
    python = checkout.absolute() / _PYTHON
    if not python.exists():
        raise click.BadParameter(f"{python} is missing: run `make install` in {checkout}")
    return str(python)


def _start(name: str, setting: Setting, stub: Program) -> Side:
    if name == "spool":
        return sides.spool(setting)
    if name == "beside":
        assert setting.beside is not None
        return sides.spool(setting, name, python=setting.beside)
    if name == "shipping":
        return sides.shipping(setting)
    environ = sides.s3_environ(stub.url) if name == "fastapi" else None
    return sides.without_spool(name, setting, environ=environ)


if __name__ == "__main__":
    main(prog_name="python -m tests.tools.bench")

"""The table as Markdown, the plot, and the raw figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.tools.bench.figures import HalfLoad, S3Requests, Shipping
from tests.tools.bench.pairs import Ratio, median
from tests.tools.bench.rows import Figure
from tests.tools.bench.sides import Run

LABELS = {
    "bare": "bare ASGI app, stores nothing",
    "starlette": "Starlette route, stores nothing",
    "spool": "this receiver: on disk",
    "beside": "the checkout beside it: on disk",
    "shipping": "this receiver: on disk, and shipping",
    "fastapi": "FastAPI + boto3 in the request",
}
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal, what was measured, and whether it meets the goal."""

    name: str
    goal: str
    measured: str
    met: bool


@dataclass(kw_only=True)
class Report:
    """Everything that was measured."""

    # On what, and how.
    about: Mapping[str, str]
    # By row and connections.
    runs: dict[tuple[str, int], list[Run]] = field(default_factory=dict)
    # By row and connections: what it is compared with, and how it compares.
    ratios: dict[tuple[str, int], tuple[str, Ratio]] = field(default_factory=dict)
    memory_peak_bytes: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    half_load: HalfLoad | None = None
    # By kind of archive.
    shipping: dict[str, Shipping] = field(default_factory=dict)
    s3_requests: S3Requests | None = None
    # Of `rows`.
    figures: list[Figure] = field(default_factory=list)

    def markdown(self) -> str:
        """Return all of it as one Markdown text."""
        return "\n".join(
            [
                "# What a callback costs",
                "",
                *(f"- {name}: {value}" for name, value in self.about.items()),
                "",
                *self._table(),
                "",
                *_lines(("figure", "value"), self._figures()),
                "",
                *_lines(
                    ("goal", "wanted", "measured", "met"),
                    [
                        (g.name, g.goal, g.measured, "yes" if g.met else "**no**")
                        for g in self.goals()
                    ],
                ),
                "",
            ]
        )

    def write(self, directory: Path) -> None:
        """Write `bench.md`, `bench.json`, `bench.png` and `bench.svg`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "bench.md").write_text(self.markdown())
        (directory / "bench.json").write_bytes(
            orjson.dumps(self._raw(), option=orjson.OPT_INDENT_2)
        )
        self._plot(directory)

    def goals(self) -> list[Goal]:
        """Return the goals of which something was measured."""
        of_rows = [
            Goal(name=f.name, goal=f.goal, measured=f.value, met=f.met)
            for f in self.figures
            if f.goal is not None
        ]
        return [*self._goals_of_the_door(), *self._goals_of_the_archive(), *of_rows]

    def _table(self) -> list[str]:
        header = (
            "row",
            "connections",
            "CPU µs per callback",
            "of it system",
            "parent's CPU µs",
            "callbacks/s",
            "p50 ms",
            "p99 ms",
            "CPU, in pairs",
        )
        rows = []
        for (name, connections), runs in sorted(self.runs.items(), key=_order):
            parent = runs[0].parent_cpu_us is not None
            rows.append(
                (
                    LABELS[name],
                    str(connections),
                    f"{median(runs, lambda run: run.cpu_us):.0f}",
                    f"{median(runs, lambda run: run.system_us):.0f}",
                    f"{median(runs, lambda run: run.parent_cpu_us or 0.0):.0f}" if parent else "-",
                    f"{median(runs, lambda run: run.requests_per_second):,.0f}",
                    f"{median(runs, lambda run: run.p50_ms):.1f}",
                    f"{median(runs, lambda run: run.p99_ms):.1f}",
                    self._compared(name, connections),
                )
            )
        return _lines(header, rows, right=range(1, 8))

    def _compared(self, name: str, connections: int) -> str:
        if (name, connections) not in self.ratios:
            return "-"
        reference, ratio = self.ratios[name, connections]
        return f"{ratio} x {reference}"

    def _figures(self) -> list[tuple[str, str]]:
        rows = []
        for archive, shipping in self.shipping.items():
            rows.append(
                (
                    f"shipping alone, to {archive}: CPU µs per callback",
                    f"{shipping.cpu_us:.0f} ({shipping.cpu_us_least:.0f} to "
                    f"{shipping.cpu_us_most:.0f}), {shipping.callbacks_per_second:,.0f}/s, "
                    f"peak memory {_mib(shipping.memory_peak_bytes)}",
                )
            )
            if shipping.beside is not None:
                rows.append(
                    (f"the checkout beside it, to {archive}", f"{shipping.beside} x this one")
                )
        if self.s3_requests is not None:
            s3 = self.s3_requests
            rows.append(
                (
                    f"S3 requests per million callbacks at {s3.rate:,.0f}/s",
                    f"{s3.per_million:,.0f} ({s3.requests} for {s3.callbacks:,} callbacks)",
                )
            )
        if self.half_load is not None:
            half = self.half_load
            rows += [
                (
                    f"at half load, {half.rate:,.0f} callbacks/s: this receiver",
                    f"p50 {half.p50_ms:.2f} ms, p99 {half.p99_ms:.2f} ms",
                ),
                (
                    "the Starlette route at the same rate",
                    f"p50 {half.route_p50_ms:.2f} ms, p99 {half.route_p99_ms:.2f} ms",
                ),
                (
                    "fdatasync of one callback appended",
                    f"p50 {half.sync_p50_ms:.2f} ms, p99 {half.sync_p99_ms:.2f} ms",
                ),
            ]
        rows += [(figure.name, figure.value) for figure in self.figures]
        for name, (server, parent) in self.memory_peak_bytes.items():
            also = "" if parent is None else f", parent {_mib(parent)}"
            rows.append(
                (f"peak memory, {LABELS.get(name, name)}", f"server process {_mib(server)}{also}")
            )
        return rows

    def _goals_of_the_door(self) -> list[Goal]:
        goals = []
        for (name, connections), (reference, ratio) in sorted(self.ratios.items(), key=_order):
            if (name, reference) == ("spool", "starlette"):
                what = f"CPU of a durable 2xx, {connections} connections"
                wanted = "at most 1.2 x the Starlette route"
                goals.append(
                    Goal(name=what, goal=wanted, measured=str(ratio), met=ratio.median <= 1.2)
                )
            if (name, reference) == ("fastapi", "spool"):
                what = f"CPU of FastAPI + boto3, {connections} connections"
                wanted = "at least 40 x this receiver"
                goals.append(
                    Goal(name=what, goal=wanted, measured=str(ratio), met=ratio.median >= 40)
                )
        if self.half_load is not None:
            half = self.half_load
            goals.append(
                Goal(
                    name="p99 at half load",
                    goal="at most 1.5 x (p99 of the route + one fdatasync)",
                    measured=f"{half.ratio:.2f} with a usual sync, "
                    f"{half.ratio_to_slow_sync:.2f} with a slow one",
                    met=half.ratio <= 1.5,
                )
            )
        return goals

    def _goals_of_the_archive(self) -> list[Goal]:
        goals = [
            Goal(
                name=f"shipping alone, to {archive}",
                goal="at most 120 µs of CPU per callback",
                measured=f"{shipping.cpu_us:.0f}",
                met=shipping.cpu_us <= 120,
            )
            for archive, shipping in self.shipping.items()
        ]
        if self.s3_requests is not None:
            per_million = self.s3_requests.per_million
            goals.append(
                Goal(
                    name="S3 requests at 1,000 callbacks a second",
                    goal="at most 1,000 per million callbacks",
                    measured=f"{per_million:,.0f}",
                    met=per_million <= 1000,
                )
            )
        ours = [self.memory_peak_bytes[name][0] for name in self.memory_peak_bytes if name in _OURS]
        if ours:
            goals.append(
                Goal(
                    name="peak memory of a server process",
                    goal="under 150 MiB, and bodies in flight",
                    measured=_mib(max(ours)),
                    met=max(ours) < 150 * _MIB,
                )
            )
        return goals

    def _raw(self) -> dict[str, Any]:
        return {
            "about": dict(self.about),
            "runs": [
                {"row": name, "connections": connections, **asdict(run)}
                for (name, connections), runs in sorted(self.runs.items(), key=_order)
                for run in runs
            ],
            "ratios": [
                {"row": name, "connections": connections, "to": reference, **asdict(ratio)}
                for (name, connections), (reference, ratio) in sorted(
                    self.ratios.items(), key=_order
                )
            ],
            "memory_peak_bytes": self.memory_peak_bytes,
            "half_load": None if self.half_load is None else asdict(self.half_load),
            "shipping": {name: asdict(shipping) for name, shipping in self.shipping.items()},
            "s3_requests": None if self.s3_requests is None else asdict(self.s3_requests),
            "figures": [asdict(figure) for figure in self.figures],
            "goals": [asdict(goal) for goal in self.goals()],
        }

    def _plot(self, directory: Path) -> None:
        # Only here: the import takes longer than all others together.
        import matplotlib.pyplot as plt

        names = [name for name in LABELS if any(row == name for row, _ in self.runs)]
        if not names:
            return
        plt.switch_backend("Agg")
        size = (12, 1.6 + 0.7 * len(names))
        figure, axes = plt.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
        self._dots(axes[0], names, "CPU µs per callback, log scale", lambda run: run.cpu_us)
        self._dots(axes[1], names, "p99 ms under full load, log scale", lambda run: run.p99_ms)
        axes[0].set_yticks(range(len(names)), [LABELS[name] for name in names])
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        axes[0].legend(loc="upper right", frameon=False, fontsize="small")
        for suffix in ("png", "svg"):
            figure.savefig(directory / f"bench.{suffix}", dpi=150, metadata=_NO_DATE[suffix])
        plt.close(figure)

    def _dots(
        self, axes: Any, names: Sequence[str], title: str, of: Callable[[Run], float]
    ) -> None:
        counts = sorted({connections for _, connections in self.runs})
        for place, connections in enumerate(counts):
            shift = (place - (len(counts) - 1) / 2) * 0.26
            shown = [
                (median(self.runs[name, connections], of), row + shift)
                for row, name in enumerate(names)
            ]
            axes.plot(
                *zip(*shown, strict=True),
                linestyle="none",
                marker="o",
                label=f"{connections} connections",
                color=_COLOURS[place % len(_COLOURS)],
            )
            for value, height in shown:
                text = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
                axes.annotate(
                    text,
                    (value, height),
                    xytext=(7, 0),
                    textcoords="offset points",
                    verticalalignment="center",
                    fontsize="small",
                )
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)


_OURS = ("spool", "shipping", "shipping-to-s3")
_COLOURS = ("#9ecae1", "#4292c6", "#08306b")
_NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}


def _order(item: tuple[tuple[str, int], Any]) -> tuple[int, int]:
    (name, connections), _ = item
    return list(LABELS).index(name), connections


def _lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> list[str]:
    """Return a table whose columns also line up as plain text."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if column in right else "-" * width
        for column, width in enumerate(widths)
    ]
    return [line(header), line(rule), *map(line, rows)]


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f} MiB"

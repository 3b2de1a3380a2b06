"""Two sides in turn, and what is left of the machine's noise: the median of the pairs."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.tools.bench.sides import Run, Side


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much: the median of the pairs, and the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, each: Sequence[float]) -> "Ratio":
        """Summarise the ratios of all pairs."""
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        if self.least == self.most:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.least)} to {_short(self.most)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of each side, one right after the other."""

    reference: Run
    run: Run


def take_turns(
    reference: Side,
    side: Side,
    *,
    pairs: int,
    connections: int,
    seconds: int,
    pause_ms: int | None = None,
    progress: Callable[[str], None],
) -> list[Pair]:
    """Measure A B A B …"""
    taken = []
    for number in range(1, pairs + 1):
        progress(f"{side.name} and {reference.name}, {connections} connections, pair {number}")
        runs = [
            one.run(connections=connections, seconds=seconds, pause_ms=pause_ms)
            for one in (reference, side)
        ]
        taken.append(Pair(*runs))
    return taken


def ratio(pairs: Sequence[Pair], of: Callable[[Run], float]) -> Ratio:
    """Compare the two sides of each pair."""
    return Ratio.of([of(pair.run) / of(pair.reference) for pair in pairs])


def median(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """Return the median of all runs."""
    return statistics.median(map(of, runs))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of raw values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]

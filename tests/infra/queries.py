"""PromQL: which metrics and labels a query asks for, and which there are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import promql_parser
from prometheus_client import Counter, Gauge, Histogram

from receiver import metrics


@dataclass
class Asked:
    """What a query asks for."""

    metrics: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)


# Labels that Prometheus adds when it scrapes, and its own metrics.
SCRAPED = {"instance", "job", "le"}
NOT_OURS = {"up", "ALERTS"}


def exposed() -> dict[str, set[str]]:
    """Return every sample name that the receiver exposes, with its labels."""
    named: dict[str, set[str]] = {}
    for one in vars(metrics).values():
        if not isinstance(one, Counter | Gauge | Histogram):
            continue
        labels = set(one._labelnames)
        if isinstance(one, Counter):
            named[f"{one._name}_total"] = labels
        elif isinstance(one, Histogram):
            named |= {f"{one._name}_{part}": labels for part in ("bucket", "sum", "count")}
        else:
            named[one._name] = labels
    return named


def asked(query: str) -> Asked:
    """Parse a query; raises `ValueError` if it is none."""
    found = Asked()
    for part in _walk(promql_parser.parse(query)):
        if isinstance(part, promql_parser.VectorSelector):
            assert part.name is not None, query
            found.metrics.add(part.name)
            found.labels |= {matcher.name for matcher in part.matchers.matchers}
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            found.labels |= set(part.modifier.labels)
    return found


def unknown(query: str) -> set[str]:
    """Return the metrics and labels of a query that nobody exposes."""
    there, found = exposed(), asked(query)
    labels = set[str]().union(SCRAPED, *(there.get(name, set()) for name in found.metrics))
    return (found.metrics - set(there) - NOT_OURS) | (found.labels - labels)


def _walk(part: Any) -> Iterator[Any]:
    yield part
    for name in ("expr", "lhs", "rhs", "param", "vector_selector", "args"):
        below = getattr(part, name, None)
        for one in below if isinstance(below, list) else [below]:
            if one is not None:
                yield from _walk(one)

"""Metrics: named in one place, summed over the processes of an instance."""

import ast
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import receiver
from receiver import metrics
from receiver.metrics import Instance, Samples

PACKAGE = Path(receiver.__file__).parent
KINDS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def definitions(path: Path) -> list[str]:
    """Return the names of the metrics that a module defines."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name | ast.Attribute)
        and (call.func.id if isinstance(call.func, ast.Name) else call.func.attr) in KINDS
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


def test_every_metric_is_defined_once_and_only_in_the_module_for_it() -> None:
    named = definitions(PACKAGE / "metrics.py")
    assert len(named) > 10
    assert sorted(set(named)) == sorted(named)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "metrics.py":
            assert [] == definitions(path), path
            assert '"receiver_' not in path.read_text(), path


def test_every_metric_has_the_prefix_and_a_meaning() -> None:
    ours = [metric for metric in Instance().collect()]
    assert set(definitions(PACKAGE / "metrics.py")) == {metric.name for metric in ours}
    for metric in ours:
        assert metric.name.startswith("receiver_")
        assert metric.documentation.endswith("."), metric.name


def exposed(instance: Instance) -> dict[str, Metric]:
    families = text_string_to_metric_families(instance.exposition().decode())
    return {family.name: family for family in families}


def value(instance: Instance, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in exposed(instance).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert 1 == len(found), name
    return found[0]


LABELS = {"provider": "dataforseo", "kind": "postback"}
CHILD: Samples = [
    ("receiver_acknowledged_total", LABELS, 5.0),
    ("receiver_inflight_bytes", {}, 700.0),
    ("receiver_commit_records_bucket", {"le": "1.0"}, 2.0),
    ("receiver_commit_records_bucket", {"le": "+Inf"}, 3.0),
    ("receiver_commit_records_sum", {}, 9.0),
    ("receiver_commit_records_count", {}, 3.0),
]


def test_the_samples_of_all_processes_are_summed() -> None:
    instance = Instance()
    own = value(instance, "receiver_commit_records_count")
    own_acknowledged = metrics.acknowledged.labels(**LABELS)._value.get()
    instance.update(1, CHILD)
    instance.update(2, CHILD)
    assert own_acknowledged + 10 == value(instance, "receiver_acknowledged_total", **LABELS)
    assert own + 6 == value(instance, "receiver_commit_records_count")


def test_a_newer_snapshot_takes_the_place_of_the_older() -> None:
    instance = Instance()
    before = value(instance, "receiver_commit_records_sum")
    instance.update(1, CHILD)
    instance.update(1, [("receiver_commit_records_sum", {}, 11.0)])
    assert before + 11 == value(instance, "receiver_commit_records_sum")


def test_what_an_ended_process_counted_is_kept_and_its_gauges_are_dropped() -> None:
    instance = Instance()
    gauge = value(instance, "receiver_inflight_bytes")
    before = value(instance, "receiver_commit_records_sum")
    instance.update(1, CHILD)
    assert gauge + 700 == value(instance, "receiver_inflight_bytes")
    instance.retire(1)
    assert gauge == value(instance, "receiver_inflight_bytes")
    assert before + 9 == value(instance, "receiver_commit_records_sum")
    # Another process under the same id counts on top of it.
    instance.update(1, CHILD)
    instance.retire(1)
    assert before + 18 == value(instance, "receiver_commit_records_sum")


def test_retiring_a_process_that_never_reported_is_harmless() -> None:
    instance = Instance()
    instance.update(1, CHILD)
    names = ("receiver_inflight_bytes", "receiver_commit_records_sum")
    before = [value(instance, name) for name in names]
    instance.retire(4711)
    assert before == [value(instance, name) for name in names]


def test_a_snapshot_of_this_process_can_be_summed_by_another() -> None:
    metrics.spool_failures.inc()
    own = metrics.spool_failures._value.get()
    instance = Instance()
    instance.update(1, metrics.snapshot())
    assert 2 * own == value(instance, "receiver_spool_failures_total")


def test_the_exposition_parses_with_types_and_buckets_in_order() -> None:
    metrics.commit_records.observe(3)
    instance = Instance()
    instance.update(1, CHILD)
    families = exposed(instance)
    assert "histogram" == families["receiver_commit_records"].type
    assert "counter" == families["receiver_acknowledged"].type
    assert "gauge" == families["receiver_lag_seconds"].type
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in families["receiver_commit_records"].samples
        if sample.name.endswith("_bucket")
    ]
    assert sorted(buckets) == buckets
    assert float("inf") == buckets[-1][0]


@pytest.mark.parametrize("name", ["receiver_acknowledged_created", "python_info"])
def test_nothing_but_our_own_samples_is_exposed(name: str) -> None:
    metrics.acknowledged.labels(**LABELS).inc()
    assert name.encode() not in Instance().exposition()

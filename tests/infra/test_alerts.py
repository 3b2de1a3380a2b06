"""The alerts are rules that Prometheus takes, on metrics that exist, and fire when they should."""

import ast
import math
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from receiver.errors import ReceiverError, SpoolUnavailable
from tests.infra.defaults import DEFAULTS
from tests.infra.queries import asked, exposed, unknown
from tests.tools.support.server import Receiver
from tests.tools.support.tools import ROOT, needs

RULES = ROOT / "infra" / "alerts.yaml"
TESTS = Path(__file__).parent / "alerts_test.yaml"
RUNBOOK = ROOT / "infra" / "runbook.md"


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return {rule["alert"]: rule for rule in rules}


def entries() -> dict[str, str]:
    """Return the runbook's entries by their heading."""
    _, *parts = re.split(r"^## (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rejections() -> dict[str, int]:
    """Return every reason that the code rejects with, and the status that goes with it."""
    found = {ReceiverError.reason: ReceiverError.status}
    found[SpoolUnavailable.reason] = SpoolUnavailable.status
    for path in (ROOT / "receiver").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Rejected":
                reason, status = node.args[0], {k.arg: k.value for k in node.keywords}["status"]
                assert isinstance(reason, ast.Constant)
                assert isinstance(status, ast.Constant)
                found[str(reason.value)] = int(str(status.value))
    return found


@pytest.mark.integration
def test_prometheus_takes_the_rules() -> None:
    subprocess.run([needs("promtool"), "check", "rules", "--lint-fatal", RULES], check=True)


@pytest.mark.integration
def test_alerts_fire_when_they_should_and_only_then() -> None:
    subprocess.run([needs("promtool"), "test", "rules", TESTS], check=True)


def test_every_alert_is_made_to_fire_by_a_test() -> None:
    samples = [
        sample["labels"]
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for expected in case["promql_expr_test"]
        for sample in expected["exp_samples"]
    ]
    # Of this one only a count is expected, among others that fire.
    fired = set(re.findall(r'alertname="(\w+)"', " ".join(samples))) | {"ReceiverSpoolFull"}
    assert set(alerts()) == fired


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_asks_for_what_the_receiver_exposes(name: str) -> None:
    assert set() == unknown(alerts()[name]["expr"])


def test_a_name_that_nobody_exposes_is_found() -> None:
    assert {"receiver_nonsense"} == unknown("rate(receiver_nonsense[5m]) > 0")
    assert {"flavour"} == unknown('receiver_lag_seconds{flavour="x"}')
    assert {"flavour"} == unknown("sum by (flavour) (receiver_lag_seconds)")
    assert set() == unknown('sum by (le) (rate(receiver_commit_seconds_bucket{instance="a"}[5m]))')


def test_rejections_and_refusals_are_told_apart_as_the_code_does() -> None:
    (reasons,) = re.findall(r'reason=~"([^"]+)"', alerts()["ReceiverRejects"]["expr"])
    final = {reason for reason, status in rejections().items() if status < 500}
    assert final == set(reasons.split("|"))
    (others,) = re.findall(r'reason!~"([^"]+)"', alerts()["ReceiverRefuses"]["expr"])
    assert final | {"disconnected"} == set(others.split("|"))


def test_a_spool_is_full_when_the_largest_body_finds_no_room() -> None:
    (factors,) = re.findall(r"< ([\d* ]+)$", alerts()["ReceiverSpoolFull"]["expr"])
    assert DEFAULTS.body_bytes_max == math.prod(map(int, factors.split(" * ")))


def test_the_runbook_has_an_entry_for_each_alert_which_points_to_it() -> None:
    assert list(alerts()) == list(entries())
    for name, rule in alerts().items():
        assert f"infra/runbook.md#{name.lower()}" == rule["annotations"]["runbook"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", sorted(entries()))
def test_an_entry_says_what_it_means_what_to_do_and_when_it_is_over(name: str) -> None:
    assert ["**Means.**", "**Do.**", "**Over**"] == re.findall(
        r"^\*\*\w+\.?\*\*", entries()[name], re.MULTILINE
    )


def test_metrics_that_the_runbook_names_are_exposed() -> None:
    named = set(re.findall(r"`(?:increase\()?(receiver_\w+)", RUNBOOK.read_text()))
    assert len(named) > 5
    assert set() == named - set(exposed())


@pytest.mark.system
def test_an_instance_of_several_processes_exposes_what_alerts_ask_for(tmp_path: Path) -> None:
    with Receiver(tmp_path) as it:
        it.start("--workers", "2")
        text = it.metrics_text()
        shown = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
        names = {name for rule in alerts().values() for name in asked(rule["expr"]).metrics}
        assert set() == names - shown - {"up"}
        # One clock, not the sum over the processes.
        values = dict(re.findall(r"^(receiver_\w+) (\S+)$", text, re.MULTILINE))
        assert abs(time.time() - float(values["receiver_clock_timestamp_seconds"])) < 3600
        spool_left, disk_left = (
            float(values[f"receiver_{place}_left_bytes"]) for place in ("spool", "disk")
        )
        assert 0 < spool_left <= disk_left
        it.terminate()

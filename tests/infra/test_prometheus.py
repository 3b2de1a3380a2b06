"""Prometheus takes the configuration, and calls what it finds as the alerts do."""

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.infra.aws import TEMPLATE
from tests.infra.defaults import DEFAULTS
from tests.infra.manifests import container, find
from tests.tools.support.tools import ROOT, needs

pytestmark = pytest.mark.integration

PATH = ROOT / "infra" / "prometheus.yaml"
META = "__meta_kubernetes_pod"


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return found


def jobs() -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in configuration()["scrape_configs"]}


def ports_of_a_pod() -> list[dict[str, Any]]:
    """Return what Prometheus would find of a pod of the manifest: a target for each port."""
    labels = find("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    meta = {f"{META}_label_{re.sub(r'[./]', '_', key)}": value for key, value in labels.items()}
    return [
        {
            "targets": [f"10.1.2.3:{port['containerPort']}"],
            "labels": meta
            | {f"{META}_name": "receiver-0", f"{META}_container_port_name": port["name"]},
        }
        for port in container("StatefulSet")["ports"]
    ]


def found_without_a_network() -> dict[str, Any]:
    """Return the configuration with what its jobs would find, in place of how they find it."""
    found = copy.deepcopy(configuration())
    for job in found["scrape_configs"]:
        # Debian's Prometheus cannot ask Kubernetes.
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = ports_of_a_pod()
        if job.pop("dns_sd_configs", None):
            job["static_configs"] = [{"targets": [f"10.1.2.4:{DEFAULTS.admin_port}"]}]
    return found


def promtool(*arguments: object) -> str:
    command = [needs("promtool"), "check", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_prometheus_takes_it(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").symlink_to(PATH.parent / "alerts.yaml")
    here = configuration()
    for job in here["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = ports_of_a_pod()
    (tmp_path / PATH.name).write_text(yaml.safe_dump(here))
    shown = promtool("config", tmp_path / PATH.name)
    assert "1 rule files found" in shown


@pytest.mark.parametrize("name", sorted(jobs()))
def test_what_is_found_is_called_as_the_alerts_ask(tmp_path: Path, name: str) -> None:
    here = tmp_path / PATH.name
    here.write_text(yaml.safe_dump(found_without_a_network() | {"rule_files": []}))
    targets = orjson.loads(promtool("service-discovery", "--timeout=1s", here, name))
    scraped = [one["labels"] for one in targets if one["labels"]]
    assert scraped
    for labels in scraped:
        assert ("receiver", "/metrics") == (labels["job"], labels["__metrics_path__"])
        assert labels["__address__"].endswith(f":{DEFAULTS.admin_port}")
    if "kubernetes" in name:
        assert 2 == len(targets)
        assert ["receiver-0"] == [labels["instance"] for labels in scraped]


def test_it_looks_where_the_receivers_are() -> None:
    (kubernetes,) = jobs()["receiver-kubernetes"]["kubernetes_sd_configs"]
    namespace = find("StatefulSet")["metadata"]["namespace"]
    assert {"role": "pod", "namespaces": {"names": [namespace]}} == kubernetes
    (ecs,) = jobs()["receiver-ecs"]["dns_sd_configs"]
    # As the stack of README.md is called.
    assert ["receiver.receiver.internal"] == ecs["names"]
    template = TEMPLATE.read_text()
    assert 'Name: !Sub "${AWS::StackName}.internal"' in template
    assert re.search(r"MetricsName:\n.*\n.*\n.*\n      Name: receiver\n", template)

"""The Kubernetes manifests, as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.tools.support.tools import ROOT

FOLDER = ROOT / "infra" / "kubernetes"
PATHS = sorted(FOLDER.rglob("*.yaml"))
ROUTE = FOLDER / "entrance" / "httproute.yaml"


def objects() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every object and the file that it is in."""
    for path in PATHS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path, document


def find(kind: str, name: str = "receiver") -> dict[str, Any]:
    """Return the object of a kind and name."""
    (found,) = (
        document
        for _, document in objects()
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    )
    return found


def pods() -> Iterator[dict[str, Any]]:
    """Yield the specification of every pod that something here makes."""
    for _, document in objects():
        template = document.get("spec", {}).get("template")
        if template is not None:
            yield template["spec"]


def links() -> dict[str, str]:
    """Return what Kubernetes puts into a pod's environment for the Services, where it is let."""
    found: dict[str, str] = {}
    for _, document in objects():
        if document["kind"] != "Service" or document["spec"].get("clusterIP") == "None":
            continue
        name = document["metadata"]["name"].upper().replace("-", "_")
        ports = document["spec"]["ports"]
        found |= {f"{name}_SERVICE_HOST": "10.96.0.9"}
        found |= {f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        found |= {f"{name}_PORT": f"tcp://10.96.0.9:{ports[0]['port']}"}
        for port in ports:
            linked = f"{name}_PORT_{port['port']}_TCP"
            found |= {f"{name}_SERVICE_PORT_{port['name'].upper()}": str(port["port"])}
            found |= {linked: f"tcp://10.96.0.9:{port['port']}", f"{linked}_PROTO": "tcp"}
            found |= {f"{linked}_PORT": str(port["port"]), f"{linked}_ADDR": "10.96.0.9"}
    return found


def container(kind: str, name: str = "receiver") -> dict[str, Any]:
    """Return the only container of a workload."""
    (only,) = find(kind, name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environ(only: dict[str, Any], data: dict[str, str]) -> dict[str, str]:
    """Return what a container finds in its environment, with a ConfigMap of these data."""
    assert [{"configMapRef": {"name": "receiver"}}] == only["envFrom"]
    own = {entry["name"]: entry.get("value", "of-the-field") for entry in only.get("env", ())}
    return data | own

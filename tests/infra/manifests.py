"""The Kubernetes manifests, as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import ROOT

FOLDER = ROOT / "infra" / "kubernetes"
PATHS = sorted(FOLDER.rglob("*.yaml"))


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

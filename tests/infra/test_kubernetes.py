"""The manifests: valid for Kubernetes, in step with each other and with the receiver's settings."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from pydantic import ByteSize, TypeAdapter

from receiver.providers import PROVIDERS
from tests.infra.defaults import DEFAULTS, STOP_SECONDS
from tests.infra.gateway import HTTPRoute
from tests.infra.manifests import (
    FOLDER,
    PATHS,
    ROUTE,
    container,
    environ,
    find,
    links,
    objects,
    pods,
)
from tests.tools.support.oracle import DirectoryArchive, Ledger, verify
from tests.tools.support.samples import Samples
from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.tools import ROOT, needs_infra

# preStop's sleep came with the first, and the other is the newest that the schemas know.
VERSIONS = ("1.30", "1.37")


def with_files(tmp_path: Path, given: dict[str, str]) -> dict[str, str]:
    """Return settings with files of secrets that are there."""
    secret = tmp_path / "secret"
    secret.write_text("some-secret-0123456789")
    return {name: str(secret) if name.endswith("_FILE") else one for name, one in given.items()}


def validated(version: str, paths: Iterable[Path]) -> int:
    """Return how many objects of these files the schemas of a version take, which is all."""
    command = [needs_infra("kubernetes-validate"), "--strict", "-k", version, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stderr.count("passed") + done.stdout.count("passed")


def with_comments(path: Path, begin: str) -> str:
    """Return a manifest with the lines that are comments, and begin so, made lines."""
    text, changed = re.subn(rf"^( +)# (?={begin})", r"\1", path.read_text(), flags=re.MULTILINE)
    assert changed
    return text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.integration
def test_the_schemas_of_kubernetes_take_every_manifest(version: str) -> None:
    # The route is of the Gateway API, which is no part of Kubernetes.
    paths = [path for path in PATHS if path != ROUTE]
    assert len(list(objects())) - 1 == validated(version, paths)


@pytest.mark.integration
def test_what_stands_there_as_a_comment_is_as_valid(tmp_path: Path) -> None:
    policy, account = tmp_path / "networkpolicy.yaml", tmp_path / "serviceaccount.yaml"
    policy.write_text(with_comments(FOLDER / policy.name, r"( *- (to|ipBlock|\{port))|  ports:"))
    account.write_text(with_comments(FOLDER / account.name, r"annotations:|  eks"))
    assert 2 == validated(VERSIONS[0], [policy, account])
    (before,) = (len(find("NetworkPolicy")["spec"]["egress"]),)
    assert before + 2 == len(yaml.safe_load(policy.read_text())["spec"]["egress"])
    assert yaml.safe_load(account.read_text())["metadata"]["annotations"]


def test_the_route_is_one_of_the_gateway_api() -> None:
    route = find("HTTPRoute")
    HTTPRoute.model_validate(route)
    (rule,) = route["spec"]["rules"]
    with pytest.raises(pydantic.ValidationError, match="timeout"):
        HTTPRoute.model_validate(
            route | {"spec": route["spec"] | {"rules": [rule | {"timeout": "70s"}]}}
        )


def test_what_is_applied_as_a_whole_holds_no_secret_and_no_job() -> None:
    applied = {document["kind"] for path, document in objects() if path.parent == FOLDER}
    others = {"Secret", "Job", "HTTPRoute", "Ingress"}
    assert others == {d["kind"] for _, d in objects()} - applied
    assert {"receiver"} == {d["metadata"].get("namespace", "receiver") for _, d in objects()}


def test_there_is_time_to_drain_and_to_ship_before_a_pod_is_killed() -> None:
    seconds = container("StatefulSet")["lifecycle"]["preStop"]["sleep"]["seconds"]
    pod = find("StatefulSet")["spec"]["template"]["spec"]
    assert seconds + STOP_SECONDS + 10 < pod["terminationGracePeriodSeconds"]


def test_probes_ask_what_they_mean() -> None:
    only = container("StatefulSet")
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert {"http": DEFAULTS.port, "admin": DEFAULTS.admin_port} == ports
    asked = {name: only[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"} == {
        name: get["path"] for name, get in asked.items()
    }
    assert {"http"} == {get["port"] for get in asked.values()}


def test_the_ingress_lets_in_what_the_receiver_takes_and_nothing_else() -> None:
    ingress = find("Ingress")
    notes = {
        key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()
    }
    assert int(DEFAULTS.body_bytes_max) == int(notes["proxy-body-size"].removesuffix("m")) << 20
    (rule,) = ingress["spec"]["rules"]
    paths = rule["http"]["paths"]
    assert [f"/{name}" for name in PROVIDERS] == [path["path"] for path in paths]
    assert {"Prefix"} == {path["pathType"] for path in paths}
    (tls,) = ingress["spec"]["tls"]
    assert [rule["host"]] == tls["hosts"]
    backends = [path["backend"]["service"] for path in paths]
    assert all(backend == {"name": "receiver", "port": {"name": "http"}} for backend in backends)


def test_the_annotations_of_the_ingress_say_what_nginx_conf_says() -> None:
    nginx = (ROOT / "infra" / "nginx.conf").read_text()
    notes = find("Ingress")["metadata"]["annotations"]
    compared = 0
    for key, value in notes.items():
        directive = key.rpartition("/")[2].replace("-", "_")
        said = re.findall(rf"^ *{directive} ([^;]+);$", nginx, re.MULTILINE)
        if said:
            compared += 1
            assert [value] == [one.removesuffix("s") for one in said], directive
    assert 7 == compared


def test_the_route_lets_in_what_the_receiver_takes_and_nothing_else() -> None:
    route = find("HTTPRoute")["spec"]
    assert find("Ingress")["spec"]["rules"][0]["host"] == route["hostnames"][0]
    (rule,) = route["rules"]
    assert [f"/{name}" for name in PROVIDERS] == [one["path"]["value"] for one in rule["matches"]]
    assert {"PathPrefix"} == {one["path"]["type"] for one in rule["matches"]}
    (port,) = find("Service")["spec"]["ports"]
    assert [{"name": "receiver", "port": port["port"]}] == rule["backendRefs"]
    # A gateway that does not buffer counts the body too.
    longest = DEFAULTS.body_seconds_max + DEFAULTS.archive_ack_seconds_max
    assert longest < float(rule["timeouts"]["request"].removesuffix("s"))
    # The policy lets in the pods of the gateway.
    (parent,) = route["parentRefs"]
    (callers, _) = find("NetworkPolicy")["spec"]["ingress"]
    named = callers["from"][0]["namespaceSelector"]["matchLabels"]
    assert {"kubernetes.io/metadata.name": parent["namespace"]} == named


def test_no_pod_is_given_settings_by_the_names_of_services() -> None:
    assert [False, False] == [pod.get("enableServiceLinks") for pod in pods()]


@pytest.mark.system
@pytest.mark.parametrize("pod", [*pods()], ids=["of the Job", "of the StatefulSet"])
def test_a_pod_starts_and_would_not_with_links_to_services(
    tmp_path: Path, pod: dict[str, Any]
) -> None:
    (only,) = pod["containers"]
    given = with_files(tmp_path, environ(only, find("ConfigMap")["data"]))
    linked = links() if pod.get("enableServiceLinks", True) else {}
    it = Receiver(tmp_path, given | linked)
    it.environ.pop("RECEIVER_TOKENS")
    assert 0 == it.command("config").returncode
    it.environ.update(links())
    refused = it.command("config")
    assert (3, True) == (refused.returncode, "RECEIVER_PORT" in refused.stderr)


def test_selectors_select_the_pods() -> None:
    stateful = find("StatefulSet")
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert labels == stateful["spec"]["selector"]["matchLabels"]
    assert labels == find("Service")["spec"]["selector"]
    assert labels == find("Service", stateful["spec"]["serviceName"])["spec"]["selector"]
    assert labels == find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert {} == find("NetworkPolicy")["spec"]["podSelector"]


def test_the_spool_fits_on_its_volume_and_lies_on_it() -> None:
    (claim,) = find("StatefulSet")["spec"]["volumeClaimTemplates"]
    size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) << 30
    data = find("ConfigMap")["data"]
    spool = TypeAdapter(ByteSize).validate_python(data["RECEIVER_SPOOL_BYTES_MAX"])
    assert spool + DEFAULTS.disk_reserve_bytes < size
    for only in (container("StatefulSet"), container("Job", "receiver-drain-2")):
        assert {"name": "data", "mountPath": "/var/lib/receiver"} in only["volumeMounts"]
    pod = find("Job", "receiver-drain-2")["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]
    assert f"{claim['metadata']['name']}-receiver-2" == volume["persistentVolumeClaim"]["claimName"]


@pytest.mark.system
@pytest.mark.parametrize("commented", [False, True], ids=["as it is", "with its comments"])
def test_the_receiver_takes_every_setting(tmp_path: Path, commented: bool) -> None:
    path = FOLDER / "configmap.yaml"
    text = with_comments(path, "RECEIVER_") if commented else path.read_text()
    given = environ(container("StatefulSet"), yaml.safe_load(text)["data"])
    it = Receiver(tmp_path, with_files(tmp_path, given))
    del it.environ["RECEIVER_TOKENS"]
    shown = it.command("config")
    assert 0 == shown.returncode, shown.stderr
    assert given["RECEIVER_ARCHIVE"] in shown.stdout
    assert 1 + 3 * commented == shown.stdout.count("***")


@pytest.mark.system
def test_the_secret_of_the_example_opens_nothing(tmp_path: Path) -> None:
    tokens = find("Secret")["stringData"]["tokens"]
    refused = Receiver(tmp_path).command("urls", RECEIVER_TOKENS=tokens)
    assert (3, True) == (refused.returncode, "RECEIVER_TOKENS" in refused.stderr)


@pytest.mark.system
def test_the_job_empties_the_volume_of_a_pod_that_is_gone(tmp_path: Path) -> None:
    ledger, samples = Ledger(), Samples(seed=51)
    gone = Receiver(tmp_path / "gone", {"RECEIVER_BATCH_SECONDS": "3600"})
    with gone:
        gone.start()
        for _ in range(20):
            ledger.deliver(gone.request, samples.postback(), token=TOKEN)
        gone.kill_all()
    assert gone.spooled()
    only = container("Job", "receiver-drain-2")
    arguments = [word.replace("/var/lib/receiver", str(gone.root)) for word in only["args"]]
    here = Receiver(tmp_path / "here", {"RECEIVER_ARCHIVE": str(gone.archive)})
    del here.environ["RECEIVER_TOKENS"]
    done = here.command(*arguments)
    assert 0 == done.returncode, done.stderr
    assert [] == gone.spooled()
    assert 20 == verify(DirectoryArchive(gone.archive), ledger).acknowledged

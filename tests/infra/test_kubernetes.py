"""The manifests: valid for Kubernetes, in step with each other and with the receiver's settings."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import ByteSize, TypeAdapter

from receiver.providers import PROVIDERS
from tests.infra.defaults import DEFAULTS, STOP_SECONDS
from tests.infra.manifests import FOLDER, PATHS, container, environ, find, objects
from tests.support.oracle import DirectoryArchive, Ledger, verify
from tests.support.samples import Samples
from tests.support.server import TOKEN, Receiver
from tests.support.tools import needs_infra

# preStop's sleep came with the first, and the other is the newest that the schemas know.
VERSIONS = ("1.30", "1.37")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_take_every_manifest(version: str) -> None:
    command = [needs_infra("kubernetes-validate"), "--strict", "-k", version, *map(str, PATHS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert done.stderr.count("passed") + done.stdout.count("passed") == len(list(objects()))


def test_what_is_applied_as_a_whole_holds_no_secret_and_no_job() -> None:
    applied = {document["kind"] for path, document in objects() if path.parent == FOLDER}
    assert {"Secret", "Job"} == {d["kind"] for _, d in objects()} - applied
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
    assert float(notes["proxy-read-timeout"]) >= DEFAULTS.archive_ack_seconds_max
    (rule,) = ingress["spec"]["rules"]
    paths = rule["http"]["paths"]
    assert [f"/{name}" for name in PROVIDERS] == [path["path"] for path in paths]
    assert {"Prefix"} == {path["pathType"] for path in paths}
    (tls,) = ingress["spec"]["tls"]
    assert [rule["host"]] == tls["hosts"]
    backends = [path["backend"]["service"] for path in paths]
    assert all(backend == {"name": "receiver", "port": {"name": "http"}} for backend in backends)


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
    text = (FOLDER / "configmap.yaml").read_text()
    if commented:
        text = re.sub(r"^  # (?=RECEIVER_)", "  ", text, flags=re.MULTILINE)
    given = environ(container("StatefulSet"), yaml.safe_load(text)["data"])
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, value in given.items():
        if name.endswith("_FILE"):
            (secrets / Path(value).name).write_text("some-secret-0123456789")
            given[name] = str(secrets / Path(value).name)
    it = Receiver(tmp_path, given)
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

"""The template: linted, made in an account on loopback, in step with the receiver."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from cfnlint.decode import decode

from receiver.providers import PROVIDERS
from tests.infra.aws import TEMPLATE, Account, Stack
from tests.infra.defaults import DEFAULTS, STOP_SECONDS
from tests.tools.support.server import Receiver
from tests.tools.support.tools import ROOT, needs_infra

INFRA = ROOT / "infra"
# A template given as text may be no longer.
TEMPLATE_BYTES_MAX = 51_200


def template() -> dict[str, Any]:
    decoded, faults = decode(str(TEMPLATE))
    assert not faults
    assert decoded is not None
    found: dict[str, Any] = _plain(decoded)
    return found


def resources() -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"]
    return found


def _plain(node: Any) -> Any:
    """Return a part of a template without what the linter adds to it."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return str(node) if isinstance(node, str) else node


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resources()[name]["Properties"]
    return found


def attributes(name: str, kind: str) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in properties(name)[kind]}


def document(name: str, **names: str) -> dict[str, Any]:
    """Return a policy of `infra/`, with the names that a stack has in place of the example's."""
    text = (INFRA / name).read_text()
    for example, real in names.items():
        text = text.replace(example.replace("_", "-"), real)
    found: dict[str, Any] = orjson.loads(text)
    return found


@pytest.mark.integration
def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([program, TEMPLATE], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stdout)
    assert TEMPLATE.stat().st_size < TEMPLATE_BYTES_MAX


@pytest.mark.integration
def test_checkov_finds_nothing_but_what_says_why() -> None:
    frameworks = ["cloudformation", "kubernetes", "dockerfile"]
    command = [needs_infra("checkov"), "--skip-download", "--directory", str(INFRA)]
    command += ["--output", "json", "--framework", *frameworks]
    done = subprocess.run(command, capture_output=True, text=True)
    reports = {report["check_type"]: report for report in orjson.loads(done.stdout)}
    assert set(frameworks) == set(reports)
    for report in reports.values():
        assert [] == [check["check_id"] for check in report["results"]["failed_checks"]]
        assert [] == report["results"]["parsing_errors"]
        assert report["summary"]["passed"] > 40
        for skipped in report["results"]["skipped_checks"]:
            assert len(skipped["check_result"]["suppress_comment"]) > 20, skipped["check_id"]


def test_who_closes_an_idle_connection_is_the_balancer() -> None:
    balancer = attributes("LoadBalancer", "LoadBalancerAttributes")
    assert float(balancer["idle_timeout.timeout_seconds"]) < DEFAULTS.keep_alive_seconds
    # It waits for an answer as long: for a body, and for the archive's confirmation.
    assert float(balancer["idle_timeout.timeout_seconds"]) >= DEFAULTS.archive_ack_seconds_max


def test_there_is_time_to_drain_and_to_ship_before_a_task_is_killed() -> None:
    (container,) = properties("Task")["ContainerDefinitions"]
    assert STOP_SECONDS + 10 < container["StopTimeout"] <= 120
    target = attributes("TargetGroup", "TargetGroupAttributes")
    assert float(target["deregistration_delay.timeout_seconds"]) >= DEFAULTS.body_seconds_max
    assert "/readyz" == properties("TargetGroup")["HealthCheckPath"]


def test_the_balancer_lets_in_what_the_receiver_takes_and_nothing_else() -> None:
    (condition,) = properties("ListenerRule")["Conditions"]
    assert [f"/{name}/*" for name in PROVIDERS] == condition["PathPatternConfig"]["Values"]
    (default,) = properties("Listener")["DefaultActions"]
    assert "404" == default["FixedResponseConfig"]["StatusCode"]
    assert ["Listener"] == [n for n, r in resources().items() if r["Type"].endswith("V2::Listener")]


def test_alarms_look_for_what_the_receiver_logs() -> None:
    filters = [r["Properties"] for r in resources().values() if r["Type"].endswith("MetricFilter")]
    code = "".join(path.read_text() for path in (ROOT / "receiver").rglob("*.py"))
    assert filters
    for one in filters:
        message = re.fullmatch(
            r'\{ \$\.message = "([^"]+)"( && \$\.pass = "ship")? \}', one["FilterPattern"]
        )
        assert message is not None
        assert f'"{message[1]}"' in code
    told = [r["Properties"] for r in resources().values() if r["Type"].endswith("::Alarm")]
    assert all(one["AlarmActions"] == [{"Ref": "Alarms"}] for one in told)
    counted = {one["MetricTransformations"][0]["MetricName"] for one in filters}
    assert counted <= {one["MetricName"] for one in told}


def chosen(node: Any, parameters: dict[str, Any]) -> Any:
    """Return what a part of the template is with these parameters, as far as `Fn::If` goes."""
    if not isinstance(node, dict):
        return node
    ((function, arguments),) = node.items()
    if function == "Ref":
        return str(parameters[arguments])
    if function == "Condition":
        return chosen(template()["Conditions"][arguments], parameters)
    if function == "Fn::If":
        condition, yes, no = arguments
        return chosen(yes if chosen({"Condition": condition}, parameters) else no, parameters)
    values = [chosen(one, parameters) for one in arguments]
    return all(values) if function == "Fn::And" else len({str(one) for one in values}) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("storage", ["volume", "archive"])
def test_a_deployment_can_replace_the_tasks(storage: str, count: int) -> None:
    limits = properties("Service")["DeploymentConfiguration"]
    parameters = {"Storage": storage, "DesiredCount": count}
    least, most = (
        chosen(limits[name], parameters) for name in ("MinimumHealthyPercent", "MaximumPercent")
    )
    # As ECS rounds them: up, and down.
    healthy, running = -(-count * least // 100), count * most // 100
    if storage == "volume":
        assert healthy < count == running
        assert healthy > 0 or count == 1
    else:
        assert healthy == count < running


def test_the_image_and_the_task_are_for_the_same_processors() -> None:
    platform = properties("Task")["RuntimePlatform"]
    assert {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"} == platform
    assert "--platform linux/amd64 " in (INFRA / "Dockerfile").read_text()


@pytest.mark.integration
def test_an_instance_begins_with_a_script_that_bash_understands() -> None:
    data = properties("LaunchTemplate")["LaunchTemplateData"]
    script = data["UserData"]["Fn::Base64"]["Fn::Sub"].replace("${Cluster}", "cluster")
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)
    (volume,) = data["BlockDeviceMappings"]
    assert (True, False) == (volume["Ebs"]["Encrypted"], volume["Ebs"]["DeleteOnTermination"])
    assert f"blkid {volume['DeviceName']}" in script
    (container,) = properties("Task")["ContainerDefinitions"]
    user, group = container["User"].split(":")
    assert f"chown {user}:{group} /var/lib/receiver" in script


def test_the_bucket_is_private_encrypted_and_outlives_the_stack() -> None:
    bucket = properties("Bucket")
    assert {True} == set(bucket["PublicAccessBlockConfiguration"].values())
    assert 4 == len(bucket["PublicAccessBlockConfiguration"])
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert "aws:kms" == rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
    assert "Enabled" == bucket["VersioningConfiguration"]["Status"]
    for name in ("Bucket", "Key", "Logs"):
        assert "Retain" == resources()[name]["DeletionPolicy"]


@pytest.mark.system
def test_policies_for_other_ways_to_run_are_those_of_the_template(stack: Stack) -> None:
    assert (
        document("role-policy.json", my_bucket=stack.bucket)
        == stack.policies("TaskRole")["archive"]
    )
    text = orjson.dumps(properties("BucketPolicy")["PolicyDocument"]).decode()
    for written, example in (
        ('{"Fn::GetAtt":["Bucket","Arn"]}', '"arn:aws:s3:::my-bucket"'),
        ('{"Fn::Sub":"${Bucket.Arn}/*"}', '"arn:aws:s3:::my-bucket/*"'),
    ):
        assert written in text
        text = text.replace(written, example)
    assert document("bucket-policy.json") == orjson.loads(text)


def test_the_lifecycle_for_other_ways_to_run_is_that_of_the_template() -> None:
    here = {rule["Id"]: rule for rule in properties("Bucket")["LifecycleConfiguration"]["Rules"]}
    there = {rule["ID"]: rule for rule in document("lifecycle.json")["Rules"]}
    assert list(here) == list(there)
    cheaper, ended, uploads = here.values()
    assert {"Fn::Sub": "${Prefix}/callbacks/"} == cheaper["Prefix"]
    assert "callbacks/callbacks/" == there[cheaper["Id"]]["Filter"]["Prefix"]
    (transition,) = there[cheaper["Id"]]["Transitions"]
    assert template()["Parameters"]["ColdAfterDays"]["Default"] == transition["Days"]
    assert cheaper["Transitions"][0]["StorageClass"] == transition["StorageClass"]
    days = "NoncurrentVersionExpiration"
    assert ended[days] == there[ended["Id"]][days]
    days = "AbortIncompleteMultipartUpload"
    assert uploads[days] == there[uploads["Id"]][days]


EVERYTHING = {
    "Storage": "volume",
    "InstanceImage": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
    "ExpireAfterDays": "400",
    "AlarmEmail": "ops@example.net",
    **{
        f"{name}Secret": f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"
        for name in ("DataForSeo", "DataForApps", "Diffbot", "Outscraper")
    },
}


@pytest.mark.system
@pytest.mark.parametrize("parameters", [{}, EVERYTHING], ids=["by default", "with everything"])
def test_the_receiver_takes_the_settings_of_its_task(
    account: Account, tmp_path: Path, parameters: dict[str, str]
) -> None:
    if parameters:
        groups = account.client("ec2").describe_security_groups()["SecurityGroups"]
        parameters = parameters | {"MetricsFrom": groups[0]["GroupId"]}
    made = account.make_stack(f"settings-{len(parameters)}", parameters)
    secrets = {one["name"]: "some-secret-0123456789" for one in made.container["secrets"] if one}
    assert 1 + 6 * bool(parameters) == len(secrets)
    it = Receiver(tmp_path, made.environ | secrets)
    shown = it.command("config", "--output", "json")
    assert 0 == shown.returncode, shown.stderr
    values = {row["variable"]: row["value"] for row in map(orjson.loads, shown.stdout.splitlines())}
    ack = "spool" if parameters else "archive"
    assert (ack, made.outputs["Archive"]) == (values["RECEIVER_ACK"], values["RECEIVER_ARCHIVE"])
    assert made.outputs["PublicUrl"] == values["RECEIVER_PUBLIC_URL"]

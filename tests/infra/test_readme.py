"""`infra/README.md` is followed, from an account to a callback in the archive."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from receiver.config import SECRETS, Settings, variable
from receiver.providers import PROVIDERS
from tests.infra.aws import HOST_NAME, Account, Stack
from tests.infra.manifests import container, find
from tests.tools.support.s3 import REGION
from tests.tools.support.server import Receiver
from tests.tools.support.tools import ROOT, needs, needs_infra

INFRA = ROOT / "infra"
README = (INFRA / "README.md").read_text()
# Programs that this machine lacks or that would change it: noted instead of run.
ELSEWHERE = ("docker", "make")


def section(title: str) -> str:
    """Return the text below a heading of the second level."""
    return re.split(
        r"^## ", README.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE
    )[0]


def blocks(title: str) -> list[str]:
    """Return the blocks of commands of a section."""
    return re.findall(r"^```sh\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)


def texts() -> dict[str, str]:
    """Return every text file of `infra/` but the pages, which `tests/test_readme.py` checks."""
    return {
        str(path.relative_to(INFRA)): path.read_text()
        for path in INFRA.rglob("*")
        if path.is_file() and path.suffix != ".md"
    }


def test_the_table_of_files_names_every_file() -> None:
    table = README.partition("\n## ")[0]
    named = set(re.findall(r"`([\w.-]+/?)`", table))
    there = {path.name + "/" * path.is_dir() for path in INFRA.iterdir()} - {"README.md"}
    assert set() == there - named


def test_threats_name_their_tests() -> None:
    assert len(re.findall(r"`tests/[\w/]+\.py::\w+`", section("Threats"))) > 30


@pytest.mark.parametrize("path", sorted(texts()))
def test_every_setting_in_a_file_exists(path: str) -> None:
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{variable(name)}_FILE" for name in SECRETS}
    assert set() == set(re.findall(r"\bRECEIVER_[A-Z][A-Z0-9_]*[A-Z0-9]\b", texts()[path])) - known


@pytest.fixture
def shell(account: Account, tmp_path: Path) -> "Shell":
    return Shell(account, tmp_path)


class Shell:
    """Runs blocks of commands one after the other, as a reader would."""

    def __init__(self, account: Account, directory: Path) -> None:
        self._directory = directory
        self._state = directory / "state"
        self._state.touch()
        self.noted = directory / "noted"
        self.noted.touch()
        (directory / "infra").symlink_to(INFRA)
        programs = directory / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "receiver").symlink_to(Path(sys.executable).parent / "receiver")
        (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
        note = f'echo "$(basename "$0") $*" >> {self.noted}'
        scripts = {name: f"cat > /dev/null; {note}" for name in ELSEWHERE}
        # Certificates are validated by people, and tasks run only in the real AWS.
        real = shlex.quote(needs_infra("aws"))
        # moto does not know this association: the request is checked, and not sent.
        scripts["aws"] = f"""case "$1 $2" in
            "acm wait" | "ecs wait") {note} ;;
            "eks create-pod-identity-association")
                {note}
                exec {real} "$@" --generate-cli-skeleton output ;;
            *) exec {real} "$@" ;;
        esac"""
        for name, script in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        spool = Receiver(directory / "desk").environ
        del spool["RECEIVER_TOKENS"], spool["RECEIVER_ARCHIVE"]
        # The AWS CLI 1 of the tests reads this name alone, the AWS CLI 2 of readers both.
        spool["AWS_DEFAULT_REGION"] = REGION
        self._environ = spool | account.environ | {"PATH": f"{programs}:{spool['PATH']}"}

    def run(self, block: str, **more: str) -> str:
        """Run a block with the variables of the blocks before it; return its output."""
        script = f'set -aeuo pipefail\n. "$STATE"\n{block}\nexport -p > "$STATE"\n'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._directory,
            env=self._environ | {"STATE": str(self._state)} | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert 0 == done.returncode, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.mark.system
def test_following_it_leads_from_an_account_to_a_callback_in_the_archive(
    shell: Shell, account: Account, tmp_path: Path
) -> None:
    for program in ("jq", "curl"):
        needs(program)
    *steps, urls, attempt, rotation = blocks("From an AWS account to registered URLs")
    shown = ""
    for step in steps:
        shown = shell.run(step)
    assert "LoadBalancerName" in shown
    stack = Stack(account, "receiver")
    image = shell.noted.read_text().split("--tag ")[1].split()[0]
    assert image == stack.container["image"]
    assert f"docker push {image}" in shell.noted.read_text()
    registered = shell.run(urls)
    entrances = [entrance for provider in PROVIDERS.values() for entrance in provider.entrances]
    assert len(entrances) == registered.count(f"https://{HOST_NAME}/")
    assert "aws acm wait certificate-validated" in shell.noted.read_text()
    token = account.client("secretsmanager").get_secret_value(SecretId="receiver/tokens")[
        "SecretString"
    ]
    # In place of the task behind the host name: a receiver with the task's settings.
    with Receiver(tmp_path / "task", stack.environ | account.environ, token=token) as task:
        task.start()
        instead = f'curl() {{ command curl "${{@/https:\\/\\/{HOST_NAME}/$TASK}}"; }}\n'
        shown = shell.run(instead + attempt, TASK=task.url)
        assert "delivery_id" in shown
        assert "try-1" in shown.partition("delivery_id")[2]
    shown = shell.run(rotation)
    secret = account.client("secretsmanager").get_secret_value(SecretId="receiver/tokens")
    new, old = secret["SecretString"].split(",")
    assert token == old != new
    # URLs are printed only once every task knows the new token, and then none has the old one.
    assert "aws ecs wait services-stable" in shell.noted.read_text()
    (waited, shown_urls) = (rotation.index(words) for words in ("ecs wait", "receiver urls\n"))
    assert rotation.index("update-service") < waited < shown_urls
    assert (len(entrances), 0) == (shown.count(new), shown.count(old))


@pytest.mark.system
def test_a_bucket_made_by_hand_is_as_the_files_say(shell: Shell, account: Account) -> None:
    block, machine, pods = blocks("A bucket by hand")
    # moto runs in us-east-1, which has no location constraint.
    shell.run(block.replace('"LocationConstraint=$AWS_REGION"', "LocationConstraint=eu-west-1"))
    shell.run(machine)
    assert '"association"' in shell.run(pods)
    iam = account.client("iam")
    for name, who in (("receiver-machine", "ec2"), ("receiver-pods", "pods.eks")):
        trusted = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        assert [f"{who}.amazonaws.com"] == [one["Principal"]["Service"] for one in trusted]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert ["receiver"] == [one["PolicyName"] for one in attached]
    profile = iam.get_instance_profile(InstanceProfileName="receiver-machine")["InstanceProfile"]
    assert ["receiver-machine"] == [one["RoleName"] for one in profile["Roles"]]
    pod = find("ServiceAccount")["metadata"]
    associated = f"--namespace {pod['namespace']} --service-account {pod['name']} --role-arn arn:"
    assert associated in shell.noted.read_text()
    s3 = account.client("s3")
    name = "my-own-bucket"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert 3 == len(rules)
    assert "my-own-bucket/*" in s3.get_bucket_policy(Bucket=name)["Policy"]
    assert "Enabled" == s3.get_bucket_versioning(Bucket=name)["Status"]
    assert {True} == set(
        s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()
    )


@pytest.mark.system
def test_the_rights_to_a_key_are_those_that_the_template_gives(stack: Stack) -> None:
    (text,) = re.findall(r'`(\{"Effect": "Allow", [^`]*kms[^`]*\})`', section("A bucket by hand"))
    (statement,) = stack.policies("TaskRole")["key"]["Statement"]
    written = orjson.loads(text)
    assert statement | {"Resource": written["Resource"]} == written


def test_the_image_that_is_built_is_the_one_that_runs() -> None:
    for title, image in (
        ("From an AWS account to registered URLs", '"$IMAGE"'),
        ("Kubernetes", container("StatefulSet")["image"]),
    ):
        lines = section(title).splitlines()
        build = f"docker build --platform linux/amd64 --file infra/Dockerfile --tag {image} ."
        assert lines.index(build) + 1 == lines.index(f"docker push {image}")
    assert container("StatefulSet")["image"] == container("Job", "receiver-drain-2")["image"]


def test_every_path_that_is_named_exists() -> None:
    named = set(
        re.findall(r"(?<![\w/])infra/[\w./-]*[\w/]", "\n".join([*texts().values(), README]))
    )
    assert len(named) > 8
    assert [] == sorted(path for path in named if not (ROOT / path).exists())
    named = set(re.findall(r"`(kubernetes/[\w./-]+)`", README))
    assert [] == sorted(path for path in named if not (INFRA / path).exists())

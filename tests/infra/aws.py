"""An AWS account on loopback: moto's server as a process of its own, and the stack in it.

moto makes what the template says of the bucket, the roles, the network, the load balancer and the
service.  It passes over what it does not know, and has no opinion on keys (KMS).
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import orjson

from tests.tools.support.http import request
from tests.tools.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, environ
from tests.tools.support.server import Life
from tests.tools.support.tools import ROOT
from tests.tools.support.wait import wait_for

TEMPLATE = ROOT / "infra" / "cloudformation.yaml"
HOST_NAME = "hooks.example.net"


class Account:
    """An account, empty but for a default network."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, Any] = {}

    @property
    def environ(self) -> dict[str, str]:
        """The `AWS_…` variables that lead every client here."""
        return environ(self.url) | {"AWS_ENDPOINT_URL": self.url, "AWS_PAGER": ""}

    def client(self, service: str) -> Any:
        """Return the client of one of its services."""
        if service not in self._clients:
            self._clients[service] = boto3.session.Session().client(
                service,  # type: ignore[call-overload]
                endpoint_url=self.url,
                aws_access_key_id=ACCESS_KEY_ID,
                aws_secret_access_key=SECRET_ACCESS_KEY,
                region_name=REGION,
            )
        return self._clients[service]

    @cached_property
    def necessary(self) -> dict[str, str]:
        """The parameters of the template that have no defaults."""
        ec2 = self.client("ec2")
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
        certificate = self.client("acm").request_certificate(DomainName=HOST_NAME)
        secret = self.client("secretsmanager").create_secret(
            Name="tokens", SecretString="token-of-the-tests-0123456789"
        )
        return {
            "Image": "registry.example.net/receiver:0.1.0",
            "HostName": HOST_NAME,
            "CertificateArn": certificate["CertificateArn"],
            "TokensSecret": secret["ARN"],
            "VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
            "PublicSubnets": ",".join(subnets),
            "TaskSubnets": ",".join(subnets),
        }

    def make_stack(self, name: str, parameters: Mapping[str, str]) -> "Stack":
        """Make a stack of the template."""
        given = self.necessary | dict(parameters)
        self.client("cloudformation").create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        return Stack(self, name)

    @contextmanager
    def rights_enforced(self) -> Iterator[None]:
        """From now on every request needs a right; until the end."""
        self._enforce("0")
        try:
            yield
        finally:
            self._enforce("inf")

    def _enforce(self, after_requests: str) -> None:
        body, headers = after_requests.encode(), {"Content-Type": "text/plain"}
        answer = request(self.url, "POST", "/moto-api/reset-auth", body, headers)
        assert 200 == answer.status


class Stack:
    """A stack that was made."""

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self.name = name

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What the stack says of itself."""
        stacks = self._account.client("cloudformation").describe_stacks(StackName=self.name)
        return {one["OutputKey"]: one["OutputValue"] for one in stacks["Stacks"][0]["Outputs"]}

    @property
    def bucket(self) -> str:
        """The name of its bucket."""
        return self.outputs["Archive"].split("/")[2]

    @cached_property
    def container(self) -> dict[str, Any]:
        """The only container of its task."""
        described = self._account.client("ecs").describe_task_definition(
            taskDefinition=self.outputs["TaskDefinition"]
        )
        (only,) = described["taskDefinition"]["containerDefinitions"]
        assert isinstance(only, dict)
        return only

    @property
    def environ(self) -> dict[str, str]:
        """What its container finds in its environment, but for secrets."""
        return {entry["name"]: entry["value"] for entry in self.container["environment"]}

    def policies(self, role: str) -> dict[str, dict[str, Any]]:
        """Return the inline policies of one of its roles."""
        iam = self._account.client("iam")
        names = [one["RoleName"] for one in iam.list_roles()["Roles"]]
        (name,) = (one for one in names if one.startswith(f"{self.name}-{role}"))
        return {
            policy: _document(iam.get_role_policy(RoleName=name, PolicyName=policy))
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        }


def _document(answer: dict[str, Any]) -> dict[str, Any]:
    document = answer["PolicyDocument"]
    if isinstance(document, str):
        # moto keeps what a template says as Python writes it.
        document = orjson.loads(document.replace("'", '"'))
    assert isinstance(document, dict)
    return document


@contextmanager
def account(directory: Path) -> Iterator[Account]:
    """Open an account for as long as the context lasts."""
    program = str(Path(sys.executable).parent / "moto_server")
    life = Life([program, "-p", "0"], cwd=directory, environ=dict(os.environ))
    try:
        url = wait_for(lambda: _url(life), "moto says where it listens")
        assert url is not None
        yield Account(url)
    finally:
        life.close()


def _url(life: Life) -> str | None:
    found = (re.search(r"Running on (http://127\.0\.0\.1:\d+)", line) for line in [*life.errors])
    return next((one[1] for one in found if one), None)

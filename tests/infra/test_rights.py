"""The rights that the template gives are enough, and each of them is needed."""

from pathlib import Path
from typing import Any

import botocore.exceptions
import orjson
import pytest

from tests.infra.aws import Account, Stack
from tests.tools.support.oracle import Ledger
from tests.tools.support.s3 import Bucket, connect
from tests.tools.support.samples import Samples
from tests.tools.support.server import TOKEN, Receiver

pytestmark = pytest.mark.system


def identity(account: Account, name: str, policy: dict[str, Any]) -> dict[str, str]:
    """Make somebody who has the rights of a policy; return the settings that make one so.

    moto cannot read the policies of an assumed role, so it is a user.
    """
    iam = account.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(
        UserName=name, PolicyName="rights", PolicyDocument=orjson.dumps(policy).decode()
    )
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return account.environ | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def without(policy: dict[str, Any], action: str) -> dict[str, Any]:
    """Return a policy that does not give one right."""
    statements = []
    for statement in policy["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        statements.append(statement | {"Action": [one for one in actions if one != action]})
    return policy | {"Statement": [one for one in statements if one["Action"]]}


def test_with_the_rights_of_its_role_it_takes_ships_and_checks(
    account: Account, stack: Stack, tmp_path: Path
) -> None:
    rights = identity(account, "receiver", stack.policies("TaskRole")["archive"])
    samples, ledger = Samples(seed=71), Ledger()
    with Receiver(tmp_path, stack.environ | rights) as it, account.rights_enforced():
        checked = it.command("check")
        assert 0 == checked.returncode, checked.stdout
        it.start()
        for _ in range(10):
            # The stack's RECEIVER_ACK: it waits for the archive.
            assert 200 == ledger.deliver(it.request, samples.postback(), token=TOKEN).status
        assert 0 == it.terminate()
        assert [] == it.spooled()
    bucket = stack.bucket
    keys = Bucket(bucket, account.url, account.client("s3")).keys("callbacks/callbacks/")
    assert keys
    # What is archived is safe from whoever steals these rights: they delete no callback.
    thief = connect(account.url, rights["AWS_ACCESS_KEY_ID"], rights["AWS_SECRET_ACCESS_KEY"])
    with (
        account.rights_enforced(),
        pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"),
    ):
        thief.delete_object(Bucket=stack.bucket, Key=keys[0])


@pytest.mark.parametrize(
    ("action", "status"),
    [("s3:PutObject", 3), ("s3:GetObject", 3), ("s3:ListBucket", 3), ("s3:DeleteObject", 4)],
)
def test_without_any_one_of_them_the_check_names_it(
    account: Account, stack: Stack, tmp_path: Path, action: str, status: int
) -> None:
    policy = without(stack.policies("TaskRole")["archive"], action)
    rights = identity(account, f"without-{action.rpartition(':')[2]}", policy)
    it = Receiver(tmp_path, stack.environ | rights)
    with account.rights_enforced():
        checked = it.command("check")
    assert status == checked.returncode, checked.stdout
    assert f"the right needed is {action}" in checked.stdout

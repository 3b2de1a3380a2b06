"""Fixtures that several files share."""

from collections.abc import Iterator

import pytest

from tests.infra import aws


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws.Account]:
    """An AWS account on loopback."""
    with aws.account(tmp_path_factory.mktemp("aws")) as opened:
        yield opened


@pytest.fixture(scope="session")
def stack(account: aws.Account) -> aws.Stack:
    """The template with its defaults."""
    return account.make_stack("by-default", {})

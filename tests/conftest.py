"""Fixtures that several suites use."""

from collections.abc import Iterator

import pytest

from tests.support.relay import Relay
from tests.support.s3 import Bucket, S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 endpoint on loopback, for the whole run."""
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    """An empty bucket."""
    return s3.new_bucket()


@pytest.fixture
def relay(s3: S3Server) -> Iterator[Relay]:
    """A relay in front of the S3 endpoint, which passes everything until it is told otherwise."""
    with Relay(s3.address) as relay:
        yield relay

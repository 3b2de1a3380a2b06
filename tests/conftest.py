"""Fixtures that several suites use."""

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.tools.support.relay import Relay
from tests.tools.support.s3 import Bucket, S3Server, s3_server

# How long an example takes is the machine's affair, and every run tries the same ones; others are
# tried with `--hypothesis-profile=default`.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test, however this run itself was started.

    A shell without job control starts what it sends to the background with SIGINT ignored, and
    every program inherits that (POSIX.1-2024, Shell, 2.11).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Put back after a test how this process logs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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

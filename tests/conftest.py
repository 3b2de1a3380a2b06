"""Fixtures that several suites share, and the watch over what a test without a marker touches."""

import logging
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.tools.support.relay import Relay
from tests.tools.support.s3 import Bucket, S3Server, s3_server

# Examples have no deadline, since machines differ, and are the same in every run;
# `--hypothesis-profile=default` tries others.
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


# Fixtures that run a server on loopback.
_SERVERS = {"s3", "simulator", "simulated", "dataforseo", "diffbot", "outscraper"}
_SERVERS |= {"sink", "server", "target"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a server; begin with the files that take longest."""
    for item in items:
        if _SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("integration")
    # A long file that began last would keep one worker busy after the others have ended.
    long = {item.path for item in items if item.get_closest_marker("system")}
    items.sort(key=lambda item: item.path not in long)


# Events of CPython's audit table (docs.python.org/3/library/audit_events.html).
_SOCKETS = {"socket.bind", "socket.connect"}
_PROCESSES = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}
_touched: set[str] = set()


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    # The address of a Unix socket, such as an event loop's own, is no tuple.
    if event in _PROCESSES or (event in _SOCKETS and isinstance(arguments[1], tuple)):
        _touched.add(event)


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that opens a socket or starts a process without a marker that says so."""
    _touched.clear()
    yield
    marked = {"integration", "system"} & {marker.name for marker in request.node.iter_markers()}
    if _touched and not marked:
        pytest.fail(f"{', '.join(sorted(_touched))}: mark this test `integration`")


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
    """A relay in front of the S3 endpoint, which passes everything on by default."""
    with Relay(s3.address) as relay:
        yield relay

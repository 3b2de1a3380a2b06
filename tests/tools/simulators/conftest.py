"""Simulators on a clock that only the test moves, a client for each, and a sink for callbacks."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.sink import Sink

# 2026-08-14 10:00:00 UTC
START = 1_786_701_600.0


@pytest.fixture
def clock() -> Clock:
    return Clock(start=START, frozen=True)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def dataforseo(clock: Clock) -> Iterator[DataForSeo]:
    with DataForSeo(clock=clock) as running:
        yield running


@pytest.fixture
def diffbot(clock: Clock) -> Iterator[Diffbot]:
    with Diffbot(clock=clock) as running:
        yield running


@pytest.fixture
def outscraper(clock: Clock) -> Iterator[Outscraper]:
    with Outscraper(clock=clock) as running:
        yield running


class Api:
    """Calls DataForSEO and returns what it answers."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def get(self, path: str) -> Any:
        return self.client.get(path).json()

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(path, json=body).json()

    def code(self, path: str) -> int:
        """Return the code of a GET: the task's, or the envelope's where that failed."""
        answer = self.get(path)
        top = answer["status_code"]
        code = top if top != 20000 else answer["tasks"][0]["status_code"]
        assert isinstance(code, int)
        return code

    def result(self, path: str) -> Any:
        return self.get(path)["tasks"][0]["result"]


@pytest.fixture
def api(dataforseo: DataForSeo) -> Iterator[Api]:
    with httpx2.Client(base_url=dataforseo.url, auth=("login", "password")) as client:
        yield Api(client)

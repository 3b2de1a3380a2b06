"""Fixtures of the spool's tests."""

import pytest

from tests.spool.helpers import Syncs


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)

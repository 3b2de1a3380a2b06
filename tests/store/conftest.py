"""Fixtures of the suites of the stores."""

from collections.abc import Iterator

import pytest

from tests.store.fake_s3 import FakeS3, serving
from tests.tools.support import s3 as support


@pytest.fixture
def fake_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """Return a store that speaks as much of S3 as these tests need; the environment leads to it."""
    with serving() as server:
        for name, value in support.environ(server.url).items():
            monkeypatch.setenv(name, value)
        yield server

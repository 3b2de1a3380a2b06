"""A store and a catalog of it."""

from pathlib import Path

import pytest

from receiver.catalog import Catalog
from tests.catalog.place import CountingStore


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    """An empty archive."""
    return CountingStore(tmp_path / "archive")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the catalog's file will be."""
    return tmp_path / "catalog" / "here.sqlite"


@pytest.fixture
def catalog(path: Path, store: CountingStore) -> Catalog:
    """A catalog that has no file yet."""
    return Catalog(path, store)

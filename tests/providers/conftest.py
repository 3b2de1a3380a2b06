"""Gives each test that asks for a sample all samples of its provider."""

import pytest

from tests.providers.samples import samples


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sample" in metafunc.fixturenames and metafunc.cls is not None:
        metafunc.parametrize("sample", samples(metafunc.cls.provider), ids=str)

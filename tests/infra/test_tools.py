"""A test that lacks a program is skipped with a hint, and fails in CI."""

import pytest

from tests.tools.support.tools import needs, needs_infra

MISSING = "no-such-program-anywhere"


def test_at_the_desk_the_test_is_skipped_and_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="`make system-tools` installs it"):
        needs(MISSING)
    with pytest.raises(pytest.skip.Exception, match="`make infra-tools` installs it"):
        needs_infra(MISSING)


def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=MISSING):
        needs(MISSING)


def test_what_is_there_is_found() -> None:
    assert needs("sh").endswith("/sh")

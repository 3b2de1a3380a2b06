"""Errors say what to answer and how to exit."""

import inspect

import pytest

from receiver import errors
from receiver.errors import ReceiverError, Rejected, SettingsError, SpoolUnavailable, StoreError

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ReceiverError)
]


@pytest.mark.parametrize("kind", ALL)
def test_what_is_ours_is_never_a_4xx(kind: type[ReceiverError]) -> None:
    assert 500 <= kind.status < 600


@pytest.mark.parametrize("kind", ALL)
def test_exit_statuses_are_those_documented(kind: type[ReceiverError]) -> None:
    assert kind.exit_status in (1, 3, 4)


def test_the_docstring_is_the_message_unless_there_is_another() -> None:
    assert "A setting is missing or wrong." == str(SettingsError())
    assert "RECEIVER_PORT: no" == str(SettingsError("RECEIVER_PORT: no"))


def test_a_rejection_carries_its_own_answer() -> None:
    rejected = Rejected("bad_token", "do it so", status=401)
    assert (401, "bad_token", "do it so") == (
        rejected.answer_status,
        rejected.reason,
        str(rejected),
    )


def test_an_unavailable_spool_asks_to_come_again() -> None:
    assert 503 == SpoolUnavailable.status


def test_a_store_error_ends_with_its_mend() -> None:
    assert "no such bucket; make one" == str(StoreError("no such bucket", hint="make one"))
    assert "it hangs" == str(StoreError("it hangs"))

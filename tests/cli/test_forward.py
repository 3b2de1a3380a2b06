"""What `receiver forward` shows of itself."""

from typing import Any

import pytest

from receiver.cli.forward import _summary

STATUS: dict[str, Any] = {
    "active": False,
    "held_by": None,
    "target": "http://h",
    "confirmed": 3,
    "failed": 1,
    "lag_seconds": 2.0,
}


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "not forwarding"),
        ({"active": True}, "forwarding"),
        ({"held_by": "a/1 holds leases/x.json"}, "a/1 holds leases/x.json"),
    ],
)
def test_the_summary_is_one_line(changed: dict[str, Any], state: str) -> None:
    shown = _summary(STATUS | changed)
    assert f"{state} to http://h: 3 confirmed, 1 failed, 2.0 s behind" == shown


def test_the_name_of_a_lease_owner_commands_no_terminal() -> None:
    owner = "\x1b]0;title\x07\x9b2J\u202e\nroot# [bold]"
    shown = _summary(STATUS | {"held_by": f"{owner} holds leases/x.json"})
    assert shown.isprintable()
    assert "\\x1b]0;title\\x07\\x9b2J\\u202e\\nroot# [bold] holds" in shown

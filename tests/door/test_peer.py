"""Whose word on a client's address is believed, and what counts as an address."""

import asyncio
from typing import Any

import pytest

from receiver.door.peer import Forwarded, address_or_none

_SOCKET = "192.0.2.1"
_ODD = [
    "unknown",
    "_hidden",
    "evil.example",
    "\x1b[2J203.0.113.7",
    "203.0.113.7 root",
    "203.0.113.999",
    "203.0.113",
    "[2001:db8::7",
    "[evil]:80",
    "fe80::1%\x9b2J",
    "fe80::1%eth0",
    "x" * 5000,
    "\u0662.0.0.1",
]


def _peer(forwarded_for: str, *, trusted: str = _SOCKET) -> Any:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    scope: Any = {
        "type": "http",
        "client": (_SOCKET, 1),
        "scheme": "http",
        "headers": [(b"x-forwarded-for", forwarded_for.encode("utf-8"))],
    }
    asyncio.run(Forwarded(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(
    ("said", "peer"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:567", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:567", "2001:db8::7"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("evil, 203.0.113.7:567", "203.0.113.7"),
        (f"203.0.113.7, {_SOCKET}", "203.0.113.7"),
    ],
)
def test_an_address_is_believed_and_its_port_left_out(said: str, peer: str) -> None:
    assert peer == _peer(said)


@pytest.mark.parametrize("trusted", [_SOCKET, "192.0.2.0/24", "*"])
@pytest.mark.parametrize("said", ["", *_ODD])
def test_other_text_leaves_the_address_of_the_connection(said: str, trusted: str) -> None:
    assert _SOCKET == _peer(said, trusted=trusted)
    # Nor is an address that whoever sent the odd text put in front of it.
    if trusted != "*":
        assert _SOCKET == _peer(f"203.0.113.7, {said}", trusted=trusted)


def test_nobody_else_is_believed() -> None:
    assert _SOCKET == _peer("203.0.113.7", trusted="192.0.2.9")


@pytest.mark.parametrize("text", _ODD)
def test_another_servers_word_is_no_peer_unless_it_is_an_address(text: str) -> None:
    assert address_or_none(text) is None
    assert "203.0.113.7" == address_or_none("203.0.113.7")

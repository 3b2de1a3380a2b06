"""Conversations with providers' APIs without a network: each is answered by a list of replies."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from receiver.providers.conversation import Call, Conversation, Reply

T = TypeVar("T")

# Bodies that no API's answer has.
NONSENSE = [
    b"",
    b"<!DOCTYPE html><html><title>Maintenance</title></html>",
    b'{"status_code": 20000, "tasks": [{"id": "0814',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"null",
    b"7",
    b'"a text"',
    b"[1, 2]",
    b"{}",
    b'{"status_code": "20000", "tasks": []}',
    b'{"status_code": 20000, "tasks": 7}',
    b'{"status_code": 20000, "tasks": [7]}',
]


def shown(value: object) -> str:
    """Return a short id for a test of this value."""
    return repr(value)[:40]


def reply(content: Any, *, status: int = 200, whole: bool = True) -> Reply:
    """Return a reply; content that is not bytes is sent as JSON."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Reply(status=status, headers=[], wire=body, content=body, whole=whole)


class Api:
    """Answers calls from a list, and remembers them."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return self._replies.pop(0)


def hold(conversation: Conversation[T], make: Callable[[Call], Reply]) -> T:
    """Make the calls that a conversation yields until it returns; return what it returns."""
    try:
        call = next(conversation)
        while True:
            call = conversation.send(make(call))
    except StopIteration as done:
        learned: T = done.value
        return learned


def ask(conversation: Conversation[Any], *replies: Reply) -> Any:
    """Hold a conversation that makes exactly as many calls as there are replies."""
    api = Api(*replies)
    learned = hold(conversation, api)
    assert len(replies) == len(api.calls)
    return learned

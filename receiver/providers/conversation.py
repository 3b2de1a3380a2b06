"""How an adapter asks its provider something, without any I/O.

A conversation is a generator: it yields the calls it wants made, is sent the replies, and returns
what it learned.  A test of one is a list of replies.  `CallPolicy` states the limits that a caller
must respect and which replies mean "try again".
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that a conversation wants made; the caller adds the host and the credentials."""

    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    # Not repeated once it may have been carried out, because carrying it out twice does harm.
    once: bool = False
    # The rate limit that it counts towards.
    family: str = "general"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply: ``wire`` is the body as it came, ``content`` the decoded body.

    Unless ``whole``, ``content`` is only the beginning of the body.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    wire: bytes
    content: bytes
    whole: bool = True


Conversation = Generator[Call, Reply, T]


# What a caller does with a reply: hand it to the conversation; wait, which costs no attempt; or
# try again, which costs one.
Verdict = Literal["final", "busy", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """A provider's limits on calls, and how its replies are to be judged."""

    # Maximum calls per minute for each family; calls of any other family count as ``general``.
    calls_per_minute: Mapping[str, int]
    # Maximum calls per second of all families together, where the provider limits that, too.
    calls_per_second: float | None = None
    # Maximum concurrent calls.
    simultaneous: int
    # Pause after a reply that says that the provider is busy.
    busy_seconds: float
    judge: Callable[[Reply], Verdict]

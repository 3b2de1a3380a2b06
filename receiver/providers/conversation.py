"""How an adapter asks its provider something, without any I/O.

A conversation is a generator: it yields the calls it wants made, is sent the replies, and returns
what it learned.  Its tests are a dict of replies.  `Manners` says what a caller must know of a
provider to make any call at all.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that a conversation wants made; host and credentials are the caller's business."""

    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    # Whether doing it twice would do harm: it is not repeated where it may have been carried out.
    once: bool = False
    # Which limit on calls a minute it falls under.
    family: str = "general"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: ``wire`` as it came, ``content`` decoded, only its beginning unless ``whole``."""

    status: int
    headers: Sequence[tuple[str, str]]
    wire: bytes
    content: bytes
    whole: bool = True


Conversation = Generator[Call, Reply, T]


# What an answer means to whoever made the call: it stands; the provider is busy, which costs time
# and not an attempt; or it failed in a way that may pass.
Verdict = Literal["stands", "busy", "failed"]


class Manners(Protocol):
    """What a provider allows, and which of its answers only mean "later"."""

    @property
    def calls_per_minute(self) -> Mapping[str, int]:
        """The limit of each family of calls; ``general`` is there for all others."""
        ...

    @property
    def calls_per_second(self) -> float | None:
        """How fast calls may follow each other, where that is limited, too."""
        ...

    @property
    def simultaneous(self) -> int:
        """How many calls may be under way."""
        ...

    @property
    def busy_seconds(self) -> float:
        """How long to leave a busy provider alone."""
        ...

    def judge(self, reply: Reply) -> Verdict:
        """Say whether a reply stands."""
        ...


def hold(conversation: Conversation[T], make: Callable[[Call], Reply]) -> T:
    """Make the calls that a conversation asks for, until it returns."""
    try:
        call = next(conversation)
        while True:
            call = conversation.send(make(call))
    except StopIteration as done:
        learned: T = done.value
        return learned

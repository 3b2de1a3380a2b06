"""The interface of an adapter, and what adapters share.

An adapter describes one provider without doing any I/O: it is given the bytes of a callback and
returns what they say.  It opens no socket, reads no clock and keeps no state, so a test of it is a
recorded request and the expected result.
"""

import re
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import unquote_to_bytes

from receiver.providers.envelope import Envelope
from receiver.providers.fields import UnreadableBody, read_fields, read_json, text_of
from receiver.providers.lenient import utf8_or_latin1

__all__ = [
    "Entrance",
    "Provider",
    "Recognised",
    "UnreadableBody",
    "brings_result",
    "header_text",
    "placeholder",
    "query_of",
    "read_fields",
    "read_json",
    "text_of",
    "undo_second_encoding",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A route `/{provider}/{kind}/{token}` of the door, and the requests that it takes."""

    kind: str
    method: Literal["GET", "POST"]
    # The provider's own name for the URL that is registered with it.
    parameter: str
    # The query of that URL, with the placeholders that the provider fills in.
    query: str = ""
    # Whether more path may follow the token.
    path_follows: bool = False
    # Whether a request without `id` in its query is refused, because it says nothing.
    needs_id: bool = False
    # The header with the HMAC-SHA256 of the body (`sha256=` and hex digits), in lower case.
    signature_header: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a callback says; None where it says nothing, never an empty string."""

    # The provider's id of the work, and the tag that the user gave it.
    task_id: str | None = None
    tag: str | None = None
    # The same for every delivery of one callback, different for every other callback.
    key: str | None = None
    # The provider's status of the work, as it spells it.
    status: str | None = None
    # Why the callback is not what it should be, as a slug.
    invalid: str | None = None


# Bodies without a result: missing, cut short, of another kind or another task, or reporting a
# failure of the provider.  A body that inflates too far is archived as it came, so it is not one of
# them, nor is a complete one that only strict parsers refuse.  A postback without an id, or one
# that the adapter failed on, belongs to no task anyway.
_WITHOUT_RESULT = frozenset(
    {"empty", "no_task", "not_gzip", "not_json", "other_task", "unknown_kind"}
)


def brings_result(kind: str, invalid: str | None) -> bool:
    """Return whether a line counts as its task's result.

    A postback or a fetched result whose body has none does not, so that its task stays wanted.
    Pingbacks, which carry nothing else, always count.
    """
    return kind not in ("postback", "result") or invalid not in _WITHOUT_RESULT


class Provider(Protocol):
    """The adapter of one provider."""

    @property
    def name(self) -> str:
        """The provider's name in routes, object keys, columns and metrics."""
        ...

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        """The entrances, one for each kind of callback."""
        ...

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Return what a callback says.

        ``body`` is the decoded body, None if it could not be decoded, and only its beginning
        unless ``whole``; the rest is judged by the caller.  Whatever the sender wrote, this raises
        nothing: what is wrong with a callback goes into `Recognised.invalid`, beside everything
        that can still be read.
        """
        ...


def query_of(target: str) -> dict[str, str]:
    """Return the query parameters of a target, decoded; the first of repeated ones."""
    parameters: dict[str, str] = {}
    for part in target.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        parameters.setdefault(_decode(name), _decode(value))
    return parameters


def placeholder(value: str | None, literal: str) -> str | None:
    """Return a parameter's value, None if it is empty or still the ``literal`` placeholder."""
    return None if value in (None, "", literal) else value


_ENCODED_ONLY = re.compile(r"(?:[A-Za-z0-9._~*+-]|%[0-9A-Fa-f]{2})*\Z")


def undo_second_encoding(value: str) -> str:
    """Decode a parameter once more if it was encoded twice.

    DataForSEO encodes the tag, and then "special characters" of the whole URL; its docs do not say
    whether `%` is one of them (docs.dataforseo.com/v3/serp/google/organic/task_post).  A value that
    after one decoding consists only of unreserved characters and escapes is taken to have been
    encoded twice.
    """
    if "%" in value and _ENCODED_ONLY.match(value):
        return _decode(value)
    return value


def _decode(text: str) -> str:
    if text.isascii() and "%" not in text and "+" not in text:
        return text  # nothing to decode, as in most
    # Targets are bytes kept as ISO 8859-1; usually, but not always, they are UTF-8.
    return utf8_or_latin1(unquote_to_bytes(text.replace("+", " ").encode("latin-1")))


def header_text(value: str | None) -> str | None:
    """Return the text of a header's value, which like a target is usually UTF-8."""
    return utf8_or_latin1(value.encode("latin-1")) if value else None

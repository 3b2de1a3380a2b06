"""What an adapter is: one provider's manners, written down without any I/O.

An adapter is handed bytes and answers with facts.  It opens no socket, reads no clock and holds
no state, so each of its tests is a recorded request and an expected answer.
"""

import re
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from receiver.providers.envelope import Envelope

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A way in: the kind of callback that comes there, and how it comes."""

    kind: str
    method: str
    # The provider's own name for the URL that is registered, and the query it fills in.
    parameter: str
    query: str = ""
    # Whether more path may follow the token.
    path_follows: bool = False
    # Whether the request is worth nothing without the provider's id in its query.
    needs_id: bool = False
    # The header that signs the body (HMAC-SHA256, hex, after ``sha256=``), where there is one.
    signature_header: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a callback is about; null where it does not say."""

    task_id: str | None = None
    tag: str | None = None
    # The same for every delivery of one callback.
    key: str | None = None
    status: str | None = None
    # Why it is not what it should be, as a slug.
    invalid: str | None = None


# What is wrong with a callback that brings no result: it has no body, or that was cut short, or it
# is another's, or the provider's own failure.  What inflates too far is not among them, for it is
# kept whole, as it came; what has no id or was not recognised is found by no task.
_BRINGS_NOTHING = frozenset({"empty", "no_task", "not_gzip", "not_json", "unknown_kind"})


def brings_result(kind: str, invalid: str | None) -> bool:
    """Say whether a line counts as what it was to bring.

    A postback without a result does not: its task must not be taken for one that is held.  What
    was fetched always does, for it would be fetched again and again, and be no other; so do
    pingbacks, which bring nothing else.
    """
    return kind != "postback" or invalid not in _BRINGS_NOTHING


class Provider(Protocol):
    """One provider's adapter."""

    @property
    def name(self) -> str:
        """The provider's name in routes, keys and columns."""
        ...

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        """The ways in, one for each kind."""
        ...

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Say what arrived.

        ``body`` is the decoded body, None where it could not be decoded; only its beginning
        unless ``whole``.  Never raises for what a sender wrote: an oddity is `Recognised.invalid`
        beside everything that can be known in spite of it.
        """
        ...


def query_of(target: str) -> dict[str, str]:
    """Return the parameters of a target, decoded; of repeated ones the first."""
    parameters: dict[str, str] = {}
    for part in target.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        parameters.setdefault(_decode(name), _decode(value))
    return parameters


def placeholder(value: str | None, literal: str) -> str | None:
    """Return a parameter's value, or None if it is empty or its placeholder was left as it is."""
    return None if value in (None, "", literal) else value


_ENCODED_ONLY = re.compile(r"(?:[A-Za-z0-9._~*+-]|%[0-9A-Fa-f]{2})*\Z")


def undo_second_encoding(value: str) -> str:
    """Decode a parameter once more if it was encoded twice.

    DataForSEO encodes the tag, and then "special characters" of the whole URL; whether `%` is one
    its docs do not say (docs.dataforseo.com/v3/serp/google/organic/task_post).  A text
    that was encoded once and still consists of nothing but unreserved characters and escapes is
    taken for one that was encoded twice.
    """
    if "%" in value and _ENCODED_ONLY.match(value):
        return _decode(value)
    return value


def _decode(text: str) -> str:
    if text.isascii() and "%" not in text and "+" not in text:
        return text  # as most are
    # Targets are bytes kept as ISO 8859-1; what they spell is UTF-8 by custom, not by law.
    return _plain(unquote_to_bytes(text.replace("+", " ").encode("latin-1")))


def _plain(spelt: bytes) -> str:
    try:
        return spelt.decode()
    except UnicodeDecodeError:
        return spelt.decode("latin-1")


def header_text(value: str | None) -> str | None:
    """Return a header's value as what it spells; it is UTF-8 by custom, as targets are."""
    return _plain(value.encode("latin-1")) if value else None


class UnreadableBody(Exception):
    """A body is not the JSON that it should be; the message is the slug that says why."""


def read_json(body: bytes | None, decoder: "msgspec.json.Decoder[T]") -> T:
    """Read the few fields of a body that matter, and check that all of it is JSON.

    Raises `UnreadableBody`: ``empty``, ``not_json``, or ``unknown_kind`` for JSON of another shape.
    """
    if body is None:
        raise UnreadableBody("undecodable")
    if not body.strip():
        raise UnreadableBody("empty")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise UnreadableBody("unknown_kind") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UnreadableBody("not_json") from exc

"""The columns of the archive, each declared once: those of a line and those of an index entry.

Every line has all columns of `LINE` and every entry all of `ENTRY`, in this order; a column without
a value is null.  Types are those of JSON:

    text     string
    text?    string or null
    number   integer below 2^63
    time     string, RFC 3339 in UTC with microseconds
    pairs    array of [name, value]

and sources say who knows the value:

    door      the door, or the sweep that fetched the result
    request   the request as it arrived
    adapter   the provider's adapter, from the request and the body
    body      the body, once gzip is undone
    shipper   the shipper, from the place that it gave the line

The structs declare the same columns for reading.  Tests hold the structs, the writer, the catalog,
the SQL in `infra/queries/` and the README to these tables.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``where`` is line, entry (of the index) or both."""

    name: str
    type: str
    where: str
    source: str
    meaning: str


_LINE = """
    delivery_id    text    both   door     UUIDv7 of this delivery
    provider       text    both   door     dataforseo, dataforapps, diffbot or outscraper
    kind           text    both   door     postback, pingback, notification, webhook or result
    origin         text    both   door     callback, or why it was fetched, such as sweep
    task_id        text?   both   adapter  the provider's id of the task; for Diffbot the job's name
    tag            text?   both   adapter  the user's own tag
    key            text?   both   adapter  the same for every delivery of one callback
    status         text?   both   adapter  the provider's word for how the task ended
    received_at    time    both   door     when the request arrived
    method         text    line   request  from the request line
    target         text    line   request  from the request line, undecoded; the token is ***
    headers        pairs   line   request  in order, repeated ones included
    peer           text?   line   door     the client's address
    content_type   text?   line   request  the value of that header
    body           text?   line   body     the body's characters, if it is UTF-8 text
    body_base64    text?   line   body     the body's bytes, if it is not
    body_bytes     number  both   body     size of the body
    wire_bytes     number  line   request  size of the body as it came over the wire
    wire_sha256    text    line   request  SHA-256 of the body as it came over the wire, in hex
    invalid        text?   both   adapter  why the callback is not as expected, as a slug
    instance       text    line   door     the instance that took it
"""
_PLACE = """
    segment        text    entry  shipper  the segment that held the callback in the spool
    position       number  entry  shipper  number of the entry in its segment, from 0
    of             number  entry  shipper  how many entries the segment has
    object         text    entry  shipper  key of the object that the line is in
    member_offset  number  entry  shipper  where the line's member begins in the object
    member_bytes   number  entry  shipper  size of the member
    line_offset    number  entry  shipper  where the line begins in the member, inflated
    line_bytes     number  entry  shipper  size of the line, without its newline
"""


def _columns(table: str) -> Iterator[Column]:
    for row in table.strip().splitlines():
        yield Column(*row.split(maxsplit=4))


LINE = tuple(_columns(_LINE))
ENTRY = (*(column for column in LINE if column.where == "both"), *_columns(_PLACE))


def names(columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the names of columns."""
    return tuple(column.name for column in columns)


# The columns that a line and its entry have in common.
INDEXED = names(column for column in LINE if column.where == "both")
# The two columns that hold the body, and those on either side of them.
BODY, BODY_BASE64 = "body", "body_base64"
# The columns whose text the sender chose, the bound of each in bytes of UTF-8, and the slug in
# `invalid` where one of them is null because it was longer or not text.  Archives of earlier
# versions have longer values, which are read as null.  A status is a number or a word, and many
# callbacks share it.
TEXT_BYTES_MAX, STATUS_BYTES_MAX = 1 << 10, 64
BOUNDED = {
    "task_id": TEXT_BYTES_MAX,
    "tag": TEXT_BYTES_MAX,
    "key": TEXT_BYTES_MAX,
    "status": STATUS_BYTES_MAX,
}
TOO_LONG = "too_long"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_body_at = names(LINE).index(BODY)
BEFORE_BODY, BEHIND_BODY = names(LINE[:_body_at]), names(LINE[_body_at + 2 :])


def fits(text: object, bytes_max: int = TEXT_BYTES_MAX) -> bool:
    """Return whether a value is null or text within a bound of `BOUNDED`."""
    if text is None:
        return True
    if not isinstance(text, str) or len(text) > bytes_max:
        return False
    if text.isascii():
        return True
    try:
        return len(text.encode()) <= bytes_max
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return False


def is_name(text: str) -> bool:
    """Return whether a text has the form of a provider, kind, origin or reason in `invalid`."""
    return _NAME.fullmatch(text) is not None


class Indexed(msgspec.Struct, frozen=True, gc=False):
    """The columns that a line and its entry have in common."""

    delivery_id: str
    provider: str
    kind: str
    origin: str
    task_id: str | None
    tag: str | None
    key: str | None
    status: str | None
    received_at: str
    body_bytes: int
    invalid: str | None


class Entry(Indexed, frozen=True, gc=False):
    """An entry of the index: what a callback is, and where its line is."""

    segment: str
    position: int
    of: int
    object: str
    member_offset: int
    member_bytes: int
    line_offset: int
    line_bytes: int


class Line(Indexed, frozen=True, gc=False):
    """A line of a callbacks object, held whole."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    peer: str | None
    content_type: str | None
    body: str | None
    body_base64: str | None
    wire_bytes: int
    wire_sha256: str
    instance: str

"""The request that an archived callback becomes.

Method, query, body and content type are those of the callback.  The body is sent decoded, or as
gzip if it came as gzip and the target wants that.  A result that a sweep fetched becomes the
callback that the provider would have made.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from receiver.archive import long_lines
from receiver.archive.members import GZIP
from receiver.archive.schema import Entry, Line
from receiver.errors import Damaged
from receiver.providers import PROVIDERS
from receiver.providers.base import Entrance
from receiver.replay.long_body import LongBody, Member
from receiver.replay.url_template import NotSendable, UrlTemplate
from receiver.store import Store

# Limit on the body of a request, unless the setting says otherwise.
SENT_BYTES_MAX = 256 << 20
# Headers that describe the bytes as they came; they are sent only with those bytes.
_OF_WIRE_BYTES = ("content-encoding", "x-hub-signature-256")
# Those that the door takes.
_METHODS = ("GET", "POST")
_LINE = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, complete except for what changes with each attempt."""

    entry: Entry
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | LongBody


class Form:
    """How requests are made: where they go, and in what form.

    ``url`` is a `UrlTemplate`.  Raises `SettingsError` if it cannot be called.  Bodies over
    ``sent_bytes_max``, decoded, are not sent.
    """

    def __init__(
        self,
        url: str,
        *,
        gzip: bool = False,
        marked: bool = True,
        sent_bytes_max: int = SENT_BYTES_MAX,
    ) -> None:
        self._template = UrlTemplate(url)
        self._gzip = gzip
        self._marked = marked
        self._sent_bytes_max = sent_bytes_max

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL, which may be shown."""
        return self._template.origin

    def request(self, entry: Entry, line: bytes) -> Request:
        """Return the request of an archived line.  Raises `Damaged` and `NotSendable`."""
        with _naming(entry):
            callback = _LINE.decode(line)
            body = _body(callback)
            return self._request(entry, callback, body, lambda: hashlib.sha256(body).hexdigest())

    def long_request(self, entry: Entry, store: Store) -> Request:
        """Return the request of a long line, whose body is read in steps whenever it is sent.

        Raises as `request`, and `NotFound` and `StoreError`.
        """
        with _naming(entry):
            self._check_size(entry.body_bytes)
            member = Member(store, entry)
            columns, _ = long_lines.columns(member.line(entry), entry)
            callback = msgspec.convert(columns, Line)
            body, sha256 = LongBody(member, entry, callback.body_bytes).measured()
            _check_whole(body.size, callback)
            return self._request(entry, callback, body, lambda: sha256)

    def _check_size(self, size: int) -> None:
        if size > self._sent_bytes_max:
            limit = f"{self._sent_bytes_max} (RECEIVER_SENT_BYTES_MAX)"
            raise NotSendable(f"its body has {size} bytes, more than {limit}")

    def _request(
        self,
        entry: Entry,
        callback: Line,
        body: bytes | LongBody,
        sha256: Callable[[], str],
    ) -> Request:
        self._check_size(callback.body_bytes)
        if callback.delivery_id != entry.delivery_id:
            raise ValueError("is of another delivery")
        entrance = None if callback.origin == "callback" else _entrance(callback.provider)
        method = entrance.method if entrance else callback.method
        if method not in _METHODS:
            raise NotSendable("its method is neither GET nor POST")
        headers = {
            "webhook-id": callback.delivery_id,
            "webhook-received-at": callback.received_at,
            "webhook-provider": callback.provider,
            "webhook-kind": callback.kind,
            "webhook-origin": callback.origin,
        }
        if not all(map(_is_header, headers.values())):
            raise NotSendable("its line holds what is not allowed in a header")
        if self._marked:
            headers["webhook-replay"] = "true"
        body = self._encode(callback, body, sha256, headers)
        url = self._url(callback, entrance)
        return Request(entry=entry, method=method, url=url, headers=headers, body=body)

    def _encode(
        self,
        callback: Line,
        body: bytes | LongBody,
        sha256: Callable[[], str],
        headers: dict[str, str],
    ) -> bytes | LongBody:
        """Add the headers that describe the body, and return the body as it is sent."""
        came = dict(reversed(callback.headers))
        _copy("content-type", came, headers)
        depends = any(name in came for name in _OF_WIRE_BYTES)
        as_it_came = callback.body_bytes == callback.wire_bytes and (
            not depends or sha256() == callback.wire_sha256
        )
        if as_it_came:
            for name in _OF_WIRE_BYTES:
                _copy(name, came, headers)
        elif self._gzip:
            headers["content-encoding"] = "gzip"
            if isinstance(body, LongBody):
                return replace(body, gzip=True).measured()[0]
            return GZIP.member(body)
        return body

    def _url(self, callback: Line, entrance: Entrance | None) -> str:
        if entrance is None:
            query, path = callback.target.partition("?")[2], _path_behind_token(callback.target)
            kind = callback.kind
        else:
            query, path, kind = _query_of_provider(callback, entrance), "", entrance.kind
        return self._template.url(provider=callback.provider, kind=kind, path=path, query=query)


@contextmanager
def _naming(entry: Entry) -> Iterator[None]:
    """Raise errors about a line so that they name its delivery."""
    try:
        yield
    except NotSendable as exc:
        raise NotSendable(f"{entry.delivery_id} is not sent: {exc.detail}") from None
    except ValueError as exc:
        raise Damaged(f"{entry.object}: the line of {entry.delivery_id}: {exc}") from exc


def _body(callback: Line) -> bytes:
    if callback.body is not None:
        body = callback.body.encode()
    else:
        body = base64.b64decode(callback.body_base64 or "", validate=True)
    _check_whole(len(body), callback)
    return body


def _check_whole(size: int, callback: Line) -> None:
    if size != callback.body_bytes:
        raise ValueError(f"holds {size} bytes of a body of {callback.body_bytes}")


def _copy(name: str, came: dict[str, str], headers: dict[str, str]) -> None:
    value = came.get(name, "")
    if value and _is_header(value):
        headers[name] = value


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _entrance(provider: str) -> Entrance | None:
    """Return the entrance that results come through, None if the provider is unknown."""
    adapter = PROVIDERS.get(provider)
    entrances = adapter.entrances if adapter else ()
    return next((entrance for entrance in entrances if entrance.method == "POST"), None)


def _query_of_provider(callback: Line, entrance: Entrance) -> str:
    query = entrance.query.removeprefix("?")
    # The tag may hold "$id", so it goes in last.
    query = query.replace("$id", quote(callback.task_id or "", safe=""))
    return query.replace("$tag", quote(callback.tag or "", safe=""))


def _path_behind_token(target: str) -> str:
    parts = target.partition("?")[0].rstrip("/").split("/", 4)
    return "/" + parts[4] if len(parts) > 4 else ""

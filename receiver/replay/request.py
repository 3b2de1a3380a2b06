"""The request that an archived callback becomes.

Method, query, body and content type are those of the callback.  The body is sent decoded, or as
gzip if it came as gzip and the target wants that.  A result that a sweep fetched becomes the
callback that the provider would have made.
"""

import base64
import hashlib
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from receiver.archive.members import GZIP
from receiver.archive.schema import Entry, Line
from receiver.errors import Damaged
from receiver.providers import PROVIDERS
from receiver.providers.base import Entrance
from receiver.replay.url_template import NotSendable, UrlTemplate

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
    body: bytes


class Form:
    """How requests are made: where they go, and in what form.

    ``url`` is a `UrlTemplate`.  Raises `SettingsError` if it cannot be called.
    """

    def __init__(self, url: str, *, gzip: bool = False, marked: bool = True) -> None:
        self._template = UrlTemplate(url)
        self._gzip = gzip
        self._marked = marked

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL, which may be shown."""
        return self._template.origin

    def request(self, entry: Entry, line: bytes) -> Request:
        """Return the request of an archived line.  Raises `Damaged` and `NotSendable`."""
        try:
            callback = _LINE.decode(line)
            body = _body(callback)
            return self._request(entry, callback, body)
        except NotSendable as exc:
            raise NotSendable(f"{entry.delivery_id} is not sent: {exc.detail}") from None
        except ValueError as exc:
            raise Damaged(f"{entry.object}: the line of {entry.delivery_id}: {exc}") from exc

    def _request(self, entry: Entry, callback: Line, body: bytes) -> Request:
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
        body = self._encode(callback, body, headers)
        url = self._url(callback, entrance)
        return Request(entry=entry, method=method, url=url, headers=headers, body=body)

    def _encode(self, callback: Line, body: bytes, headers: dict[str, str]) -> bytes:
        """Add the headers that describe the body, and return the body as it is sent."""
        came = dict(reversed(callback.headers))
        _copy("content-type", came, headers)
        as_it_came = len(body) == callback.wire_bytes and _is_wire(callback, body, came)
        if as_it_came:
            for name in _OF_WIRE_BYTES:
                _copy(name, came, headers)
        elif self._gzip:
            headers["content-encoding"] = "gzip"
            return GZIP.member(body)
        return body

    def _url(self, callback: Line, entrance: Entrance | None) -> str:
        if entrance is None:
            query, path = callback.target.partition("?")[2], _path_behind_token(callback.target)
            kind = callback.kind
        else:
            query, path, kind = _query_of_provider(callback, entrance), "", entrance.kind
        return self._template.url(provider=callback.provider, kind=kind, path=path, query=query)


def _body(callback: Line) -> bytes:
    if callback.body is not None:
        body = callback.body.encode()
    else:
        body = base64.b64decode(callback.body_base64 or "", validate=True)
    if len(body) != callback.body_bytes:
        raise ValueError(f"holds {len(body)} bytes of a body of {callback.body_bytes}")
    return body


def _is_wire(callback: Line, body: bytes, came: dict[str, str]) -> bool:
    """Return whether a body of the right size is byte for byte what came."""
    if not any(name in came for name in _OF_WIRE_BYTES):
        return True  # no header depends on it
    return hashlib.sha256(body).hexdigest() == callback.wire_sha256


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

"""The request that an archived callback becomes.

Method, query, body and content type are those of the callback.  The body is sent decoded, or as
gzip if it came as gzip and the target wants that.  A result that a sweep fetched becomes the
callback that the provider would have made.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import msgspec

from receiver.archive.members import GZIP
from receiver.archive.schema import Entry, Line
from receiver.errors import Damaged, SettingsError
from receiver.providers import PROVIDERS
from receiver.providers.base import Entrance

PLACEHOLDERS = ("{provider}", "{kind}", "{path}")

_BRACES = re.compile(r"\{[^}]*\}|[{}]")
# Headers that describe the bytes as they came; they are sent only with those bytes.
_OF_WIRE_BYTES = ("content-encoding", "x-hub-signature-256")


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

    ``url`` may hold `{provider}`, `{kind}` and `{path}` (what followed the token in the URL that
    the provider called).  Raises `SettingsError` if it cannot be called.  Only ``origin`` of it
    may be shown: the rest can hold secrets.
    """

    def __init__(self, url: str, *, gzip: bool = False, marked: bool = True) -> None:
        self.origin = _origin(url)
        self._base, _, self._query = url.partition("?")
        self._gzip = gzip
        self._marked = marked

    def request(self, entry: Entry, line: bytes) -> Request:
        """Return the request of an archived line.  Raises `Damaged`."""
        try:
            callback = _LINE.decode(line)
            body = _body(callback)
        except ValueError as exc:
            raise Damaged(f"{entry.object}: the line of {entry.delivery_id}: {exc}") from exc
        entrance = None if callback.origin == "callback" else _entrance(callback.provider)
        headers = {
            "webhook-id": callback.delivery_id,
            "webhook-received-at": callback.received_at,
            "webhook-provider": callback.provider,
            "webhook-kind": callback.kind,
            "webhook-origin": callback.origin,
        }
        if self._marked:
            headers["webhook-replay"] = "true"
        body = self._encode(callback, body, headers)
        return Request(
            entry=entry,
            method=entrance.method if entrance else callback.method,
            url=self._url(callback, entrance),
            headers=headers,
            body=body,
        )

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
        base, own = (
            part.replace("{provider}", callback.provider)
            .replace("{kind}", kind)
            .replace("{path}", _wire_safe(path))
            for part in (self._base, self._query)
        )
        both = "&".join(part for part in (own, _wire_safe(query)) if part)
        return f"{base}?{both}" if both else base


def _origin(url: str) -> str:
    """Return scheme, host and port, which may be printed; refuse a URL that cannot be called."""
    unknown = set(_BRACES.findall(url)) - set(PLACEHOLDERS)
    if unknown:
        raise SettingsError(f"the URL may hold {', '.join(PLACEHOLDERS)}, and no other braces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError("the URL to send to cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("the URL to send to must begin with http:// or https:// and a host")
    if "{" in parts.netloc or "#" in url or not url.isascii() or not _is_visible(url):
        raise SettingsError("the URL to send to must be ASCII, with no space, fragment or {host}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _is_visible(text: str) -> bool:
    return text.isprintable() and " " not in text


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
    if value and value.isascii() and value.isprintable():
        headers[name] = value


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


def _wire_safe(text: str) -> str:
    """Escape the bytes that are not allowed in a request line, and leave the rest as it came."""
    return quote(text, safe="!\"$%&'()*+,/:;<=>?@[\\]^`{|}~", encoding="latin-1")

"""The URL that callbacks are sent to, with places that each callback fills.

Callbacks come from strangers and lines out of a bucket, so what fills a place stays in it: a path
that climbs out of its prefix is not sent, and in the query nothing can add a parameter.
"""

import re
from urllib.parse import quote, unquote, urlsplit

from receiver.errors import ReceiverError, SettingsError

PLACEHOLDERS = ("{provider}", "{kind}", "{path}")

_BRACES = re.compile(r"\{[^}]*\}|[{}]")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What ends or divides parameters, or means something else than itself in a query.
_IN_QUERY = str.maketrans({character: f"%{ord(character):02X}" for character in "&=+#;"})


class NotSendable(ReceiverError):
    """A callback cannot be sent as a request."""


class UrlTemplate:
    """A URL that may hold `{provider}`, `{kind}` and `{path}`.

    `{path}` is what followed the token in the URL that the provider called.  Raises `SettingsError`
    if the URL cannot be called.  Only ``origin`` of it may be shown: the rest can hold secrets.
    """

    def __init__(self, url: str) -> None:
        self.origin = _origin(url)
        self._base, _, self._query = url.partition("?")

    def url(self, *, provider: str, kind: str, path: str, query: str) -> str:
        """Return the URL of a callback, its own query last.  Raises `NotSendable`."""
        if not _NAME.fullmatch(provider) or not _NAME.fullmatch(kind):
            raise NotSendable("its provider or kind is not a name")
        if "{path}" in self._base and _has_dot_segment(path):
            raise NotSendable("its path has a dot segment, which could leave the URL's own path")
        safe = _wire_safe(path)
        base, own = (
            part.replace("{provider}", provider).replace("{kind}", kind).replace("{path}", filling)
            for part, filling in (
                (self._base, safe),
                (self._query, safe.translate(_IN_QUERY)),
            )
        )
        both = "&".join(part for part in (own, _wire_safe(query)) if part)
        return f"{base}?{both}" if both else base


def _has_dot_segment(path: str) -> bool:
    """Return whether a server may take a part of a path for `.` or `..`.

    Some decode before they split, take a backslash for a slash, or leave out parameters (`..;x`).
    """
    parts = re.split(r"[/\\]", unquote(path, encoding="latin-1"))
    return any(part.partition(";")[0].strip() in (".", "..") for part in parts)


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


def _wire_safe(text: str) -> str:
    """Escape the bytes that are not allowed in a request line, and leave the rest as it came."""
    return quote(text, safe="!\"$%&'()*+,/:;<=>?@[\\]^`{|}~", encoding="latin-1")

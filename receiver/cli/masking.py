"""Keeping secrets, and what could command a terminal, off the screen."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import orjson

from receiver import config
from receiver.log import UNPRINTABLE

STARS = "***"
# Their values are somebody's credentials, whoever gave them out.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
# The same characters in JSON, where this is another way to write them.
_ESCAPED = {code: f"\\u{code:04x}" for code in UNPRINTABLE}
_ONE_LINE = UNPRINTABLE | {ord("\n"): "\\n", ord("\t"): "\\t"}


class Mask:
    """Replaces every secret in force by stars, however it is written down."""

    def __init__(self, settings: config.Settings) -> None:
        forms = {form for secret in _secrets(settings) for form in _forms(secret)}
        # The longest first: one may be the beginning of another.
        longest = sorted(filter(None, forms), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern_of, longest))) if longest else None

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._pattern.sub(STARS, text) if self._pattern else text

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return headers without secrets."""
        return [
            (name, STARS if name.lower() in _SECRET_HEADERS else self.text(value))
            for name, value in headers
        ]


def printable(text: str) -> str:
    """Return text of strangers as a terminal may see it."""
    return text.translate(UNPRINTABLE)


def one_line(text: str) -> str:
    """Return text of strangers as it may stand in a line of ours: it can begin no other."""
    return text.translate(_ONE_LINE)


def json_text(content: bytes) -> str:
    """Return encoded JSON as a terminal may see it; it says the same."""
    return content.decode().translate(_ESCAPED)


def _secrets(settings: config.Settings) -> Iterator[str]:
    yield from settings.known_secrets()
    # Where no tokens are set, the one that `serve` made for itself.
    path = settings.spool / "token"
    if not settings.tokens and path.is_file():
        yield path.read_text().strip()


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, in JSON, in JSON within JSON, and in a URL."""
    escaped = orjson.dumps(secret).decode()[1:-1]
    yield from (secret, escaped, orjson.dumps(escaped).decode()[1:-1], quote(secret, safe=""))


def _pattern_of(form: str) -> str:
    # The hexadecimal digits of a URL are written both ways.
    return re.sub("%([0-9A-F]{2})", r"%(?i:\1)", re.escape(form))

"""Takes secrets out of text, in whatever form they are written down.

Providers and targets repeat what they were sent, and libraries put it into their error messages:
escaped for JSON, for a URL or for HTML, as a Python literal, in Base64.  One pattern finds all of
these forms.  It treats a secret as a sequence of characters and lets each of them stand in any
form, so that mixtures and nested encodings are found, too:

    plain             pass"word/ü
    JSON              pass\\"word\\/\\u00fc, and once more inside a JSON string
    URL               pass%22word%2F%c3%bc, hexadecimal digits in either case; `+` for a space
    HTML              pass&quot;word/&uuml;, pass&#34;word, pass&#x22;word
    Python            the same within `repr` of a string or of bytes, in either kind of quotes
    Base64            both alphabets, at any offset: `user:password` of Basic credentials is one
    hexadecimal       in either case

A secret of fewer than 6 characters is masked only where it stands as a word of its own; in Base64
and hexadecimal it is not recognized, since other text would match by chance.
"""

import base64
import html.entities
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

STARS = "***"

# Shorter secrets are parts of ordinary words.
_CHARACTERS_MIN = 6
# Nesting of a JSON document beyond which its parts are not shown at all; orjson writes up to 254.
_DEPTH_MAX = 200
# Headers whose values are somebody's credentials, whoever issued them.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_SHORT_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_ENTITIES = {chr(code): name for code, name in html.entities.codepoint2name.items()} | {"'": "apos"}
# Names of query parameters whose values are secrets, whatever they look like.
_SECRET_NAME = re.compile(
    r"(?:^|[^a-z]|api|access|auth|client|id)"
    r"(?:key|token|secret|sig|signature|pass|passwd|password|pwd|auth|code|credentials?)"
    r"(?:$|[^a-z])",
    re.IGNORECASE,
)
# Digits behind the letter of an escape.
_DIGITS = {"x": 2, "u": 4, "U": 8}
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


class Masker:
    """Replaces every secret that it knows by stars.  Safe to use from several threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(filter(None, secrets))
        # The secrets of a pattern, and the pattern.
        self._compiled: tuple[frozenset[str], re.Pattern[str]] = (frozenset(), re.compile(""))

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these, too, from now on."""
        self._secrets |= frozenset(filter(None, secrets))

    def text(self, text: str) -> str:
        """Return a text without secrets; JSON stays JSON."""
        secrets = self._secrets
        if not secrets:
            return text
        known, pattern = self._compiled
        if known is not secrets:
            # Compiled when it is first needed, since that takes a few milliseconds.
            pattern = _pattern(secrets)
            self._compiled = secrets, pattern
        return pattern.sub(_stars, text)

    def value(self, value: Any, *, _depth: int = 0) -> Any:
        """Return JSON data without secrets: every string is masked, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping | list | tuple) and _depth >= _DEPTH_MAX:
            return STARS
        if isinstance(value, Mapping):
            return {
                self.value(name): self.value(part, _depth=_depth + 1)
                for name, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(part, _depth=_depth + 1) for part in value]
        return value

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return headers without secrets, and without credentials of any kind."""
        return [
            (name, STARS if name.lower() in _SECRET_HEADERS else self.text(value))
            for name, value in headers
        ]


def url_secrets(url: str) -> Iterator[str]:
    """Yield a URL and those parts of it that can be secrets, also percent-decoded.

    Scheme, host and port are never secrets.  Others are:

    - user and password, together and alone; the user alone only if there is no password, or if it
      looks like a secret;
    - the value of a query parameter whose name says so (`key`, `token`, `secret`, …);
    - any other value and any segment of the path that looks like a secret: one of 16 characters
      or more, or of 8 or more that are not a plain word.  So `notifications` or `Webhooks` stay.
    """
    yield from userinfo(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        yield url
        yield from _secret_like(re.split(r"[/?&=:@#]", url))
        return
    if parts.path.strip("/") or parts.query or parts.fragment:
        yield url
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if _SECRET_NAME.search(name):
            yield from (value, unquote(value))
            if len(value) < _CHARACTERS_MIN:
                yield pair  # which is found in more forms than a short value alone
        else:
            yield from _secret_like([value or name])
    yield from _secret_like(re.split(r"[/;]", _PLACEHOLDER.sub("/", parts.path)))
    yield from _secret_like([parts.fragment])


def userinfo(url: str) -> Iterator[str]:
    """Yield what of a URL's user and password is secret, if it has them."""
    before = re.match(r"[^/]*//([^/?#]*)@", url) or re.match(r"[^/]*//(.*)@", url)
    if before is None:
        return
    user, colon, password = before[1].partition(":")
    yield from (before[1], unquote(before[1]), password, unquote(password))
    if not colon:
        yield from (user, unquote(user))
    else:
        yield from _secret_like([user])


def _secret_like(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts of a URL that look like secrets."""
    for part in parts:
        word = part.isalpha() and (part.islower() or part.isupper() or part.istitle())
        if len(part) >= 16 or (len(part) >= 8 and not word):
            yield from (part, unquote(part))


def _stars(match: re.Match[str]) -> str:
    """Return what takes a secret's place, even behind a backslash that escaped its first letter.

    In JSON, the line break of "\\nsecret" and a secret "nsecret" look the same; a backslash in
    front of the stars would be an error there.
    """
    start = end = match.start()
    while start and match.string[start - 1] == "\\":
        start -= 1
    return "\\" + STARS if (end - start) % 2 else STARS


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """Compile one alternation of all forms, the longest first: a secret can begin another.

    Branches that begin alike are put together, and each begins with a literal character: so `re`
    skips quickly what begins no secret.
    """
    found = {(first, rest): size for secret in secrets for size, first, rest in _branches(secret)}
    longest = sorted(found, key=lambda branch: -found[branch])
    grouped: dict[str, list[str]] = {}
    for first, rest in longest:
        grouped.setdefault(first, []).append(rest)
    return re.compile("|".join(f"{first}(?:{'|'.join(rests)})" for first, rests in grouped.items()))


def _branches(secret: str) -> Iterator[tuple[int, str, str]]:
    """Yield patterns of a secret in two parts, and for how many characters they stand.

    The first part is that of the first character.
    """
    size = len(secret)
    word = size < _CHARACTERS_MIN
    for first, rest in _forms(_characters(secret)):
        # The first character was matched already, so what stands before it is two back.
        before = rf"(?<!\w{first})" if word and first.isalnum() else ""
        after = r"(?!\w)" if word and secret[-1].isalnum() else ""
        yield size, first, before + rest + after
    content = secret.encode("utf-8", "surrogatepass")
    if len(content) < _CHARACTERS_MIN:
        return
    for digits in (content.hex(), content.hex().upper()):
        yield 2 * size, digits[0], digits[1:]
    for shift in range(3):
        for first, rest in _forms(_base64(content, shift)):
            yield size, first, rest


def _forms(characters: list[list[str]]) -> Iterator[tuple[str, str]]:
    """Yield each way to write the first character, and a pattern of those behind it."""
    first, *others = characters
    rest = "".join(ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})" for ways in others)
    return ((way, rest) for way in first)


def _characters(secret: str) -> list[list[str]]:
    """Return for each character of a secret the patterns of all ways to write it."""
    found: list[list[str]] = []
    for character, run in itertools.groupby(secret):
        count = len(list(run))
        found += [_backslashes(count)] if character == "\\" else [_ways(character)] * count
    return found


def _ways(character: str) -> list[str]:
    """Return patterns of all ways to write a character; each begins with a literal one."""
    if character.isascii() and character.isalnum():
        return [character]
    code = ord(character)
    content = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    ways = [
        "".join(f"%(?:25){{0,2}}{_hex(byte, 2)}" for byte in content),
        _entity(code, _ENTITIES.get(character)),
        # JSON, and `repr` of strings; of bytes.
        "".join(_escape("u", int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2)),
        _escape("U", code),
        "".join(_escape("x", byte) for byte in content),
    ]
    if code < 256:
        ways.append(_escape("x", code))
    if character in _SHORT_ESCAPES:
        ways.append(rf"\\\\{{0,3}}{_SHORT_ESCAPES[character]}")
    if character in "\"'/":
        ways.append(rf"\\\\{{0,2}}{character}")
    if character == " ":
        ways.append(r"\+")
    return [*ways, re.escape(character)]


def _backslashes(count: int) -> list[str]:
    """Return patterns of a run of backslashes: escaped twice, once, or not, or in another way."""
    escaped = [r"\\" * count * times for times in (4, 2, 1)]
    return ["%(?:25){0,2}5[cC]" * count, _entity(0x5C, "bsol") * count, *escaped]


def _entity(code: int, name: str | None) -> str:
    """Return a pattern of a character in HTML, also where the ampersand was escaped again."""
    named = f"|{name};" if name else ""
    return f"&(?:amp;)?(?:#0*{code};|#[xX]0*{_hex(code)};{named})"


def _escape(letter: str, number: int) -> str:
    """Return a pattern of a number escaped with this letter, behind up to four backslashes.

    Each level of nesting doubles them.
    """
    return rf"\\\\{{0,3}}{letter}{_hex(number, _DIGITS[letter])}"


def _hex(number: int, width: int = 0) -> str:
    """Return a pattern of hexadecimal digits in either case."""
    return re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", f"{number:0{width}x}")


def _base64(content: bytes, shift: int) -> list[list[str]]:
    """Return the characters that encode a secret which begins ``shift`` bytes after a group.

    Of the first and the last character only some bits are the secret's: the first is left out,
    and the last is matched whatever it is.
    """
    encoded = base64.b64encode(bytes(shift) + content).decode()
    bits = 8 * (shift + len(content))
    other = {"+": "-", "/": "_"}
    found = [
        [*_ways(character), *([other[character]] if character in other else [])]
        for character in encoded[(0, 2, 3)[shift] : bits // 6]
    ]
    if bits % 6:
        found.append(["[A-Za-z0-9+/_-]?"])
        found.append([f"(?:{'|'.join(_ways('='))}){{0,2}}"])
    return found

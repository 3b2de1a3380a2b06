"""JSON as leniently as its bytes allow: what strict parsers refuse is read as far as it goes.

Strict parsers refuse a whole document for one lone surrogate, `NaN`, control character, byte order
mark, or for nesting that is deeper than they recurse.  `Scanner` reads such a document in steps,
without recursion, and keeps only the few values that it is asked for.  The standard library's
parser accepts most of this text, but needs the whole document, to its end, in memory.

A document is ``odd`` if it is complete but a strict parser would refuse it, and ``broken`` if it is
cut short or its grammar is violated; then what came before is still read.
"""

import codecs
import functools
import json  # noqa: TID251 # orjson refuses what is read here
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

# The values to keep, by name: None for a string, number or literal, another shape for an object,
# and a list with a shape for an array, of which only the first object is kept.
Shape: TypeAlias = Mapping[str, Any]

# Strict parsers recurse at most a few hundred levels; deeper text than this is not read at all.
_STRICT_DEPTH = 500
_DEPTH_MAX = 100_000
# What is held of a token until its end comes.  A longer string is skipped, a longer name is broken.
_HELD_BYTES_MAX = 1 << 20

_SPACE = rb"[ \t\r\n]*+"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u(?i:(?!d[89a-f])[0-9a-f]{4}|d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}))'
_STRICT_CONTENT = rb'(?:[^"\\\x00-\x1f]++|' + _ESCAPE + rb")*+"
_LOOSE_CONTENT = rb'(?:[^"\\]++|\\.)*+'
_STRICT_TEXT = b'"' + _STRICT_CONTENT + b'"'
_LOOSE_TEXT = b'"' + _LOOSE_CONTENT + b'"'
_WORD = rb"[A-Za-z0-9_.+-]"
_LITERAL = (
    rb"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+|true|false|null)(?!%b)" % _WORD
)


@functools.cache
def _runs(*, odd: bool) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return the patterns of many members of an object, and of many elements of an array.

    What nobody asked for is passed over in such runs: strict ones, or any once the document is
    ``odd``.  Their values are scalars, or containers of a few levels.  Made when first needed.
    """
    text, plain = (_LOOSE_TEXT, _WORD + b"++") if odd else (_STRICT_TEXT, _LITERAL)
    value = rb"(?:%b|%b)" % (text, plain)
    for _ in range(_RUN_DEPTH):
        element = value + _SPACE
        member = text + _SPACE + b":" + _SPACE + element
        value = (
            rb"(?:%(value)b"
            rb"|\{%(space)b(?:%(member)b(?:,%(space)b%(member)b)*+)?+\}"
            rb"|\[%(space)b(?:%(element)b(?:,%(space)b%(element)b)*+)?+\])"
        ) % {b"value": value, b"space": _SPACE, b"member": member, b"element": element}
    return (
        re.compile(
            rb"(?:%b%b%b:%b%b%b,)*+" % (_SPACE, text, _SPACE, _SPACE, value, _SPACE), re.DOTALL
        ),
        re.compile(rb"(?:%b%b%b,)*+" % (_SPACE, value, _SPACE), re.DOTALL),
    )


_VALUE = re.compile(
    rb"%b(?:(?P<strict>%b|%b)|(?P<begin>[{\[])|(?P<end>\])|(?P<loose>%b|%b++))"
    % (_SPACE, _STRICT_TEXT, _LITERAL, _LOOSE_TEXT, _WORD),
    re.DOTALL,
)
_KEY = re.compile(
    rb"%b(?:(?:(?P<strict>%b)|(?P<loose>%b))%b:|(?P<end>\}))"
    % (_SPACE, _STRICT_TEXT, _LOOSE_TEXT, _SPACE),
    re.DOTALL,
)
_AFTER = re.compile(_SPACE + rb"([,}\]])")
_BLANK = re.compile(_SPACE)
_STRICT_RUN = re.compile(_STRICT_CONTENT)
_LOOSE_RUN = re.compile(_LOOSE_CONTENT, re.DOTALL)
# How far into a body its first bracket may be.
_START_BYTES = 4096
# Levels of containers within a run.
_RUN_DEPTH = 2
# The longest escape is a surrogate pair.
_ESCAPE_BYTES = 12
_OBJECT, _ARRAY = b"{["


class Scanner:
    """Reads one document, fed in steps; memory is bounded whatever it holds.

    ``found`` has the values of the shape as far as they were read, by name; it is None unless the
    document is an object.  ``odd`` and ``broken`` are final after `end`.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        self.found: Any = None
        self.odd = False
        self.broken = False
        self._held = b""
        # The containers that are open, as their brackets, and what is kept of the outer ones.
        self._open = bytearray()
        self._kept: list[tuple[Any, Any]] = []
        # The shape and the name of the value that comes next.
        self._wanted: Any = shape
        self._name = ""
        self._read: Callable[[bytes, int], int] = self._read_start
        self._may_end = False

    def feed(self, step: bytes) -> None:
        """Read on."""
        if self.broken:
            return
        text = self._held + step if self._held else step
        at = 0
        while not self.broken:
            reached = self._read(text, at)
            if reached < 0:
                break
            at = reached
        self._held = b"" if self.broken else text[at:]
        if len(self._held) > _HELD_BYTES_MAX:
            self._skip_long()

    def end(self) -> None:
        """Judge the document as complete or not."""
        if self.broken:
            return
        if self._held:
            # A number ends where something else begins.
            self.feed(b" ")
        self.broken = self.broken or not self.complete
        self._held = b""

    @property
    def complete(self) -> bool:
        """Whether the end of the document was reached."""
        return self._read == self._read_end

    # Each reads at a position and returns where it got to, -1 if that takes more bytes.

    def _read_start(self, text: bytes, at: int) -> int:
        if len(text) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(text):
            return -1
        self._read = self._read_value
        if text.startswith(codecs.BOM_UTF8):
            self.odd = True
            return len(codecs.BOM_UTF8)
        return at

    def _read_value(self, text: bytes, at: int) -> int:
        began = at
        if self._is_unwanted() and self._open[-1] == _ARRAY:
            at = self._pass(_runs(odd=self.odd)[1], text, at)
        found = _VALUE.match(text, at)
        # A number or word that reaches the end of the text may go on.
        if found is None or (found.end() == len(text) and text[-1:] not in b'"{[]'):
            return at if at > began else -1
        kind = found.lastgroup or ""
        if kind == "begin":
            self._begin(found[kind][0])
        elif kind == "end":
            self._end_container(_ARRAY, allowed=self._may_end)
        else:
            self.odd = self.odd or kind == "loose"
            self._keep_scalar(found[kind])
            self._after_value()
        return found.end()

    def _read_key(self, text: bytes, at: int) -> int:
        began = at
        if self._is_unwanted():
            at = self._pass(_runs(odd=self.odd)[0], text, at)
        found = _KEY.match(text, at)
        if found is None:
            return at if at > began else -1
        kind = found.lastgroup or ""
        if kind == "end":
            self._end_container(_OBJECT, allowed=self._may_end)
        else:
            self.odd = self.odd or kind == "loose"
            self._wanted = None
            if not self._is_unwanted():
                self._name = str(scalar(found[kind]))
                self._wanted = self._kept[-1][0].get(self._name, _NOTHING)
            self._may_end = False
            self._read = self._read_value
        return found.end()

    def _read_after(self, text: bytes, at: int) -> int:
        found = _AFTER.match(text, at)
        if found is None:
            self.broken = _BLANK.match(text, at).end() < len(text)  # type: ignore[union-attr]
            return -1
        if found[1] == b",":
            self._before_item(may_end=False)
        else:
            self._end_container(_OBJECT if found[1] == b"}" else _ARRAY, allowed=True)
        return found.end()

    def _read_end(self, text: bytes, at: int) -> int:
        rest = text[at:].strip(b" \t\r\n")
        self.odd = self.odd or bool(rest)
        self.broken = bool(rest.strip(b" \t\r\n\0"))
        return len(text) if len(text) > at else -1

    def _read_long(self, text: bytes, at: int) -> int:
        """Read on in a string that is too long to be held."""
        run = _LOOSE_RUN if self.odd else _STRICT_RUN
        reached = run.match(text, at).end()  # type: ignore[union-attr]
        if reached < len(text) and text[reached : reached + 1] == b'"':
            self._after_value()
            return reached + 1
        if run is _STRICT_RUN and len(text) - reached >= _ESCAPE_BYTES:
            self.odd = True
            return reached
        return reached if reached > at else -1

    # What they have in common.

    def _is_unwanted(self) -> bool:
        """Whether nothing of the container that is open is kept."""
        return len(self._kept) < len(self._open)

    def _pass(self, pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
        reached = pattern.match(text, at).end()  # type: ignore[union-attr]
        if reached > at:
            self._may_end = False
        return reached

    def _begin(self, bracket: int) -> None:
        self._open.append(bracket)
        self.odd = self.odd or len(self._open) > _STRICT_DEPTH
        self.broken = len(self._open) > _DEPTH_MAX
        kept: Any = {} if bracket == _OBJECT else []
        wanted = dict if bracket == _OBJECT else list
        if len(self._kept) == len(self._open) - 1 and isinstance(self._wanted, wanted):
            self._keep(kept)
            self._kept.append((self._wanted, kept))
        self._before_item(may_end=True)

    def _before_item(self, *, may_end: bool) -> None:
        self._may_end = may_end
        if self._open[-1] == _OBJECT:
            self._read = self._read_key
            return
        self._read = self._read_value
        self._wanted = _NOTHING
        if not self._is_unwanted() and not self._kept[-1][1]:
            self._wanted = self._kept[-1][0][0]

    def _end_container(self, bracket: int, *, allowed: bool) -> None:
        if not allowed or not self._open or self._open[-1] != bracket:
            self.broken = True
            return
        if not self._is_unwanted():
            self._kept.pop()
        self._open.pop()
        self._after_value()

    def _after_value(self) -> None:
        self._read = self._read_after if self._open else self._read_end

    def _keep_scalar(self, token: bytes) -> None:
        if self._wanted is None and self._kept and not self._is_unwanted():
            self._keep(scalar(token))

    def _keep(self, value: Any) -> None:
        if not self._kept:
            self.found = value
            return
        container = self._kept[-1][1]
        if isinstance(container, list):
            container.append(value)
        else:
            container[self._name] = value

    def _skip_long(self) -> None:
        """Go on within the string that is too long to be held; nothing else may be so long."""
        held = self._held.lstrip(b" \t\r\n")
        self._held = b""
        if self._read == self._read_value and held.startswith(b'"'):
            self._read = self._read_long
            self.feed(held[1:])
        elif held:
            self.broken = True


_ESCAPES = re.compile(
    r"(?P<good>" + _ESCAPE.decode() + r")|\\u(?i:d[89a-f][0-9a-f]{2})|\\.", re.DOTALL
)
# Bytes that are not UTF-8, as ISO 8859-1.
_AS_LATIN1 = {0xDC00 + byte: chr(byte) for byte in range(0x80, 0x100)}
# The shape of what is not wanted.
_NOTHING = object()


def begins_as_json(body: bytes) -> bool:
    """Return whether a body begins as an object or an array of JSON does."""
    start = body[:_START_BYTES].removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    return start.startswith((b"{", b"["))


def scalar(token: bytes) -> str | int | float | bool | None:
    """Return the value of a token, as text where it is none of JSON's; None if it has none."""
    text = text_in(token)
    try:
        value: str | int | float | bool | None = json.loads(
            text, strict=False, parse_constant=lambda _: None
        )
    except ValueError:
        value = text if text[0] in "+-.0123456789" else None
    return value


def text_in(document: bytes) -> str:
    r"""Return a document as text that can be read and written again.

    Lone surrogates and unknown escapes become the text that they are written with, such as \ud83d;
    bytes that are not UTF-8 are taken as ISO 8859-1.
    """
    text = document.decode("utf-8", "surrogateescape").translate(_AS_LATIN1)
    return _ESCAPES.sub(_repaired, text)


def _repaired(escape: re.Match[str]) -> str:
    return escape[0] if escape["good"] else "\\" + escape[0]


def utf8_or_latin1(encoded: bytes) -> str:
    """Return bytes as text: UTF-8, or ISO 8859-1 where they are not that."""
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded.decode("latin-1")

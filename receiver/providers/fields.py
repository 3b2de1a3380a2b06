"""Reading the few fields of a body that matter: strictly and fast, leniently where that fails."""

import functools
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from receiver.providers.lenient import Scanner, Shape

T = TypeVar("T")

# A body is complete, with text in it that strict parsers refuse.
ODD_TEXT = "odd_text"

_LEAVES: dict[type[inspect.Type], type] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
}


class UnreadableBody(Exception):
    """A body is not the JSON that it should be; the message is a slug that says why."""


def read_fields(
    body: bytes | None, decoder: "msgspec.json.Decoder[T]", *, whole: bool = True
) -> tuple[T, str | None]:
    """Return the fields of a body as far as they can be read, and why it is not as it should be.

    The decoder's type is a struct all of whose fields have defaults: a field that is missing, of
    another type or behind what cannot be read has its default.  The reason is a slug, None if the
    body is good JSON: ``undecodable`` for None, ``empty``, ``not_json`` for what is no JSON or cut
    short, ``unknown_kind`` for JSON that is not an object, ``odd_text`` for JSON that is complete
    but that strict parsers refuse.  Unless ``whole``, it is that of the beginning alone.
    """
    if body is None:
        return _filled(decoder.type, None), "undecodable"
    if not body.strip():
        return _filled(decoder.type, None), "empty"
    if whole:
        try:
            return decoder.decode(body), None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # read leniently
    kind: Any = decoder.type
    scanner = Scanner(_shape(kind))
    scanner.feed(body)
    if whole:
        scanner.end()
    return _filled(kind, scanner.found), _reason(scanner)


def read_json(body: bytes | None, decoder: "msgspec.json.Decoder[T]") -> T:
    """Return the fields of a body that is good JSON, as `read_fields` does.

    Raises `UnreadableBody` with the slug that says why it is not.
    """
    fields, invalid = read_fields(body, decoder)
    if invalid is not None:
        raise UnreadableBody(invalid)
    return fields


def text_of(value: str | float | None) -> str | None:
    """Return a field as text, None if it is empty; 20000.0 is the number 20000."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _reason(scanner: Scanner) -> str | None:
    if scanner.broken:
        return "not_json"
    if scanner.found is None and scanner.complete:
        return "unknown_kind"
    return ODD_TEXT if scanner.odd else None


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[str, frozenset[type], Any, bool]]:
    """Return, by their names in JSON, a struct's fields: name, types, and the struct within.

    The last tells a list of structs from one.
    """
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    fields = {}
    for field in info.fields:
        types = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        leaves = frozenset(_LEAVES[type(one)] for one in types if type(one) in _LEAVES)
        struct, is_list = None, False
        for one in types:
            item = one.item_type if isinstance(one, inspect.ListType) else one
            if isinstance(item, inspect.StructType):
                struct, is_list = item.cls, item is not one
        fields[field.encode_name] = (field.name, leaves, struct, is_list)
    return fields


@functools.cache
def _shape(kind: Any) -> Shape:
    """Return the shape of a struct.  One that holds itself is followed one level down."""
    return _shape_within(kind, frozenset())


def _shape_within(kind: Any, around: frozenset[Any]) -> Shape:
    shape: dict[str, Any] = {}
    for name, (_, _, struct, is_list) in _fields(kind).items():
        if struct is None:
            shape[name] = None
        elif struct not in around:
            within = _shape_within(struct, around | {kind} if struct is kind else around)
            shape[name] = [within] if is_list else within
    return shape


def _filled(kind: Any, found: Any) -> Any:
    """Return a struct with the values that fit."""
    given: dict[str, Any] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        attribute, leaves, struct, is_list = _fields(kind)[name]
        if struct is not None and is_list and isinstance(value, list):
            given[attribute] = [_filled(struct, item) for item in value]
        elif struct is not None and not is_list and isinstance(value, dict):
            given[attribute] = _filled(struct, value)
        elif type(value) in leaves:
            given[attribute] = value
        elif type(value) is float and int in leaves and value.is_integer():
            given[attribute] = int(value)
    return kind(**given)

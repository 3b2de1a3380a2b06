"""The types of values that settings have: how they are read, checked, explained and shown."""

import ipaddress
import re
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

T = TypeVar("T")
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

EMPTY = "empty"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}\Z")
_FAMILY = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\Z")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?\Z")
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\x00-\x20/?#@:\[\]\\]+)"
_URL = re.compile(rf"(?i:https?)://{_HOST}(:[0-9]+)?(/[^\x00-\x20?#]*)?\Z")
_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


def read_text(text: str, field: FieldInfo) -> str:
    """Return the text of a setting: never empty, and a choice in lower case.

    An empty value is usually an unset variable in a template; it would pass for a path, a host or
    a password.
    """
    if not text.strip():
        raise PydanticCustomError(EMPTY, "is empty: set it, or leave it out")
    return text.lower() if get_origin(field.annotation) is Literal else text


def expected(field: FieldInfo) -> str:
    """Return in words what a setting takes, "" if it takes any text."""
    kind = field.annotation
    low, above, high = (_bound(field, name) for name in ("ge", "gt", "le"))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    if kind is ByteSize:
        size = f"a size such as 64MiB or 67108864{'' if above is None else ', above 0'}"
        return size if high is None else f"{size}, at most {shown(ByteSize(high))}"
    if kind is int:
        return f"a whole number, {low} " + ("or more" if high is None else f"to {high}")
    if kind is float:
        return "a number of seconds, " + (f"above {above}" if low is None else f"{low} or more")
    return ""


def _bound(field: FieldInfo, name: str) -> Any:
    bounds = (getattr(one, name, None) for one in field.metadata)
    return next((bound for bound in bounds if bound is not None), None)


def shown(value: object) -> str:
    """Return a value in the form in which it can be set, with secrets masked."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    if isinstance(value, ByteSize):
        return _shown_size(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _shown_size(size: int) -> str:
    """Return a size in the largest unit that it is a multiple of."""
    for unit, size_of_unit in _UNITS.items():
        if size and size % size_of_unit == 0:
            return f"{size // size_of_unit}{unit}"
    return str(size)


def _split(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str):
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:
            raise PydanticCustomError(EMPTY, "is empty: set it, or leave it out")
        return parts
    return value


def _check_tokens(tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for token in tokens:
        if not _TOKEN.match(token.get_secret_value()):
            raise ValueError(
                "a token is 8 to 200 of A-Z a-z 0-9 . _ ~ -; `receiver urls --new-token` makes one"
            )
    return tokens


def _read_networks(parts: Any) -> Any:
    networks = []
    for number, part in enumerate(_split(parts), 1):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError:
            hint = "a network has only zeros after its prefix (1.0.0.0/8)"
            raise ValueError(f"entry {number} is not an address or network; {hint}") from None
    return tuple(networks)


def _check_url(url: str) -> str:
    form = "must be http(s)://host[/path], without user, password, query and fragment"
    if not _URL.match(url):
        raise ValueError(form)
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"{form}; a port is 0 to 65535") from None
    return url


def _check_families(families: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_FAMILY.match, families)):
        raise ValueError("lists are named by their paths, such as serp or serp/google/organic")
    return families


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if not all(host == "*" or _NAME.match(host) for host in hosts):
        raise ValueError("hosts are names without scheme and port, such as receiver.internal, or *")
    return hosts


List = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
Tokens = Annotated[List[SecretStr], AfterValidator(_check_tokens)]
Families = Annotated[List[str], AfterValidator(_check_families)]
Hosts = Annotated[List[str], AfterValidator(_check_hosts)]
Networks = Annotated[tuple[IPNetwork, ...], NoDecode, BeforeValidator(_read_networks)]
Url = Annotated[str, AfterValidator(_check_url)]
Bytes = Annotated[ByteSize, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
SecondsAboveZero = Annotated[float, Field(gt=0)]

"""Canary secrets: what a receiver must leave nowhere but in the bodies that it keeps whole.

Every `Receiver` of every test is looked through when it is closed: all that its processes printed,
what it answered and showed, its archive if that is a directory, and its jobs and catalog.
"""

import base64
import gzip
import html
import json  # noqa: TID251
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import orjson

from tests.tools.support import zstd

_LISTS = ("RECEIVER_TOKENS", "RECEIVER_OUTSCRAPER_API_KEYS")
_WHOLE = (
    "RECEIVER_DIFFBOT_TOKEN",
    "RECEIVER_REPLAY_SECRET",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_ACCOUNTS = ("RECEIVER_DATAFORSEO", "RECEIVER_DATAFORAPPS")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# What is shorter is found by chance, or is no secret: `hook`, `default`.
_CHARACTERS_MIN = 8
_PIECE_CHARACTERS_MIN = 16
# So much of an object is looked through; some tests archive bodies of a gigabyte.
_OBJECT_BYTES_MAX = 8 << 20
_BODIES = ("body", "body_base64")
_AROUND = 120


def _json(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def _ascii_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _php(text: str) -> str:
    return _ascii_json(text).replace("/", "\\/")


def _go(text: str) -> str:
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", _json(text))


def _url(text: str) -> str:
    return quote(text, safe="")


def _lower(quoted: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# Ways to write a text down, without the quotes around it.
FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": _json,
    "JSON, twice": lambda text: _json(_json(text)),
    "ASCII JSON": _ascii_json,
    "ASCII JSON, twice": lambda text: _ascii_json(_ascii_json(text)),
    "JSON as PHP writes it": _php,
    "JSON as PHP writes it, in JSON": lambda text: _json(_php(text)),
    "JSON as Go writes it": _go,
    "URL": _url,
    "URL with slashes": lambda text: quote(text, safe="/"),
    "URL as browsers write it": lambda text: quote(text, safe="!'()*"),
    "URL in lower case": lambda text: _lower(_url(text)),
    "URL, twice": lambda text: _url(_url(text)),
    "URL in JSON": lambda text: _json(quote(text, safe="/")),
    "form": quote_plus,
    "HTML": html.escape,
    "HTML, numbers": lambda text: re.sub("[^ -~]", lambda c: f"&#{ord(c[0])};", html.escape(text)),
    "HTML, hexadecimal": lambda text: re.sub("[^A-Za-z0-9]", lambda c: f"&#x{ord(c[0]):X};", text),
    "HTML, twice": lambda text: html.escape(html.escape(text)),
    "HTML in JSON": lambda text: _json(html.escape(text)),
    "repr": lambda text: repr(text)[1:-1],
    "repr in the other quotes": lambda text: repr(f"'{text}")[2:-1],
    "repr in JSON": lambda text: _json(repr(text)[1:-1]),
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "repr of bytes in JSON": lambda text: _json(repr(text.encode())[2:-1]),
    "Base64": _base64,
    "Base64 without padding": lambda text: _base64(text).rstrip("="),
    "Base64 in a URL": lambda text: _url(_base64(text)),
    "Base64 in JSON as PHP writes it": lambda text: _php(_base64(text)),
    "URL-safe Base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in upper case": lambda text: text.encode().hex().upper(),
}


def canaries(environ: Mapping[str, str]) -> set[str]:
    """Return every secret of an environment, in all forms in which it may turn up."""
    found = {*plain_canaries(environ)}
    return {form(secret) for secret in found for form in FORMS.values()}


def plain_canaries(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every secret of an environment that is long enough to be looked for."""
    found: set[str] = set()
    for name in _LISTS:
        found.update(part.strip() for part in environ.get(name, "").split(","))
    found.update(environ.get(name, "").strip() for name in _WHOLE)
    found.add(environ.get("RECEIVER_REPLAY_SECRET", "").removeprefix("whsec_"))
    for account in _ACCOUNTS:
        login, password = (environ.get(f"{account}_{part}", "") for part in ("LOGIN", "PASSWORD"))
        found |= {password, _base64(f"{login}:{password}") if password else ""}
    for name in _ENDPOINTS:
        before, at, _ = environ.get(name, "").partition("//")[2].rpartition("@")
        found |= {before, before.partition(":")[2]} if at else set()
    pieces = re.split(r"[/?&=:@]", environ.get("RECEIVER_FORWARD_URL", ""))
    pieces = [piece for piece in pieces if len(piece) >= _PIECE_CHARACTERS_MIN]
    found.update(pieces, map(unquote, pieces))
    return (secret for secret in sorted(found) if len(secret) >= _CHARACTERS_MIN)


def leaks(secrets: Collection[str], texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return where a secret stands in texts that are given with their names."""
    return [
        f"{name}: {secret} in {text[max(0, at - _AROUND) : at + len(secret) + _AROUND]!r}"
        for name, text in texts
        for secret in secrets
        if (at := text.find(secret)) >= 0
    ]


def files(root: Path, archive: str) -> Iterator[tuple[str, str]]:
    """Yield what a receiver has left in files: its archive, jobs and catalog."""
    if not archive.startswith("s3://"):
        yield from archived(root / archive)
    for name in ("jobs", "catalog"):
        for path in sorted((root / "data" / name).rglob("*")):
            if path.is_file():
                yield str(path), path.read_bytes().decode("latin-1")


def archived(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the objects of an archive in a directory, without the bodies that it keeps."""
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if not path.is_file() or path.name.startswith(".") or key.startswith("quarantine/"):
            continue
        yield f"key {key}", key
        content = _read(path)
        yield key, _without_bodies(content) if key.startswith("callbacks/") else content.decode()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as inflated:
                return inflated.read(_OBJECT_BYTES_MAX)
        if path.suffix == ".zst":
            with zstd.open_zstd(file) as inflated:
                return inflated.read(_OBJECT_BYTES_MAX)
        return file.read(_OBJECT_BYTES_MAX)


def _without_bodies(content: bytes) -> str:
    # The last part is empty, or a line that was not read whole.
    lines = (orjson.loads(line) for line in content.split(b"\n")[:-1])
    return "\n".join(
        str({name: value for name, value in line.items() if name not in _BODIES}) for line in lines
    )

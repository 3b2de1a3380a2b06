"""Canary secrets: what a receiver must leave nowhere but in the bodies that it keeps whole.

Every `Receiver` of every test is looked through when it is closed: all that its processes printed,
what it answered and showed, its archive if that is a directory, and its jobs and catalog.
"""

import base64
import gzip
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from tests.tools.support import zstd

_LISTS = ("RECEIVER_TOKENS", "RECEIVER_OUTSCRAPER_API_KEYS")
_WHOLE = ("RECEIVER_DIFFBOT_TOKEN", "RECEIVER_REPLAY_SECRET", "AWS_SECRET_ACCESS_KEY")
_ACCOUNTS = ("RECEIVER_DATAFORSEO", "RECEIVER_DATAFORAPPS")
# What is shorter is found by chance, or is no secret: `hook`, `default`.
_CHARACTERS_MIN = 8
_PIECE_CHARACTERS_MIN = 16
# So much of an object is looked through; some tests archive bodies of a gigabyte.
_OBJECT_BYTES_MAX = 8 << 20
_BODIES = ("body", "body_base64")
_AROUND = 120


def canaries(environ: Mapping[str, str]) -> set[str]:
    """Return every secret of an environment, in all forms in which it may turn up."""
    found: set[str] = set()
    for name in _LISTS:
        found.update(part.strip() for part in environ.get(name, "").split(","))
    found.update(environ.get(name, "") for name in _WHOLE)
    found.add(environ.get("RECEIVER_REPLAY_SECRET", "").removeprefix("whsec_"))
    for account in _ACCOUNTS:
        login, password = (environ.get(f"{account}_{part}", "") for part in ("LOGIN", "PASSWORD"))
        found |= {password, base64.b64encode(f"{login}:{password}".encode()).decode()}
    pieces = re.split(r"[/?&=:@]", environ.get("RECEIVER_FORWARD_URL", ""))
    found.update(piece for piece in pieces if len(piece) >= _PIECE_CHARACTERS_MIN)
    found = {secret for secret in found if len(secret) >= _CHARACTERS_MIN}
    return found | {quote(secret, safe="") for secret in found} | set(map(unquote, found))


def leaks(secrets: Collection[str], texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return where a secret stands in texts that are given with their names."""
    if not secrets:
        return []  # an empty pattern is found everywhere
    pattern = re.compile("|".join(map(re.escape, sorted(secrets))))
    return [
        f"{name}: {found[0]} in {text[max(0, found.start() - _AROUND) : found.end() + _AROUND]!r}"
        for name, text in texts
        if (found := pattern.search(text))
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

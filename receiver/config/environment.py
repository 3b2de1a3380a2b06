"""Where settings come from: the environment, a file `.env`, and files that hold secrets."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import dotenv

from receiver.errors import SettingsError

PREFIX = "RECEIVER_"
_FILE = "_FILE"
# Skips a byte order mark, which would become part of the first name or secret.
_ENCODING = "utf-8-sig"


def add_file() -> None:
    """Add what a file `.env` sets and the environment does not.  Raises `SettingsError`."""
    try:
        dotenv.load_dotenv(Path(".env"), encoding=_ENCODING)
    except OSError as exc:
        raise SettingsError(f".env: cannot read it: {exc.strerror}") from exc
    except ValueError as exc:
        raise SettingsError(".env is not text (UTF-8)") from exc


def refuse_unknown(settings: Iterable[str], secrets: Iterable[str]) -> None:
    """Raise `SettingsError` for a name that looks like a setting and is not one of ``settings``.

    In lower case a name is unknown, too: not every program that reads it would take it for one.
    """
    known = {*settings, *(name + _FILE for name in secrets)}
    unknown = sorted(name for name in os.environ if _is_ours(name, known) and name not in known)
    if unknown:
        meant = ", ".join(dict.fromkeys(filter(None, (_nearest(name, known) for name in unknown))))
        guess = f"did you mean {meant}? " if meant else ""
        names = ", ".join(unknown)
        raise SettingsError(f"unknown setting {names}; {guess}`receiver config` lists all")


def read_files(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of the files that `…_FILE` variables name, by the keys of ``variables``.

    Raises `SettingsError`.
    """
    contents = {}
    for key, variable in variables.items():
        name = variable + _FILE
        path = os.environ.get(name)
        if path is None:
            continue
        if not path.strip():
            raise SettingsError(f"{name} is empty: set it, or leave it out")
        if variable in os.environ:
            raise SettingsError(f"set {variable} or {name}, not both")
        contents[key] = _read(name, path)
    return contents


def _read(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(_ENCODING).strip()
    except OSError as exc:
        raise SettingsError(f"{name}: cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{name}: {path} is not text (UTF-8)") from exc
    if not text:
        raise SettingsError(f"{name}: {path} is empty")
    return text


def _is_ours(name: str, known: set[str]) -> bool:
    return name.upper().startswith(PREFIX) or name.upper() in known


def _nearest(name: str, known: set[str]) -> str | None:
    # Without the prefix, which makes all names similar.
    short = {setting.removeprefix(PREFIX): setting for setting in sorted(known)}
    found = difflib.get_close_matches(name.upper().removeprefix(PREFIX), short, n=1)
    return short[found[0]] if found else None

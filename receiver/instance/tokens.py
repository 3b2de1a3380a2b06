"""The tokens in the URLs that providers call: those that are set, or one that is made and kept."""

import contextlib
import ipaddress
import os
import secrets
from pathlib import Path

from receiver import disk
from receiver.errors import SettingsError

SPOOL_HINT = "name a directory on a local disk that this user can write"


def new_token() -> str:
    """Return a token of 192 random bits."""
    return secrets.token_hex(24)


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a listener on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def kept_token(path: Path) -> str:
    """Return the token in this file, which is made with a new token if it is missing.

    The file is durable on return.  Raises `SettingsError` if it cannot be used.
    """
    try:
        if not path.exists():
            _make(path)
        return path.read_text().strip()
    except OSError as exc:
        detail = f"RECEIVER_SPOOL: cannot use {path}: {exc.strerror}"
        raise SettingsError(detail, hint=SPOOL_HINT) from exc


def token_if_kept(path: Path) -> str | None:
    """Return the token in this file, or None if there is none or this user cannot read it."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _make(path: Path) -> None:
    mine = path.with_name(f".token-{os.getpid()}")
    disk.write_durably(mine, new_token().encode())
    with contextlib.suppress(FileExistsError):  # another command was faster
        path.hardlink_to(mine)
    mine.unlink()

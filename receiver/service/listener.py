"""The listening sockets."""

import asyncio
import errno
import socket
import time

from receiver.errors import SettingsError

_BIND_SECONDS = 5.0


async def bind(host: str, port: int, *, variables: str) -> socket.socket:
    """Listen; the server processes of a parent that was killed may hold the port a moment more.

    Raises `SettingsError`, which names the ``variables`` that host and port come from.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    until = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048)
        except OSError as exc:
            if time.monotonic() > until or exc.errno != errno.EADDRINUSE:
                # What follows repeats the address.
                why = str(exc.strerror or exc).partition(" (while")[0]
                detail = f"cannot listen on {_in_url(host)}:{port}: {why}"
                hint = f"name another address or port ({variables})"
                raise SettingsError(detail, hint=hint) from exc
            await asyncio.sleep(0.1)
        else:
            listener.setblocking(False)
            return listener


def address(listener: socket.socket) -> str:
    """Return host and port as they stand in a URL."""
    host, port = listener.getsockname()[:2]
    return f"{_in_url(host)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host

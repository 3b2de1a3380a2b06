"""The listening sockets."""

import asyncio
import errno
import socket
import time

from receiver.errors import SettingsError

_BIND_SECONDS = 5.0


async def bind(host: str, port: int) -> socket.socket:
    """Listen; the server processes of a parent that was killed may hold the port a moment more."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    until = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048)
        except OSError as exc:
            if time.monotonic() > until or exc.errno != errno.EADDRINUSE:
                detail = f"cannot listen on {host}:{port}: {exc.strerror or exc}"
                raise SettingsError(f"{detail}; name another address or port") from exc
            await asyncio.sleep(0.1)
        else:
            listener.setblocking(False)
            return listener


def address(listener: socket.socket) -> str:
    """Return host and port as they stand in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

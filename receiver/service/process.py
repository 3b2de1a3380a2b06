"""A server process, as its parent sees it."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import orjson

from receiver import metrics
from receiver.config import Settings, dump

_log = logging.getLogger(__name__)


class ServerProcess:
    """Starts a server process, talks to it, and waits for its end.

    ``is_ready`` is called once it serves, and ``sealed`` with the name of each segment that waits
    for the archive.
    """

    def __init__(
        self,
        settings: Settings,
        instance: metrics.Instance,
        is_ready: Callable[[], None],
        sealed: "Callable[[ServerProcess, str], None]",
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._is_ready = is_ready
        self._sealed = sealed
        self.ready = False
        self.pid = 0

    async def start(self, listener: socket.socket) -> None:
        """Start the process on the shared socket, with a channel to this one.

        The settings are sent over the channel: read again, they could differ from those of the
        other server processes.  Raises `OSError` if the system cannot start a process now.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "receiver",
                    "server-process",
                    str(listener.fileno()),
                    str(theirs.fileno()),
                    pass_fds=(listener.fileno(), theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                )
        except OSError:
            ours.close()
            raise
        self.pid = self._process.pid
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=16 << 20)
        self._writer.write(dump(self._settings) + b"\n")
        self._reading = asyncio.create_task(self._read())

    async def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        status = await self._process.wait()
        await self._reading  # its last messages
        self._writer.close()
        return status

    def drain(self, seconds: float) -> None:
        """Tell it to drain for some seconds and then to end; called again, to end now."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(orjson.dumps({"drain": seconds}) + b"\n")

    def confirm(self, segment: str) -> None:
        """Tell it that a segment is archived."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(orjson.dumps({"archived": segment}) + b"\n")

    def kill(self) -> None:
        """End it at once; the callbacks that it acknowledged are on disk."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                try:
                    message = orjson.loads(line)
                except ValueError as exc:
                    # A process that is killed leaves half a line.
                    extra = {"pid": self.pid, "error": str(exc)}
                    _log.warning("message of a server process cannot be read", extra=extra)
                else:
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready = True
            self._is_ready()
        if "sealed" in message:
            self._sealed(self, message["sealed"])
        if "metrics" in message:
            samples = [(name, labels, value) for name, labels, value in message["metrics"]]
            self._instance.update(self.pid, samples)

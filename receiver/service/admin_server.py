"""The server of the admin port, in the parent's event loop."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from receiver.admin import create_app
from receiver.service.protocol import BoundedProtocol


class AdminServer(uvicorn.Server):
    """uvicorn without its signal handlers: the parent has its own."""

    def __init__(
        self, *, exposition: Callable[[], bytes], status: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(exposition=exposition, status=status),
                http=_Protocol,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the parent."""
        yield


class _Protocol(BoundedProtocol):
    """As careful as the door: who fills this process's memory or open files stops the shipping."""

    connections_max = 100

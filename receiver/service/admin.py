"""The admin port: `/metrics` and `/status` for operators, served in the parent's event loop."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.door.protocol import BoundedProtocol


def create_app(
    *, exposition: Callable[[], bytes], status: Callable[[], dict[str, Any]]
) -> Starlette:
    """Build the admin application from two functions that are asked at each request."""

    async def metrics(request: Request) -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def show_status(request: Request) -> Response:
        body = orjson.dumps(status(), option=orjson.OPT_APPEND_NEWLINE)
        return Response(body, media_type="application/json")

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"alive"}\n', media_type="application/json")

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/status", show_status),
            Route("/healthz", healthz),
        ]
    )


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

"""The admin port: `/metrics` and `/status` for operators, served in the parent's event loop."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from receiver.door.protocol import BoundedProtocol
from receiver.service.hosts import OnlyHosts

_PAGES = {
    "/metrics": "All metrics, summed over the processes of this instance, for Prometheus.",
    "/status": "Spool, lag, last ship, last sweeps and forwarding, as JSON.",
    "/healthz": "Answers as long as the parent process is alive.",
}


def create_app(
    *,
    exposition: Callable[[], bytes],
    status: Callable[[], dict[str, Any]],
    hosts: Iterable[str] = (),
) -> Starlette:
    """Build the admin application from two functions that are called at each request.

    It answers to the names in ``hosts``, and to those that `OnlyHosts` always allows.
    """

    async def index(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_html())
        return PlainTextResponse("".join(f"{path:9} {text}\n" for path, text in _PAGES.items()))

    async def metrics(request: Request) -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def show_status(request: Request) -> Response:
        return _json(status())

    async def healthz(request: Request) -> Response:
        return _json({"status": "alive"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/metrics", metrics),
            Route("/status", show_status),
            Route("/healthz", healthz),
        ],
        middleware=[Middleware(OnlyHosts, names=hosts)],
    )


def _json(content: dict[str, Any]) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, media_type="application/json")


def _html() -> str:
    links = (
        f'<dt><a href="{path}">{path}</a></dt><dd>{text}</dd>' for path, text in _PAGES.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>receiver</title>
</head>
<body>
<h1>receiver</h1>
<dl>
{"".join(links)}
</dl>
</body>
</html>
"""


class AdminServer(uvicorn.Server):
    """uvicorn without its signal handlers: the parent has its own."""

    def __init__(
        self,
        *,
        exposition: Callable[[], bytes],
        status: Callable[[], dict[str, Any]],
        hosts: Iterable[str],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(exposition=exposition, status=status, hosts=hosts),
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
    """As careful as the door: filling this process's memory or open files would stop shipping."""

    connections_max = 100

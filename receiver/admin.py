"""What operators look at: `/metrics` and `/status`, never on the public port."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_app(
    *, exposition: Callable[[], bytes], status: Callable[[], dict[str, Any]]
) -> Starlette:
    """Build the admin application from two functions that are asked at each request."""

    async def metrics(request: Request) -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def show_status(request: Request) -> Response:
        return Response(orjson.dumps(status()), media_type="application/json")

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/status", show_status),
            Route("/healthz", healthz),
        ]
    )

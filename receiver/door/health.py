"""Health, readiness, version, and 404: every public path that is not an entrance.

`/readyz` says whether a callback can be made durable.  An archive that does not answer does not
make an instance unready: the spool takes callbacks without it, and one outage of S3 would
otherwise take every instance out of the load balancer.
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver import metrics
from receiver.door.answers import RETRY_AFTER_SECONDS, json_line


class _JsonLine(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json_line(content)


def routes(*, unready: Callable[[], str | None], version: str) -> list[Route]:
    """Return the health routes; ``unready`` returns why no callback can be taken, or None."""

    async def healthz(request: Request) -> Response:
        return _JsonLine({"status": "alive"})

    async def readyz(request: Request) -> Response:
        problem = unready()
        if problem is None:
            return _JsonLine({"status": "ready"})
        return _JsonLine(
            {"status": "unready", "detail": problem},
            status_code=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )

    async def show_version(request: Request) -> Response:
        return _JsonLine({"version": version})

    endpoints = {"/healthz": healthz, "/readyz": readyz, "/version": show_version}
    return [
        Route(path + slash, endpoint, methods=["GET"])
        for path, endpoint in endpoints.items()
        for slash in ("", "/")
    ]


async def not_found(request: Request, exc: Exception) -> Response:
    """Answer a path that leads nowhere."""
    metrics.rejected.labels("unknown", "unknown_route").inc()
    detail = "no such route or provider; `receiver urls` prints the right ones"
    return _JsonLine({"error": "unknown_route", "detail": detail}, status_code=404)

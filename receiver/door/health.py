"""Health, readiness, version, and 404: every public path that is not a way in.

`/readyz` says whether a callback can be made durable.  An archive that does not answer is no
reason to be unready: the spool takes callbacks without it, and one outage of S3 would otherwise
take every instance out of the load balancer.
"""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver import metrics

RETRY_AFTER_SECONDS = 5


def create_app(*, unready: Callable[[], str | None], version: str) -> Starlette:
    """Build the application; ``unready`` returns why no callback can be taken, or None."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        problem = unready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse(
            {"status": "unready", "detail": problem},
            status_code=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )

    async def show_version(request: Request) -> Response:
        return JSONResponse({"version": version})

    async def not_found(request: Request, exc: Exception) -> Response:
        metrics.rejected.labels("unknown", "unknown_route").inc()
        detail = "no such route or provider; `receiver urls` prints the right ones"
        return JSONResponse({"error": "unknown_route", "detail": detail}, status_code=404)

    endpoints = {"/healthz": healthz, "/readyz": readyz, "/version": show_version}
    app = Starlette(
        routes=[
            Route(path + slash, endpoint, methods=["GET"])
            for path, endpoint in endpoints.items()
            for slash in ("", "/")
        ],
        exception_handlers={404: not_found},
    )
    # A redirect counts as a failed callback (docs.dataforseo.com/v3/serp/tasks_ready).
    app.router.redirect_slashes = False
    return app

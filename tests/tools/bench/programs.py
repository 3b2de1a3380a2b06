"""What the receiver is compared with, each a program of its own.

    python -m tests.tools.bench.programs bare|starlette|fastapi

All run on uvicorn as the receiver does: uvloop, httptools, no access log, one process.
"""

import socket
import sys
import uuid
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROUTE = "/dataforseo/postback/{token}"
BUCKET = "bench"


def bare() -> Any:
    """Answer 200 and look at nothing: the floor of everything on uvicorn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _NO_BODY})
        await send({"type": "http.response.body", "body": b""})

    return app


_NO_BODY = [(b"content-length", b"0")]


def starlette() -> Any:
    """Read the body, answer 200, store nothing."""

    async def take(request: Request) -> Response:
        await request.body()
        return Response()

    return Starlette(routes=[Route(ROUTE, take, methods=["POST"])])


def fastapi() -> Any:
    """Put each body into S3 before it is answered, as people write it."""
    # Here, so that the other programs are measured without them in memory.
    import boto3
    from fastapi import FastAPI
    from fastapi.concurrency import run_in_threadpool

    app = FastAPI()
    s3 = boto3.client("s3")

    @app.post(ROUTE)
    async def take(token: str, request: Request) -> dict[str, str]:
        body = await request.body()
        key = f"postbacks/{uuid.uuid4()}.json.gz"
        await run_in_threadpool(s3.put_object, Bucket=BUCKET, Key=key, Body=body)
        return {"key": key}

    return app


PROGRAMS: dict[str, Callable[[], Any]] = {
    "bare": bare,
    "starlette": starlette,
    "fastapi": fastapi,
}


def main(name: str) -> None:
    """Serve on a free port of loopback until SIGTERM."""
    app = PROGRAMS[name]()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])

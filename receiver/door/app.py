"""The Starlette application: the door in front of the health routes.

The door is a pure-ASGI middleware: at thousands of callbacks a second a route with its request
and response objects would cost as much as making the callback durable.  Every path that is not an
entrance goes on to ordinary routes.

The application also works below a prefix: mounted in another application
(`starlette.routing.Mount`), or with uvicorn's ``--root-path``.  What is stored as a delivery's
target begins below that prefix.  No server runs a mounted application's lifespan, so the host's
own lifespan must enter it:

    hooks = create_app(…)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with running(hooks):
            yield

    app = Starlette(routes=[Mount("/hooks", hooks)], lifespan=lifespan)
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from receiver.door import health
from receiver.door.answers import Answer
from receiver.door.judge import Delivery, Judge
from receiver.door.peer import Forwarded, address_or_none
from receiver.errors import Disconnected


def create_app(
    judge: Judge,
    *,
    unready: Callable[[], str | None],
    version: str,
    trusted_proxies: str = "127.0.0.1",
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Build the application.

    ``unready`` returns why /readyz should fail, or None.  ``trusted_proxies`` are addresses and
    networks, comma-separated, whose `X-Forwarded-For` is believed; ``*`` trusts all.
    """
    app = Starlette(
        routes=health.routes(unready=unready, version=version),
        middleware=[
            Middleware(Forwarded, trusted_proxies=trusted_proxies),
            Middleware(Door, judge=judge),
        ],
        exception_handlers={404: health.not_found},
        lifespan=lifespan,
    )
    # A redirect counts as a failed callback (docs.dataforseo.com/v3/serp/tasks_ready).
    app.router.redirect_slashes = False
    return app


def running(app: Starlette) -> AbstractAsyncContextManager[object]:
    """Run the lifespan of an application that is mounted in another one; see above."""
    return app.router.lifespan_context(app)


class Door:
    """The judge's shell for ASGI: answers requests at entrances, passes all others on."""

    def __init__(self, app: ASGIApp, judge: Judge) -> None:
        self._app = app
        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope.get("raw_path")
        if not path or scope.get("root_path"):
            path = _path_below_mount(scope)
        client = scope.get("client")
        task = asyncio.current_task()
        assert task is not None
        delivery = self._judge.delivery(
            task.cancel,
            scope["method"],
            path,
            scope["query_string"],
            scope["headers"],
            address_or_none(client[0]) if client else None,
        )
        if delivery is None:
            await self._app(scope, receive, send)
            return
        try:
            status, headers, body = await self._take(delivery, task, receive)
        except Disconnected:
            delivery.disconnected()
            return
        except Exception as exc:
            status, headers, body = delivery.refuse(exc)
        finally:
            self._judge.intake.release(delivery)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if self._judge.answered is not None:
            delivery.report(status)

    async def _take(
        self, delivery: Delivery, task: "asyncio.Task[object]", receive: Receive
    ) -> Answer:
        answer = delivery.admit()
        if answer is not None:
            return answer
        chunks: list[bytes] = []
        more = True
        try:
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                if chunk := message.get("body"):
                    delivery.count(len(chunk))
                    chunks.append(chunk)
                more = message.get("more_body", False)
        except asyncio.CancelledError:
            too_slow = delivery.too_slow()
            if too_slow is None:
                raise
            task.uncancel()
            raise too_slow from None
        head = delivery.record(chunks)
        await self._judge.log.append(head, chunks, body_bytes=delivery.body_bytes)
        return delivery.acknowledge()


def _path_below_mount(scope: Scope) -> bytes:
    """Return the undecoded path without the prefix under which the application is mounted."""
    # A server need not offer the undecoded path (ASGI's HTTP specification).
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root_path: str = scope.get("root_path", "")
    depth = root_path.count("/") + 1
    *prefix, rest = path.split(b"/", depth)
    is_below = len(prefix) == depth and unquote(b"/".join(prefix)) == root_path
    return b"/" + rest if is_below else path

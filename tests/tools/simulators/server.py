"""What all simulators are made of: an HTTP server on loopback with a thread of its own.

Real sockets, real HTTP: the code under test sees nothing but a URL.  A call passes, in this
order: counting, faults, latency, then the provider's own rules.  State is shared between the
server's thread and the test's under one lock, `Simulator.lock`.
"""

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import hdrs, web

from tests.tools.simulators import faults
from tests.tools.simulators.clock import Clock
from tests.tools.simulators.faults import Active, Fault, Faults
from tests.tools.simulators.ledger import Call, Ledger

Json = dict[str, Any]
CODE = web.RequestKey("code", object)
# So much longer do calls wait for each other, for one that should not come.
_MOMENT_SECONDS = 0.05


class Simulator(ABC):
    """An HTTP server that behaves like a provider's API.

    A context manager; `start` returns when calls are taken, `stop` when nothing runs any more.
    After `stop` the state can still be inspected, and `start` serves it again on the same port.
    """

    def __init__(
        self, *, clock: Clock | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.clock = clock or Clock()
        self.ledger = Ledger()
        self.lock = threading.RLock()
        # Real seconds that every answer takes.  Above zero, calls that are made at the same time
        # are also open at the same time, however fast the simulator is.
        self.latency_seconds = 0.0
        # Alters the body of the answer to a path, such as to text that no serialiser writes.
        self.forge_body: Callable[[str, bytes], bytes] | None = None
        self._host = host
        self._port = port
        # Bound and never listening: it keeps the port ours while the server does not listen.
        self._placeholder: socket.socket | None = None
        self._gathered = 0
        self._together: asyncio.Event | None = None
        self._faults = Faults()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._site: web.TCPSite | None = None
        self._runner: web.AppRunner | None = None
        self._transports: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        """Where it is served, without a trailing slash; known from the first start on."""
        assert self._port, "not started"
        return f"http://{self._host}:{self._port}"

    def start(self) -> Self:
        """Serve in a thread of its own; return when calls are taken."""
        assert self._thread is None, "already started"
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        started.result(timeout=30)
        return self

    def stop(self) -> None:
        """Cut all connections and end the thread."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop for good: the port is free for others."""
        self.stop()
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def gather(self, calls: int) -> None:
        """Answer no call until so many are open; once that has been so, all at once."""
        self._gathered, self._together = calls, asyncio.Event()

    def fail(
        self,
        fault: Fault | str,
        *,
        family: str | None = None,
        times: int | None = None,
        seconds: float = 1.0,
        location: str = "http://127.0.0.1:1/elsewhere",
    ) -> None:
        """Switch a fault on, for all endpoints or a family, for good or for some calls."""
        kind = Fault(fault)
        self._faults.add(
            Active(fault=kind, family=family, times=times, seconds=seconds, location=location)
        )
        if kind is Fault.STOPPED:
            assert family is None, "a server is stopped as a whole"
            self.run(self._close_port())

    def recover(self) -> None:
        """Switch all faults off."""
        self._faults.clear()
        if self._thread is not None:
            self.run(self._open_port())

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the server's loop and wait for its end."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    @abstractmethod
    def family(self, request: web.Request) -> str:
        """Name the family of endpoints that a call belongs to."""

    @abstractmethod
    async def answer(self, request: web.Request, family: str, open_calls: int) -> web.Response:
        """Answer a call by the provider's rules."""

    def coded_error(self, request: web.Request) -> web.Response:
        """Return the provider's own way to report an internal error."""
        return web.Response(status=500, text="Internal Server Error")

    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Return what runs beside the server: deliveries, things that come due."""
        return []

    async def _serve(self, started: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._take)
        # A cancelled handler is one whose caller has gone: an endless answer ends then.
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._runner.setup()
            await self._open_port()
            tasks = [asyncio.create_task(run()) for run in self.background()]
        except BaseException as exc:
            started.set_exception(exc)
            raise
        else:
            started.set_result(None)
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._runner.cleanup()
            self._site = None

    async def _open_port(self) -> None:
        if self._site is None:
            assert self._runner is not None
            if self._placeholder is None:
                self._placeholder = _bound(self._host, self._port)
                self._port = self._placeholder.getsockname()[1]
            self._site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
            await self._site.start()

    async def _close_port(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        for transport in list(self._transports):
            transport.abort()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        family = self.family(request)
        at = self.clock.time()
        assert self._runner is not None
        assert self._runner.server is not None
        connections = len(self._runner.server.connections)
        open_calls = self.ledger.opened(family, connections=connections)
        status = 0
        assert request.transport is not None
        self._transports.add(request.transport)
        try:
            response = await self._take_counted(request, family, open_calls)
            status = response.status
        finally:
            self._transports -= {known for known in self._transports if known.is_closing()}
            self.ledger.closed(family)
            code = request.get(CODE)
            assert code is None or isinstance(code, int | str)
            self.ledger.answered(Call(at, family, request.method, request.path, status, code))
        return response

    async def _answer(self, request: web.Request, family: str, open_calls: int) -> web.Response:
        """Return the answer, as `forge_body` alters it."""
        response = await self.answer(request, family, open_calls)
        if self.forge_body is not None and isinstance(response.body, bytes):
            response.body = self.forge_body(request.path, response.body)
        return response

    async def _take_counted(
        self, request: web.Request, family: str, open_calls: int
    ) -> web.StreamResponse:
        if self._together is not None:
            if open_calls == self._gathered:
                asyncio.get_running_loop().call_later(_MOMENT_SECONDS, self._together.set)
            await self._together.wait()
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        active = self._faults.take(family)
        if active is None:
            return _compressed(request, await self._answer(request, family, open_calls))
        match active.fault:
            case Fault.SLOW:
                await asyncio.sleep(active.seconds)
                return _compressed(request, await self._answer(request, family, open_calls))
            case Fault.HALF_JSON:
                return faults.half(await self.answer(request, family, open_calls))
            case Fault.CUT:
                return await faults.cut(request, await self.answer(request, family, open_calls))
            case _:
                return await self._without_doing(request, active)

    async def _without_doing(self, request: web.Request, active: Active) -> web.StreamResponse:
        with suppress(ConnectionError):
            await request.read()
        match active.fault:
            case Fault.HTML:
                return faults.page()
            case Fault.REDIRECT:
                return faults.redirect(active.location)
            case Fault.HTTP_500:
                return web.Response(status=500, text="Internal Server Error")
            case Fault.CODED:
                return self.coded_error(request)
            case Fault.ENDLESS:
                return await faults.endless(request)
            case _:
                faults.reset(request)
                return web.Response(status=500)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def _compressed(request: web.Request, response: web.Response) -> web.Response:
    if response.body and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response

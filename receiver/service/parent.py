"""The parent: watches the server processes, ships what they spool, and stops them in good order.

On SIGTERM the server processes become unready, go on answering for `RECEIVER_DRAIN_SECONDS`, stop
accepting, finish the requests in flight, and seal their segments.  Those are shipped within
`RECEIVER_SHUTDOWN_SECONDS`; what is left then waits in the spool for the next start.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import SecretStr

from receiver import __version__, metrics
from receiver.errors import StoreRefused
from receiver.instance import Receiver
from receiver.service.admin import AdminServer
from receiver.service.announcement import announce
from receiver.service.forwarding import Forwarding
from receiver.service.listener import address, bind
from receiver.service.loop import Passes
from receiver.service.measuring import Measuring
from receiver.service.process import ServerProcess
from receiver.service.reconciling import Sweeper
from receiver.service.running import run
from receiver.service.shipping import SHIP_SECONDS, Shipping, share_heaps
from receiver.spool import EarlyShipping

_log = logging.getLogger(__name__)

_MEASURE_SECONDS = 1.0
_CHECK_SECONDS = 3.0
_YOUNG_SECONDS = 2.0
# Long enough to seal what was fetched; a report that waits for S3 longer is given up.
_OUTGOING_END_SECONDS = 8.0


class Parent:
    """One instance, from start to stop."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._settings = settings = receiver.settings
        tokens = tuple(map(SecretStr, receiver.tokens))
        # What every server process is given: one that is restarted must not read anything else.
        self._server_settings = settings.model_copy(update={"tokens": tokens})
        self._store = receiver.store
        self._sweeper = Sweeper(receiver)
        self._forwarding = Forwarding(receiver) if settings.forward_url else None
        self._early = EarlyShipping(
            receiver.shipper.ship_one,
            receiver.spool_root,
            threads=settings.ship_concurrency + settings.workers,
            seconds_max=settings.archive_ack_seconds_max,
        )
        self._shipping = Shipping(receiver, shipped=self._early.shipped)
        self._measuring = Measuring(receiver)
        self._instance = metrics.Instance()
        metrics.clock_seconds.set_function(time.time)
        self._servers: dict[int, ServerProcess] = {}
        self._passes = Passes()
        self._stop = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._hurry = asyncio.Event()
        self._interrupted = False
        self._status = 0

    async def run(self) -> int:
        """Serve until a signal comes; return the exit status.

        Raises `SettingsError` or `StoreRefused` if the receiver cannot work as it is set up, and
        whatever unexpected exception ends one of its tasks.  A server process that ends by itself
        before the instance has served ends the instance, with its status.
        """
        await self._check_store()
        settings = self._settings
        listener = await bind(
            settings.host, settings.port, variables="RECEIVER_HOST, RECEIVER_PORT"
        )
        admin_listener = await bind(
            settings.admin_host,
            settings.admin_port,
            variables="RECEIVER_ADMIN_HOST, RECEIVER_ADMIN_PORT",
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._signalled, False)
        loop.add_signal_handler(signal.SIGINT, self._signalled, True)
        loop.add_signal_handler(signal.SIGUSR1, self._passes.retry)
        admin = AdminServer(
            exposition=self._instance.exposition,
            status=self._show,
            hosts=(settings.admin_host, *settings.admin_hosts),
        )
        serving = asyncio.create_task(admin.serve(sockets=[admin_listener]))
        watching = [
            asyncio.create_task(self._watch(listener)) for _ in range(self._settings.workers)
        ]
        passes = [
            asyncio.create_task(self._repeat("measure", self._measuring.run, _MEASURE_SECONDS))
        ]
        shipping = asyncio.create_task(self._repeat("ship", self._shipping.run, SHIP_SECONDS))
        outgoing = self._sweeper.start(self._repeat)
        if self._forwarding is not None:
            outgoing.append(self._forwarding.start(self._repeat))
        tasks = (serving, *watching, *passes, shipping, *outgoing)
        await self._until(self._all_ready, tasks)
        if not self._stop.is_set():
            self._announce(listener, admin_listener)
        await self._until(self._stop, tasks)
        await self._end(watching, shipping, outgoing, listener)
        await asyncio.gather(*passes)
        admin.should_exit = True
        await serving
        return self._status

    async def _until(self, event: asyncio.Event, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """Wait for an event or the stop; raise the exception that ends one of the tasks."""
        waiting = [asyncio.create_task(one.wait()) for one in (event, self._stop)]
        done, _ = await asyncio.wait((*waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for waits in waiting:
            waits.cancel()
        for task in done:
            task.result()

    async def _repeat(self, name: str, run: Any, interval_seconds: float) -> None:
        await self._passes.repeat(
            name,
            run,
            interval_seconds=interval_seconds,
            retry_seconds_max=self._settings.retry_seconds_max,
            stop=self._stop,
        )

    async def _check_store(self) -> None:
        """Raise `StoreRefused` if the store refuses; only warn if it cannot be reached."""
        checking = asyncio.to_thread(lambda: list(self._store.checks()))
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                checks = await checking
        except TimeoutError:
            _log.warning("archive does not answer yet", extra={"archive": self._store.url})
            return
        for check in checks:
            if check.good:
                continue
            if check.refused:
                raise StoreRefused(check.detail, hint=check.hint)
            extra = {"check": check.name, "detail": check.detail, "hint": check.hint}
            _log.warning("check failed", extra=extra)

    # Server processes.

    async def _watch(self, listener: socket.socket) -> None:
        """Keep one server process running until the instance stops."""
        while not self._stop.is_set():
            server = ServerProcess(
                self._server_settings, self._instance, self._is_ready, self._early.sealed
            )
            began = time.monotonic()
            try:
                await server.start(listener)
            except OSError as exc:
                # Out of memory or descriptors; that may pass.
                _log.error("server process not started", extra={"error": str(exc)})
                await asyncio.sleep(1)
                continue
            self._servers[server.pid] = server
            metrics.server_processes.set(len(self._servers))
            status = await server.wait()
            del self._servers[server.pid]
            metrics.server_processes.set(len(self._servers))
            self._instance.retire(server.pid)
            if self._stop.is_set():
                return
            extra = {"pid": server.pid, "status": status}
            if status > 0 and not server.ready and not self._all_ready.is_set():
                # It says why.  The next one would end in the same way, and nobody would notice.
                _log.error("server process cannot start, stopping", extra=extra)
                self._end_with(status)
                return
            metrics.server_restarts.inc()
            _log.error("server process died and is replaced", extra=extra)
            if time.monotonic() - began < _YOUNG_SECONDS:
                await asyncio.sleep(1)

    def _is_ready(self) -> None:
        ready = sum(server.ready for server in self._servers.values())
        if ready == self._settings.workers:
            self._all_ready.set()

    def _announce(self, listener: socket.socket, admin: socket.socket) -> None:
        announce(
            self._receiver,
            base=f"http://{address(listener)}",
            admin_base=f"http://{address(admin)}",
            welcome=not self._settings.tokens,
        )

    # The end.

    def _signalled(self, interrupted: bool) -> None:
        if self._stop.is_set():
            self._hurry.set()  # a second signal: don't wait for the load balancer any longer
        self._interrupted = interrupted
        self._status = 130 if interrupted else 0
        self._stop.set()

    def _end_with(self, status: int) -> None:
        """Stop without waiting for the load balancer, and exit with a status."""
        self._status = status
        self._hurry.set()
        self._stop.set()

    async def _end(
        self,
        watching: list["asyncio.Task[None]"],
        shipping: "asyncio.Task[None]",
        outgoing: list["asyncio.Task[None]"],
        listener: socket.socket,
    ) -> None:
        # Nobody behind a load balancer presses Ctrl-C.
        drain = 0.0 if self._interrupted else self._settings.drain_seconds
        _log.info("stopping", extra={"drain_seconds": drain})
        for server in self._servers.values():
            server.drain(drain)
        for task in outgoing:
            task.cancel()  # sweeps and forwarding can stop anywhere; the next one goes on there
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._hurry.wait()
        for server in self._servers.values():
            server.drain(0)
        listener.close()
        if outgoing:
            await asyncio.wait(outgoing, timeout=_OUTGOING_END_SECONDS)
        until = time.monotonic() + self._settings.shutdown_seconds
        _, late = await asyncio.wait(watching, timeout=self._settings.shutdown_seconds)
        if late:
            # Every callback that they acknowledged is on disk already.
            _log.error("server processes killed", extra={"count": len(late)})
            for server in list(self._servers.values()):
                server.kill()
            await asyncio.wait(late)
        await self._shipping.finish(shipping, until=until)

    def _state(self) -> str:
        if self._stop.is_set():
            return "stopping"
        return "running" if self._all_ready.is_set() else "starting"

    def _show(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "instance": self._settings.instance,
            "version": __version__,
            "archive": self._store.url,
            "state": self._state(),
            "server_processes": sorted(self._servers),
            **self._measuring.status,
            "failing": self._passes.failing(),
            "last_ship": self._shipping.last,
            "last_sweeps": self._sweeper.last,
            "forward": self._forwarding and self._forwarding.status(),
        }
        # Alarms of sweeps and errors of passes repeat what providers and stores said.
        masked: dict[str, Any] = self._receiver.masker.value(status)
        return masked


def serve(receiver: Receiver) -> NoReturn:
    """Run an instance until it is told to stop, and exit with its status."""
    share_heaps()
    run(_run(receiver))


async def _run(receiver: Receiver) -> int:
    return await Parent(receiver).run()

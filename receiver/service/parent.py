"""The parent: watches the server processes, ships what they spool, and ends in good order.

On SIGTERM: the server processes go unready and answer on for `RECEIVER_DRAIN_SECONDS`, stop
accepting, finish what is in flight, seal; what they left is shipped within
`RECEIVER_SHUTDOWN_SECONDS`, and what is unshipped then waits in the spool for the next start.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from typing import Any

from pydantic import SecretStr

import receiver
from receiver import clock, metrics, spool
from receiver.config import Settings
from receiver.errors import ReceiverError, StoreRefused
from receiver.loop import repeat
from receiver.service.admin import AdminServer
from receiver.service.announcement import announce
from receiver.service.forwarding import Forwarding
from receiver.service.listener import address, bind
from receiver.service.measuring import Measuring
from receiver.service.parts import shipper_of, spool_root, store_of, tokens_of
from receiver.service.process import ServerProcess
from receiver.service.reconciling import Sweeper
from receiver.shipper import Shipped
from receiver.spool import EarlyShipping

_log = logging.getLogger(__name__)

_SHIP_SECONDS = 0.2
# At the end, after a pass that failed.
_SHIP_AGAIN_SECONDS = 0.5
_MEASURE_SECONDS = 1.0
_CHECK_SECONDS = 3.0
_YOUNG_SECONDS = 2.0
# Long enough to seal what was fetched; a report that waits for S3 is given up.
_OUTGOING_END_SECONDS = 8.0
# glibc's number for the option, in <malloc.h>.
_M_ARENA_MAX = -8
_ARENAS = 2


class Parent:
    """One instance, from start to stop."""

    def __init__(self, settings: Settings) -> None:
        self._tokens_made = not settings.tokens
        tokens = tuple(map(SecretStr, tokens_of(settings)))
        # What every server process is given: it must not read anything else after a restart.
        self._settings = settings = settings.model_copy(update={"tokens": tokens})
        self._root = spool_root(settings)
        self._store = store_of(settings)
        self._shipper = shipper_of(settings, self._store)
        self._sweeper = Sweeper(settings, self._store)
        url = settings.forward_url
        self._forwarding = (
            Forwarding(settings, self._store, url=url.get_secret_value()) if url else None
        )
        self._early = EarlyShipping(
            self._shipper.ship_one,
            self._root,
            threads=settings.ship_concurrency + settings.workers,
            seconds_max=settings.archive_ack_seconds_max,
        )
        self._measuring = Measuring(settings)
        self._instance = metrics.Instance()
        metrics.clock_seconds.set_function(time.time)
        self._servers: dict[int, ServerProcess] = {}
        self._stop = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._hurry = asyncio.Event()
        self._interrupted = False
        self._ships_until: float | None = None
        self._last_ship: dict[str, Any] | None = None

    async def run(self) -> int:
        """Serve until a signal comes; return the exit status.

        Raises `SettingsError` or `StoreRefused` where the start makes no sense.
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
        admin = AdminServer(exposition=self._instance.exposition, status=self._status)
        serving = asyncio.create_task(admin.serve(sockets=[admin_listener]))
        watching = [
            asyncio.create_task(self._watch(listener)) for _ in range(self._settings.workers)
        ]
        passes = [
            asyncio.create_task(self._repeat("measure", self._measuring.run, _MEASURE_SECONDS))
        ]
        shipping = asyncio.create_task(self._repeat("ship", self._ship, _SHIP_SECONDS))
        outgoing = self._sweeper.start(self._repeat)
        if self._forwarding is not None:
            outgoing.append(self._forwarding.start(self._repeat))
        await self._announce(listener, admin_listener)
        await self._stop.wait()
        await self._end(watching, shipping, outgoing, listener)
        await asyncio.gather(*passes)
        admin.should_exit = True
        await serving
        return 130 if self._interrupted else 0

    async def _repeat(self, name: str, run: Any, interval_seconds: float) -> None:
        await repeat(
            name,
            run,
            interval_seconds=interval_seconds,
            retry_seconds_max=self._settings.retry_seconds_max,
            stop=self._stop,
        )

    async def _check_store(self) -> None:
        """Stop the start where the store refuses us; only warn where it cannot be asked."""
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
                self._settings, self._instance, self._is_ready, self._early.sealed
            )
            began = time.monotonic()
            try:
                await server.start(listener)
            except OSError as exc:
                # No memory, no descriptors: for now.
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
            metrics.server_restarts.inc()
            extra = {"pid": server.pid, "status": status}
            _log.error("server process died and is replaced", extra=extra)
            if time.monotonic() - began < _YOUNG_SECONDS:
                await asyncio.sleep(1)

    def _is_ready(self) -> None:
        ready = sum(server.ready for server in self._servers.values())
        if ready == self._settings.workers:
            self._all_ready.set()

    async def _announce(self, listener: socket.socket, admin: socket.socket) -> None:
        ready = asyncio.create_task(self._all_ready.wait())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        stopping.cancel()
        if self._stop.is_set():
            return
        announce(
            self._settings,
            base=f"http://{address(listener)}",
            admin_base=f"http://{address(admin)}",
            welcome=self._tokens_made,
        )

    # Passes.

    async def _ship(self) -> None:
        done = await asyncio.to_thread(
            self._shipper.ship, self._root, stop=self._too_late, shipped=self._shipped
        )
        if done.failed:
            # So that the loop backs off: what failed is tried again, and not five times a second.
            raise ReceiverError(f"{done.failed} segments were not shipped")

    def _too_late(self) -> bool:
        return self._ships_until is not None and time.monotonic() > self._ships_until

    def _shipped(self, segment: str, shipped: Shipped) -> None:
        self._early.shipped(segment)
        self._last_ship = {"at": clock.rfc3339(clock.now_us()), **asdict(shipped)}

    # The end.

    def _signalled(self, interrupted: bool) -> None:
        if self._stop.is_set():
            self._hurry.set()  # asked twice: no more waiting for a load balancer
        self._interrupted = interrupted
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
            task.cancel()  # sweeps and forwarding can be stopped anywhere; the next one goes on
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._hurry.wait()
        for server in self._servers.values():
            server.drain(0)
        listener.close()
        if outgoing:
            await asyncio.wait(outgoing, timeout=_OUTGOING_END_SECONDS)
        self._ships_until = time.monotonic() + self._settings.shutdown_seconds
        _, late = await asyncio.wait(watching, timeout=self._settings.shutdown_seconds)
        if late:
            # Every acknowledged callback of theirs is on disk already.
            _log.error("server processes killed", extra={"count": len(late)})
            for server in list(self._servers.values()):
                server.kill()
            await asyncio.wait(late)
        await self._ship_the_rest(shipping)

    async def _ship_the_rest(self, shipping: "asyncio.Task[None]") -> None:
        assert self._ships_until is not None

        async def ship() -> None:
            await shipping
            while True:
                try:
                    return await self._ship()
                except ReceiverError as exc:
                    # The next life may be far off, or on another disk: all of the time is used.
                    _log.warning("not all shipped at the end", extra={"error": str(exc)})
                    if isinstance(exc, StoreRefused):
                        return  # for longer than this
                await asyncio.sleep(_SHIP_AGAIN_SECONDS)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + self._ships_until - time.monotonic()
            ):
                await ship()
        left = sum(file.bytes > 0 for file in spool.files(self._root))
        _log.info("stopped", extra={"segments_left_in_spool": left})

    def _status(self) -> dict[str, Any]:
        return {
            "instance": self._settings.instance,
            "version": receiver.__version__,
            "archive": self._store.url,
            "state": "stopping" if self._stop.is_set() else "running",
            "server_processes": sorted(self._servers),
            **self._measuring.status,
            "last_ship": self._last_ship,
            "last_sweeps": self._sweeper.last,
            "forward": self._forwarding and self._forwarding.status(),
        }


def _share_heaps() -> None:
    """Have glibc give the threads that ship few heaps to share, not one each.

    Each keeps the most that it ever held: in time that is several times as much memory.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def serve(settings: Settings) -> int:
    """Run an instance until it is told to stop; return the exit status."""
    _share_heaps()
    with asyncio.Runner() as runner:
        status = runner.run(_run(settings))
        sys.stdout.flush()
        # A thread that still waits for a store must not hold up the end: what it ships is kept
        # in the spool until it is confirmed.
        logging.shutdown()
        os._exit(status)


async def _run(settings: Settings) -> int:
    return await Parent(settings).run()

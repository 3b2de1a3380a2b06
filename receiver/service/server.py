"""A server process: uvicorn, the door, and its spool directory.

It exchanges lines of JSON with its parent over a channel, and stops when the channel closes.

    from the parent   {"drain": seconds}       a second one ends the drain
                      {"archived": segment}    with `RECEIVER_ACK=archive`
    to the parent     {"ready": true}          once it accepts connections
                      {"metrics": [samples]}   every second, and at the end
                      {"sealed": segment}      with `RECEIVER_ACK=archive`
"""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import orjson
import uvicorn
import uvloop

from receiver import metrics
from receiver.config import Settings
from receiver.door import Judge
from receiver.door.protocol import TURNED_AWAY_MAX, BoundedProtocol
from receiver.instance import Receiver
from receiver.service import running
from receiver.service.callback_line import printer
from receiver.service.door import make_app, make_judge, open_spool
from receiver.spool import ArchiveAck, Spool

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 1.0
# Descriptors left for the spool, the channel, what Python opens, and connections turned away.
_FILES_RESERVED = 64 + TURNED_AWAY_MAX


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the channel says when to stop."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Channel:
    """What this process tells its parent; a parent that is gone is told nothing."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def tell(self, **message: object) -> None:
        # uvloop raises `RuntimeError` where asyncio would only log that the transport is closed.
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    async def close(self) -> None:
        """Wait until the parent has been sent everything."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def run(receiver: Receiver, *, listener: socket.socket, channel: socket.socket) -> NoReturn:
    """Serve until the parent says to stop, or is gone; see `running.run`."""
    # A terminal's Ctrl-C and systemd's SIGTERM reach every process of the group.  The parent
    # decides what they mean: stopping at once would skip the drain.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # uvicorn says in one line how many requests it cancels at the end; each would add a traceback.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    running.run(_serve(receiver, listener, channel), loop_factory=uvloop.new_event_loop)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


async def _serve(receiver: Receiver, listener: socket.socket, channel: socket.socket) -> int:
    settings = receiver.settings
    reader, writer = await asyncio.open_connection(sock=channel)
    parent = _Channel(writer)
    spool = _open_spool(receiver, parent)
    archive_ack = None
    if settings.ack == "archive":
        archive_ack = ArchiveAck(spool, seconds_max=settings.archive_ack_seconds_max)
    log = archive_ack or spool
    judge = make_judge(receiver, log, answered=printer())

    def unready() -> str | None:
        # An archive that does not confirm is no reason: another instance would meet it too.
        return "draining" if judge.draining else spool.problem()

    server = _Server(
        _uvicorn_config(settings, make_app(receiver, judge, unready=unready)),
        started=lambda: parent.tell(ready=True),
    )
    metrics.connections.set_function(lambda: len(server.server_state.connections))
    async with asyncio.TaskGroup() as tasks:
        beside = [
            tasks.create_task(_report(judge, parent)),
            tasks.create_task(_listen(reader, archive_ack, judge, server)),
        ]
        await server.serve(sockets=[listener])
        for task in beside:
            task.cancel()
    await log.close()
    _send_metrics(judge, parent)
    await parent.close()
    return 0


def _open_spool(receiver: Receiver, parent: _Channel) -> Spool:
    """Open the spool; with `RECEIVER_ACK=archive` it seals early and reports to the parent."""
    settings = receiver.settings
    if settings.ack == "spool":
        return open_spool(receiver)

    def sealed(segment: str) -> None:
        parent.tell(sealed=segment)

    seconds = min(settings.batch_seconds, settings.archive_ack_ms / 1000)
    return open_spool(receiver, batch_seconds=seconds, sealed=sealed)


# `Any`: uvicorn and Starlette have types of their own for the same ASGI.
def _uvicorn_config(settings: Settings, app: Any) -> uvicorn.Config:
    BoundedProtocol.head_bytes_max = int(settings.head_bytes_max)
    BoundedProtocol.head_seconds_max = settings.head_seconds_max
    BoundedProtocol.connections_max = _connections_max(settings.connections_max)
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        # Half of the time is for requests in flight, the rest for shipping what they left.
        timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds / 2)),
    )


def _connections_max(wanted: int) -> int:
    """Return how many connections to accept; logs it if the descriptors do not allow ``wanted``."""
    allowed = max(1, _open_files_max() - _FILES_RESERVED)
    if allowed < wanted:
        extra = {"connections_max": allowed, "wanted": wanted, "hint": "raise `ulimit -n`"}
        _log.info("too few descriptors for RECEIVER_CONNECTIONS_MAX", extra=extra)
    return min(wanted, allowed)


def _open_files_max() -> int:
    """Raise this process's limit of open files as far as the system allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


async def _report(judge: Judge, parent: _Channel) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        _send_metrics(judge, parent)


def _send_metrics(judge: Judge, parent: _Channel) -> None:
    judge.count()
    parent.tell(metrics=metrics.snapshot())


async def _listen(
    reader: asyncio.StreamReader,
    archive_ack: ArchiveAck | None,
    judge: Judge,
    server: uvicorn.Server,
) -> None:
    """Do what the parent says; stop at once if it is gone."""
    draining: asyncio.Task[None] | None = None
    with contextlib.suppress(ConnectionError):
        async for line in reader:
            message = orjson.loads(line)
            if archive_ack is not None and "archived" in message:
                archive_ack.confirm(message["archived"])
            elif draining is None:
                draining = asyncio.create_task(_drain(message["drain"], judge, server))
            else:
                server.should_exit = True
    if not server.should_exit:
        _log.warning("parent is gone, stopping")
    judge.draining = True
    server.should_exit = True


async def _drain(seconds: float, judge: Judge, server: uvicorn.Server) -> None:
    """Keep answering, unready and closing connections, then stop."""
    judge.draining = True
    _log.info("draining", extra={"seconds": seconds})
    await asyncio.sleep(seconds)
    server.should_exit = True

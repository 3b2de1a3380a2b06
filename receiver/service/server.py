"""A server process: uvicorn, the door, and its spool directory.

The parent talks to it over a channel, in lines of JSON.  It is told ``{"drain": seconds}``, once
more to stop draining, and ``{"archived": segment}``; it tells ``{"ready": true}``,
``{"metrics": …}`` every second, and ``{"sealed": segment}``.  It stops when the channel closes.
"""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import uvicorn
import uvloop

from receiver import metrics
from receiver.config import Settings
from receiver.door import Judge
from receiver.door.protocol import BoundedProtocol
from receiver.instance import Receiver
from receiver.service.callback_line import printer
from receiver.service.door import make_app, make_judge, open_spool
from receiver.spool import ArchiveAck, Spool

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 1.0
# Descriptors left for the spool, the channel, and what Python opens.
_FILES_RESERVED = 64


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the channel says when to stop."""

    started_event: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(receiver: Receiver, *, listener: socket.socket, channel: socket.socket) -> None:
    """Serve until the parent says to stop, or is gone."""
    # A terminal's Ctrl-C and systemd's SIGTERM reach every process of the group.  The parent
    # decides what they mean: stopping at once would skip the drain.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(receiver, listener, channel))


async def _serve(receiver: Receiver, listener: socket.socket, channel: socket.socket) -> None:
    settings = receiver.settings
    reader, writer = await asyncio.open_connection(sock=channel)
    spool = _open_spool(receiver, writer)
    archive_ack = None
    if settings.ack == "archive":
        archive_ack = ArchiveAck(spool, seconds_max=settings.archive_ack_seconds_max)
    log = archive_ack or spool
    judge = make_judge(receiver, log, answered=printer())

    def unready() -> str | None:
        # An archive that does not confirm is no reason: another instance would meet it too.
        return "draining" if judge.draining else spool.problem()

    server = _Server(_uvicorn_config(settings, make_app(receiver, judge, unready=unready)))
    server.started_event = asyncio.Event()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.started_event.wait()
    writer.write(orjson.dumps({"ready": True}) + b"\n")
    reporting = asyncio.create_task(_report(judge, writer))
    stopping = asyncio.create_task(_listen(reader, archive_ack, judge, server))
    await serving
    stopping.cancel()
    await log.close()
    reporting.cancel()
    with contextlib.suppress(ConnectionError):
        _send_metrics(judge, writer)
        await writer.drain()
        writer.close()


def _open_spool(receiver: Receiver, writer: asyncio.StreamWriter) -> Spool:
    """Open the spool; with `RECEIVER_ACK=archive` it seals early and reports to the parent."""
    settings = receiver.settings
    if settings.ack == "spool":
        return open_spool(receiver)

    def sealed(segment: str) -> None:
        writer.write(orjson.dumps({"sealed": segment}) + b"\n")

    seconds = min(settings.batch_seconds, settings.archive_ack_ms / 1000)
    return open_spool(receiver, batch_seconds=seconds, sealed=sealed)


# `Any`: uvicorn and Starlette have types of their own for the same ASGI.
def _uvicorn_config(settings: Settings, app: Any) -> uvicorn.Config:
    BoundedProtocol.head_bytes_max = int(settings.head_bytes_max)
    BoundedProtocol.head_seconds_max = settings.head_seconds_max
    BoundedProtocol.connections_max = _open_files_max() - _FILES_RESERVED
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


def _open_files_max() -> int:
    """Raise this process's limit of open files as far as the system allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


async def _report(judge: Judge, writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        _send_metrics(judge, writer)


def _send_metrics(judge: Judge, writer: asyncio.StreamWriter) -> None:
    judge.count()
    writer.write(orjson.dumps({"metrics": metrics.snapshot()}) + b"\n")


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

"""A server process: the door, its spool directory, and uvicorn in between."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import orjson
import uvicorn
import uvloop
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import receiver
from receiver import metrics
from receiver.config import Settings
from receiver.door.app import Door
from receiver.door.guard import Guard
from receiver.door.intake import Intake
from receiver.door.protocol import BoundedProtocol
from receiver.instance import Receiver
from receiver.providers import PROVIDERS
from receiver.spool import ArchiveAck, Spool

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 1.0
# For the spool, the channel, and what Python opens.
_FILES_RESERVED = 64


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this process is told over its channel when to end."""

    started_event: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings, *, listener: socket.socket, channel: socket.socket) -> None:
    """Serve until told to stop, or until the parent is gone."""
    # A terminal's Ctrl-C and systemd's SIGTERM reach every process of the group; the parent decides
    # what they mean, for an end at once would skip the drain.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener, channel))


async def _serve(settings: Settings, listener: socket.socket, channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    spool = Spool(
        Receiver(settings).spool_root,
        batch_bytes=int(settings.batch_bytes),
        batch_seconds=settings.batch_seconds,
        spool_bytes_max=int(settings.spool_bytes_max),
        disk_reserve_bytes=int(settings.disk_reserve_bytes),
        unsettled_bytes_max=int(settings.inflight_bytes_max),
        archive_ack=_archive_ack(settings, writer),
    )
    door = make_door(settings, spool)
    server = _Server(_uvicorn_config(settings, door))
    server.started_event = asyncio.Event()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.started_event.wait()
    writer.write(orjson.dumps({"ready": True}) + b"\n")
    reporting = asyncio.create_task(_report(door, writer))
    stopping = asyncio.create_task(_listen(reader, spool, door, server))
    await serving
    stopping.cancel()
    await spool.close()
    reporting.cancel()
    with contextlib.suppress(ConnectionError):
        _send_metrics(door, writer)
        await writer.drain()
        writer.close()


def make_door(settings: Settings, spool: Spool) -> Door:
    """Build the door of one server process."""
    return Door(
        providers=PROVIDERS,
        spool=spool,
        guard=Guard(
            tokens=[token.encode() for token in Receiver(settings).tokens],
            signature=settings.outscraper_signature,
            signature_keys=[
                key.get_secret_value().encode() for key in settings.outscraper_api_keys
            ],
            sources=settings.dataforseo_sources,
            sources_mode=settings.dataforseo_sources_mode,
        ),
        intake=Intake(
            body_bytes_max=int(settings.body_bytes_max),
            body_seconds_max=settings.body_seconds_max,
            inflight_bytes_max=int(settings.inflight_bytes_max),
        ),
        instance=settings.instance,
        version=receiver.__version__,
    )


def _uvicorn_config(settings: Settings, door: Door) -> uvicorn.Config:
    BoundedProtocol.head_bytes_max = int(settings.head_bytes_max)
    BoundedProtocol.head_seconds_max = settings.head_seconds_max
    BoundedProtocol.connections_max = _open_files_max() - _FILES_RESERVED
    return uvicorn.Config(
        # uvicorn and Starlette type the same ASGI in two ways.
        ProxyHeadersMiddleware(
            cast("ASGI3Application", door), trusted_hosts=settings.forwarded_allow_ips
        ),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        # Half of the time is for what is in flight, the rest for shipping what came of it.
        timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds / 2)),
    )


def _open_files_max() -> int:
    """Let this process open as many files as the system allows; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


async def _report(door: Door, writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        _send_metrics(door, writer)


def _send_metrics(door: Door, writer: asyncio.StreamWriter) -> None:
    door.count()
    writer.write(orjson.dumps({"metrics": metrics.snapshot()}) + b"\n")


def _archive_ack(settings: Settings, writer: asyncio.StreamWriter) -> ArchiveAck | None:
    """Let the parent know what is sealed, where it is to be confirmed."""
    if settings.ack == "spool":
        return None

    def sealed(segment: str) -> None:
        writer.write(orjson.dumps({"sealed": segment}) + b"\n")

    return ArchiveAck(
        gather_seconds=settings.archive_ack_ms / 1000,
        seconds_max=settings.archive_ack_seconds_max,
        sealed=sealed,
    )


async def _listen(
    reader: asyncio.StreamReader, spool: Spool, door: Door, server: uvicorn.Server
) -> None:
    """Do what the parent says: confirm, drain, stop; stop at once if it is gone."""
    draining: asyncio.Task[None] | None = None
    with contextlib.suppress(ConnectionError):
        async for line in reader:
            message = orjson.loads(line)
            if "archived" in message:
                spool.confirm(message["archived"])
            elif draining is None:
                draining = asyncio.create_task(_drain(message["drain"], door, server))
            else:
                server.should_exit = True  # told a second time
    if not server.should_exit:
        _log.warning("parent is gone, stopping")
    door.draining = True
    server.should_exit = True


async def _drain(seconds: float, door: Door, server: uvicorn.Server) -> None:
    """Answer on for a while as one that is going."""
    door.draining = True
    _log.info("draining", extra={"seconds": seconds})
    await asyncio.sleep(seconds)
    server.should_exit = True

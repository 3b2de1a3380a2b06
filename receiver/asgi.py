"""The door alone as an ASGI application, for those who bring their own process manager.

    uvicorn --factory receiver.asgi:create --host 0.0.0.0 --port 8000 --workers 4
    receiver ship --watch

The settings are those of `receiver serve`.  Each process opens a spool directory of its own below
`RECEIVER_SPOOL` when the application starts, and seals it when the application stops; until then
callbacks are answered 503.  `receiver ship --watch` beside it ships what was sealed, and what
dead processes left behind.  There is no parent, and so no restarts, no admin port, no sweeps, no
forwarding, and no `RECEIVER_ACK=archive`, which needs a shipper that confirms.

Sockets, connections, request heads and the order of shutdown are the ASGI server's part.  The
settings for them have no effect here: `RECEIVER_HOST`, `RECEIVER_PORT`, `RECEIVER_WORKERS`,
`RECEIVER_HEAD_…`, `RECEIVER_CONNECTIONS_MAX`, `RECEIVER_KEEP_ALIVE_SECONDS`,
`RECEIVER_DRAIN_SECONDS`, `RECEIVER_SHUTDOWN_SECONDS`.

To mount the door in an application of one's own, see `build` and `receiver.door.app`.
"""

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from receiver import config, log
from receiver.cli.base import load_service
from receiver.cli.output import complain
from receiver.door import DeferredLog, Judge
from receiver.errors import SettingsError
from receiver.instance import Receiver
from receiver.service.door import make_app, make_judge, open_spool

_log = logging.getLogger(__name__)

_COUNT_SECONDS = 1.0


def create() -> Starlette:
    """Build the application from the environment, and configure this process's logging.

    If the settings are wrong, prints why to stderr and exits with status 3.
    """
    try:
        receiver = load_service(config.load())
        _take_over_uvicorns_loggers()
        return build(receiver)
    except SettingsError as exc:
        complain(str(exc))
        sys.exit(exc.exit_status)


def build(receiver: Receiver) -> Starlette:
    """Build the application, to serve or to mount; its lifespan opens the spool and seals it.

    Logging is left to the caller, whose access log must not print paths: they hold tokens.
    Raises `SettingsError` for settings that only `receiver serve` can honour, if no tokens are
    set, and if the spool's root cannot be made.
    """
    settings = receiver.settings
    if settings.ack == "archive":
        raise SettingsError(
            "RECEIVER_ACK=archive works in `receiver serve` only: its parent process ships each "
            "segment at once and confirms it",
            hint="set RECEIVER_ACK=spool, or run `receiver serve`",
        )
    if not settings.tokens:
        # `receiver serve` makes a token where it listens on loopback.  Here another program
        # listens, on an address that is not known.
        raise SettingsError(
            "RECEIVER_TOKENS must be set", hint="`receiver urls --new-token` prints one"
        )
    root = receiver.spool_root
    spool = DeferredLog(functools.partial(open_spool, receiver))
    judge = make_judge(receiver, spool)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with spool.opened():
            counting = asyncio.create_task(_count(judge))
            _log.info("started", extra={"instance": settings.instance, "spool": str(root)})
            try:
                yield
            finally:
                counting.cancel()
        judge.count()
        _log.info("stopped")
        # uvicorn ends the process by a signal, which leaves the log's queue unwritten.
        log.flush()

    return make_app(receiver, judge, unready=spool.problem, lifespan=lifespan)


async def _count(judge: Judge) -> None:
    """Keep the counters of prometheus_client's registry current, for a host that exposes it."""
    while True:
        await asyncio.sleep(_COUNT_SECONDS)
        judge.count()


def _take_over_uvicorns_loggers() -> None:
    """Log what uvicorn logs as everything else: its own handlers would bypass the masking."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)

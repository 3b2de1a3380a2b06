"""With `RECEIVER_ACK=archive`: a segment is shipped as soon as it is sealed, and its server process
told when the archive has it.
"""

import asyncio
import collections
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from receiver.errors import StoreError
from receiver.shipper import Shipper
from receiver.spool import segment

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
# What a pass has shipped before it was known to be sealed: a few, within milliseconds.
_REMEMBERED_MAX = 10_000


class _Server(Protocol):
    """What wants to know that a segment is archived."""

    def confirm(self, segment: str) -> None:
        """Take note."""
        ...


class EarlyShipping:
    """Ships what server processes have sealed.  For the event loop's thread, but for `shipped`.

    What fails for ``seconds_max`` is left to the regular pass; its requests were refused.
    """

    def __init__(self, shipper: Shipper, root: Path, *, threads: int, seconds_max: float) -> None:
        self._shipper = shipper
        self._root = root
        self._seconds_max = seconds_max
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="early")
        self._waiting: dict[str, _Server] = {}
        self._shipped: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def sealed(self, server: _Server, name: str) -> None:
        """Ship a segment now; tell the server process once it is archived."""
        if name in self._shipped:
            del self._shipped[name]
            server.confirm(name)
            return
        self._waiting[name] = server
        task = asyncio.create_task(self._ship(name))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def shipped(self, name: str) -> None:
        """Take note that a pass has archived a segment; for any thread."""
        self._loop.call_soon_threadsafe(self._confirm, name)

    def _confirm(self, name: str) -> None:
        server = self._waiting.pop(name, None)
        if server is not None:
            server.confirm(name)
            return
        self._shipped[name] = None
        if len(self._shipped) > _REMEMBERED_MAX:
            self._shipped.popitem(last=False)

    async def _ship(self, name: str) -> None:
        path = self._root / segment.process_of(name) / f"{name}{segment.SEALED}"
        ship = functools.partial(self._shipper.ship_one, path)
        give_up_at = self._loop.time() + self._seconds_max
        while name in self._waiting:
            try:
                if await self._loop.run_in_executor(self._pool, ship) is not None:
                    self._confirm(name)
                    return
            except (StoreError, OSError) as exc:
                _log.warning("segment not shipped", extra={"segment": name, "error": str(exc)})
            if self._loop.time() >= give_up_at:
                return  # and the pass that ships it later tells the server process
            await asyncio.sleep(_RETRY_SECONDS)

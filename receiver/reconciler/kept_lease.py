"""A lease that is renewed on the side for as long as it is needed."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from receiver.errors import LeaseLost, StoreError
from receiver.lease import Lease
from receiver.store import Store

_log = logging.getLogger(__name__)


class KeptLease:
    """Holds a lease while other work goes on, of which a single call may wait for minutes."""

    def __init__(self, store: Store, name: str, *, owner: str, seconds: float) -> None:
        self._lease = Lease(store, name, owner=owner, seconds=seconds)
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[int]:
        """Hold the lease inside the context, which is given its generation.

        Raises `LeaseHeld` if another owner has it.
        """
        await asyncio.to_thread(self._lease.acquire)
        over = asyncio.Event()
        keeping = asyncio.create_task(self._keep(over))
        try:
            yield self._lease.generation
        finally:
            over.set()
            await keeping
            await asyncio.to_thread(self._lease.release)

    def check(self) -> None:
        """Raise `LeaseLost` unless the lease is still ours."""
        self._lease.check()

    async def _keep(self, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(self._seconds / 4):
                    await over.wait()
            except TimeoutError:
                try:
                    await asyncio.to_thread(self._lease.keep)
                except StoreError as exc:
                    _log.warning("lease not renewed", extra={"error": str(exc)})
                except LeaseLost:
                    return  # the next `check` raises it

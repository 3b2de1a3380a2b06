"""The log that callbacks are appended to, as the door sees it.

`receiver.spool.Spool` is one.  All methods are called in the event loop's thread.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from receiver.errors import SpoolUnavailable

_CLOSED = "the spool is not open: the application's lifespan is not running"


class Log(Protocol):
    """Durable storage for callbacks."""

    def problem(self, more_bytes: int = 0) -> str | None:
        """Return why a body of this size cannot be acknowledged now, or None if it can."""
        ...

    def append(self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int) -> Awaitable[None]:
        """Return an awaitable that is done when the callback may be acknowledged.

        ``head`` is made by `envelope.encode_head`; ``chunks`` hold ``body_bytes`` bytes together.
        Awaiting raises `SpoolUnavailable` if the record did not reach stable storage.
        """
        ...


class ClosableLog(Log, Protocol):
    """A log that ends in good order."""

    async def close(self) -> None:
        """Make everything appended durable, seal it, and release the storage."""
        ...


class DeferredLog:
    """A log that is opened when the application starts, not when it is built.

    While it is not open, every callback is refused with 503, so the provider keeps it.
    """

    def __init__(self, open_log: Callable[[], ClosableLog]) -> None:
        self._open_log = open_log
        self._log: ClosableLog | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the log open for the duration of the block; closing it seals the last segment."""
        if self._log is not None:
            raise RuntimeError("the log is open already")
        log = self._log = self._open_log()
        try:
            yield
        finally:
            self._log = None
            await log.close()

    def problem(self, more_bytes: int = 0) -> str | None:
        """Return why a body of this size cannot be acknowledged now, or None if it can."""
        return _CLOSED if self._log is None else self._log.problem(more_bytes)

    def append(self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int) -> Awaitable[None]:
        """Append to the open log; raises `SpoolUnavailable` if it is not open."""
        if self._log is None:
            raise SpoolUnavailable(_CLOSED)
        return self._log.append(head, chunks, body_bytes=body_bytes)

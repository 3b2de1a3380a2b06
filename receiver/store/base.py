"""The store: where the archive's objects lie.

One small interface, and two stores behind it: `DirectoryStore` and `S3Store`.  One conformance
suite holds both to what is said here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

# The name of the check that a store without conditional writes fails.
CONDITIONAL_WRITES = "conditional writes"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing."""

    key: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and how to fix it if it is not ``good``.

    A good one with a ``hint`` is a warning.
    """

    name: str
    good: bool
    detail: str
    hint: str = ""
    # Not good, and it will not pass by itself: nothing can work until somebody fixes it.
    refused: bool = False
    # Neither good nor bad: what it depends on is not good.
    skipped: bool = False


class Store(Protocol):
    """Objects under keys.  All methods block, and may be called from several threads.

    Each raises `StoreRefused` where somebody must change a setting or a right first, and
    `StoreError` for all that may pass by itself.
    """

    @property
    def url(self) -> str:
        """What the user calls it."""
        ...

    @property
    def identity(self) -> str:
        """What tells it from every other: the same address may lead elsewhere from elsewhere."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write an object whole; durable on return.

        Writing the same bytes under the same key again is harmless, also at the same time.
        """
        ...

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        """Write an object only if it still has this etag, or does not exist for None.

        Returns the etag of what was written.  Raises `Conflict` if it is otherwise.
        """
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return an object, or a range of it.  Raises `NotFound`."""
        ...

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Return an object and the etag to give `put_if`.  Raises `NotFound`."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """Yield the objects whose keys begin with ``prefix`` and sort behind ``after``."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield what keys below ``prefix`` go on with, up to the next slash, each once, sorted.

        ``prefix`` ends in a slash, or is empty; what is yielded begins with it and ends in a slash.
        A directory names also those in which nothing is left.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is harmless."""
        ...

    def checks(self) -> Iterator[Check]:
        """Try out what the archive needs and yield what was found, the gravest first."""
        ...

"""A store whose conditional writes are only as good as the operator's word: one instance writes.

For stores that have none (`RECEIVER_LEASES=off`).
"""

import hashlib
import threading
from collections.abc import Iterator

from receiver.errors import Conflict, NotFound
from receiver.store.base import CONDITIONAL_WRITES, Check, Listed, Store


class UnconditionalStore:
    """Another store, which is asked for no conditional write.

    `put_if` reads, compares and writes.  Among the threads of this process one wins; a second
    instance is kept out only as long as it does not write at the same moment.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writing = threading.Lock()
        self.url, self.identity = store.url, store.identity

    def put(self, key: str, content: bytes) -> None:
        """Put the object."""
        self._store.put(key, content)

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        """Put the object if it holds what it did; its content is its etag."""
        with self._writing:
            if self._etag(key) != etag:
                raise Conflict(f"cannot put {key}: it is not as expected")
            self._store.put(key, content)
        return _digest(content)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Get the object, or a range of it."""
        return self._store.get(key, start=start, length=length)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Get the object, with an etag that is made of its content."""
        content = self._store.get(key)
        return content, _digest(content)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """List the objects."""
        return self._store.list(prefix, after=after)

    def folders(self, prefix: str) -> Iterator[str]:
        """List the folders."""
        return self._store.folders(prefix)

    def delete(self, key: str) -> None:
        """Delete the object."""
        self._store.delete(key)

    def checks(self) -> Iterator[Check]:
        """Check the store, but for conditional writes, which it need not have."""
        for check in self._store.checks():
            if check.name != CONDITIONAL_WRITES:
                yield check
            elif check.good:
                hint = "the store has conditional writes: leave out RECEIVER_LEASES"
                yield Check(check.name, True, "not used: RECEIVER_LEASES=off", hint)
            else:
                detail = "not needed: with RECEIVER_LEASES=off, one instance sweeps and forwards"
                yield Check(check.name, True, detail)

    def _etag(self, key: str) -> str | None:
        try:
            return self.get_with_etag(key)[1]
        except NotFound:
            return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

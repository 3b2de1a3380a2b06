"""The sweeps' way into the spool: fetched results are committed like callbacks."""

import threading
from collections.abc import Sequence
from pathlib import Path

from receiver import clock, spool
from receiver.errors import SpoolUnavailable
from receiver.providers.envelope import encode_head


class Sink:
    """Commits results to a spool directory of its own, made for the first of them.

    Blocks; may be called from several threads.
    """

    def __init__(
        self,
        root: Path,
        *,
        instance: str,
        batch_bytes: int,
        batch_seconds: float,
        spool_bytes_max: int,
        disk_reserve_bytes: int,
    ) -> None:
        self._root = root
        self._instance = instance
        self._spool_bytes_max = spool_bytes_max
        self._disk_reserve_bytes = disk_reserve_bytes
        self._committer = spool.Committer(
            root, batch_bytes=batch_bytes, batch_seconds=batch_seconds
        )
        self._lock = threading.Lock()

    def check_room(self) -> None:
        """Raise `SpoolUnavailable` if the spool is full, so that nothing is fetched in vain."""
        room = spool.measure_room(
            self._root, bytes_max=self._spool_bytes_max, reserve_bytes=self._disk_reserve_bytes
        )
        if room.left <= 0:
            raise SpoolUnavailable(f"the spool is full ({room.bounded_by})")

    def put(
        self,
        *,
        provider: str,
        kind: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> str:
        """Append one result and return its delivery id; durable on return.

        Raises `SpoolUnavailable`.
        """
        received_at_us = clock.now_us()
        delivery_id = clock.new_id(received_at_us)
        ours = (delivery_id, received_at_us, provider, kind, "sweep", None, self._instance)
        # Names of jobs and header values may be in any alphabet.
        wire = [(_encode(name), _encode(value)) for name, value in headers]
        head = encode_head(ours, "GET", _encode(target), wire)
        with self._lock:
            self._committer.commit([(head, [body])])
            self._committer.seal_if_due()
        return delivery_id

    def close(self) -> None:
        """Seal the results, so that they are shipped."""
        with self._lock:
            self._committer.close()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

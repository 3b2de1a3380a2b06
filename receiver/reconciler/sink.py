"""Where fetched results go: the same spool as everything else, in a directory of its own."""

import threading
from collections.abc import Sequence
from pathlib import Path

from receiver import clock, spool
from receiver.errors import SpoolUnavailable
from receiver.providers.envelope import encode_head
from receiver.spool import segment


class Sink:
    """Appends results to the spool.  Blocks; may be called from several threads."""

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
        self._batch_bytes = batch_bytes
        self._batch_seconds = batch_seconds
        self._spool_bytes_max = spool_bytes_max
        self._disk_reserve_bytes = disk_reserve_bytes
        self._writer: spool.Writer | None = None
        self._lock = threading.Lock()

    def check_room(self) -> None:
        """Raise `SpoolUnavailable` where a result could not be kept: it must not be collected."""
        room = spool.room(
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
        # Names of jobs and headers of strangers are of any alphabet.
        wire = [(_encode(name), _encode(value)) for name, value in headers]
        head = encode_head(ours, "GET", _encode(target), wire)
        with self._lock:
            try:
                if self._writer is None:
                    self._writer = spool.Writer(self._root)
                buffers = [segment.frame(self._writer.marker, head, [body]), body]
                self._writer.write(buffers, records=1)
                if self._due(self._writer):
                    self._writer.seal()
            except OSError as exc:
                if self._writer is not None and self._writer.lost:
                    lost, self._writer = self._writer, None
                    lost.give_up()
                raise SpoolUnavailable(f"the spool's disk failed: {exc.strerror}") from exc
        return delivery_id

    def close(self) -> None:
        """Seal what was written, so that it is shipped."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _due(self, writer: spool.Writer) -> bool:
        return writer.bytes >= self._batch_bytes or writer.age_seconds >= self._batch_seconds


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""What waits in this machine's spool: callbacks that have come and are not archived yet."""

import contextlib
from array import array
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from receiver import spool
from receiver.providers import envelope
from receiver.providers.base import query_of
from receiver.spool import segment


class Waiting:
    """The callbacks of a provider that a spool held when they were first asked for.

    They are known by their URL.  Whether one brings a result is seen when it is archived, which
    the next sweep knows.  Methods block.
    """

    def __init__(self, root: Path, provider: str) -> None:
        self._root = root
        self._provider = provider
        # Hashes of task and kind: a spool that is full holds millions.
        self._hashes: array[int] | None = None

    def among(self, task_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        """Return those of some tasks of which a callback of one of these kinds waits."""
        if self._hashes is None:
            self._hashes = array("q", map(hash, self._found()))
        wanted = {hash((task_id, kind)): task_id for task_id in task_ids for kind in kinds}
        return {wanted[found] for found in set(wanted).intersection(self._hashes)}

    def _found(self) -> Iterator[tuple[str, str]]:
        """Yield task and kind of each callback."""
        for head in _heads(self._root):
            # What is damaged is for shipping to tell.
            with contextlib.suppress(ValueError):
                delivery = envelope.decode(head, b"")
                if delivery.provider == self._provider:
                    yield _task_id(delivery), delivery.kind


def _heads(root: Path) -> Iterator[bytes]:
    for found in spool.files(root):
        with contextlib.suppress(FileNotFoundError):  # shipped meanwhile, so the archive has it
            yield from segment.heads(found.path)


def _task_id(delivery: envelope.Envelope) -> str:
    if delivery.kind == "result":
        return delivery.target.rpartition("/")[2]
    return query_of(delivery.target).get("id", "")

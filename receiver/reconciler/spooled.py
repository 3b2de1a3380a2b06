"""Callbacks in this machine's spool: received, and not archived yet."""

import contextlib
from array import array
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from receiver import spool
from receiver.providers import envelope
from receiver.providers.base import query_of
from receiver.spool import segment


class SpooledCallbacks:
    """A provider's callbacks that were in the spool at the first query.

    They are known by their URL alone.  Whether one carries a result is found out when it is
    archived, which the next sweep sees.  Methods block.
    """

    def __init__(self, root: Path, provider: str) -> None:
        self._root = root
        self._provider = provider
        # Hashes of task and kind: a full spool holds millions.
        self._hashes: array[int] | None = None

    def held(self, task_ids: Collection[str], kinds: Sequence[str]) -> set[str]:
        """Return the given tasks that have a callback of one of these kinds in the spool."""
        if self._hashes is None:
            self._hashes = array("q", map(hash, self._scan()))
        asked = {hash((task_id, kind)): task_id for task_id in task_ids for kind in kinds}
        return {asked[found] for found in set(asked).intersection(self._hashes)}

    def _scan(self) -> Iterator[tuple[str, str]]:
        """Yield task and kind of each callback."""
        for head in _heads(self._root):
            # The shipper reports damaged records.
            with contextlib.suppress(ValueError):
                delivery = envelope.decode(head, b"")
                if delivery.provider == self._provider:
                    yield _task_id(delivery), delivery.kind


def _heads(root: Path) -> Iterator[bytes]:
    for found in spool.files(root):
        # One that was shipped in the meantime is in the archive.
        with contextlib.suppress(FileNotFoundError):
            yield from segment.heads(found.path)


def _task_id(delivery: envelope.Envelope) -> str:
    if delivery.kind == "result":
        return unquote(delivery.target.rpartition("/")[2])
    return query_of(delivery.target).get("id", "")

"""The lag: how long the oldest acknowledged callback has been waiting for the archive."""

import contextlib

from receiver import clock
from receiver.providers import envelope
from receiver.spool import directory, segment


class Lag:
    """Measures the lag.  Remembers when each segment's first record arrived, to read it once."""

    def __init__(self) -> None:
        self._first_us: dict[str, int] = {}

    def measure(self, found: list[directory.Found]) -> float:
        """Return the age in seconds of the oldest record in these files; 0 if there is none.

        A first record that is damaged is as old as its file.
        """
        held = {file.name: self._first(file) for file in found if file.bytes}
        self._first_us = {name: first for name, first in held.items() if first is not None}
        if not self._first_us:
            return 0.0
        return max(0.0, (clock.now_us() - min(self._first_us.values())) / 1e6)

    def _first(self, found: directory.Found) -> int | None:
        known = self._first_us.get(found.name)
        if known is not None:
            return known
        try:
            head = segment.first_head(found.path)
            if head is not None:
                with contextlib.suppress(ValueError):
                    return envelope.received_at_us(head)
            return int(found.path.stat().st_mtime * 1e6)
        except FileNotFoundError:
            return None  # shipped or sealed since it was listed

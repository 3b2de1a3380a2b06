"""How long the oldest acknowledged callback has waited for the archive."""

from pathlib import Path

from receiver import clock
from receiver.providers import envelope
from receiver.spool import directory, segment


class Lag:
    """Remembers when each segment's first record arrived, so that each file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._first_us: dict[str, int] = {}

    def measure(self, found: list[directory.Found]) -> float:
        """Return the age in seconds of the oldest record in these files; 0 if they hold none."""
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
                return envelope.received_at_us(head)
            return int(found.path.stat().st_mtime * 1e6)  # damaged; it waits all the same
        except FileNotFoundError:
            return None  # shipped, or sealed under another name, since it was listed
        except ValueError:
            return int(found.path.stat().st_mtime * 1e6)

"""Streams to log to, read once everything is written."""

import io

from receiver import log


class Stream(io.StringIO):
    """A stream in memory, which may claim to be a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        """Return all that was logged so far."""
        log.flush()
        return self.getvalue()

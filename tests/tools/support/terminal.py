"""A real terminal: a command that has it as its own, and somebody who watches and types."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.tools.support.wait import wait_for

CTRL_C, CTRL_S, CTRL_Q = "\x03", "\x13", "\x11"


class Terminal:
    """A command on a terminal of its own, from start to end.

    What is typed passes the line discipline: Ctrl-C interrupts, Ctrl-S stops the output.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=cwd,
            env={"TERM": "xterm", **environ},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.pid = self._process.pid
        self._shown = b""
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()

    def shown(self) -> str:
        """Return all that was shown so far, with the newlines of files."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, text: str, *, seconds: float = 60.0) -> str:
        """Wait until a text is shown; return all that was."""
        wait_for(lambda: text in self.shown() or self.status is not None, text, seconds=seconds)
        assert text in self.shown(), f"ended with {self.status}:\n{self.shown()}"
        return self.shown()

    def press(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the command itself."""
        self._process.send_signal(number)

    def wait(self, *, seconds: float = 60.0) -> int:
        """Wait until the command has ended and all that it wrote is shown; return its status."""
        status = self._process.wait(seconds)
        self._watching.join(seconds)
        return status

    def close(self) -> None:
        """Kill what is left of it, and take the terminal away."""
        self._process.kill()
        self._process.wait()
        self._watching.join()
        os.close(self._ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _watch(self) -> None:
        while True:
            try:
                self._shown += os.read(self._ours, 65536)
            except OSError:
                return  # Linux's way to say that nobody has the other side open

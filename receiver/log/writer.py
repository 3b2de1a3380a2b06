"""The queue of what a process prints, and the one thread that writes it.

A pipe that nobody reads and a terminal after Ctrl-S block the thread that writes to them, for as
long as they like.  So that thread does nothing else.  It writes to file descriptors, past Python's
buffered streams: a thread that is stuck inside one of those keeps the interpreter from ending.
"""

import contextlib
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TextIO

# Memory that waiting lines may take: about 3,000 lines of JSON.
QUEUE_BYTES_MAX = 1 << 20
# Time that the end of a process leaves to what still waits.
FLUSH_SECONDS = 1.0


class _Line(NamedTuple):
    write: Callable[[str], None]
    text: str
    dropped_before: int


class QueueWriter:
    """Writes lines in the order in which they were put.  For any thread.

    A line that does not fit into the queue, or that cannot be written, is dropped and counted.
    """

    def __init__(self, *, bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        # With an RLock: a finalizer that logs may run while its own thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[_Line] = deque()
        self._bytes = 0
        self._put = self._done = 0
        self._dropped = self._reported = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        # Called for every dropped line, in the thread that dropped it.
        self.on_drop: Callable[[], object] = lambda: None
        # Makes the line that says how many lines were dropped before the next one.
        self.notice: Callable[[int], str] = "{} log lines dropped\n".format

    def put(self, write: Callable[[str], None], text: str) -> None:
        """Have a line written by ``write``, which may block and may raise `OSError`; never wait."""
        if self._closed:
            return
        size = sys.getsizeof(text)
        with self._changed:
            fits = self._bytes + size <= self.bytes_max
            if fits:
                self._waiting.append(_Line(write, text, self._dropped))
                self._bytes += size
                self._put += 1
                self._make_sure_of_thread()
                self._changed.notify_all()
        if not fits:
            self._drop()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines put so far are written; return whether they are."""
        with self._changed:
            put = self._put
            return self._changed.wait_for(lambda: self._done >= put, seconds)

    def close(self) -> None:
        """Write what waits, for a bounded time, and ignore what is put from then on."""
        self.flush()
        # Checked without the lock, which the thread may hold when the interpreter stops it.
        self._closed = True

    def _make_sure_of_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            with contextlib.suppress(RuntimeError):  # none to be had now: the next line tries again
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting.popleft()
            try:
                self._write(line)
            except (OSError, ValueError):  # nobody reads any more, the disk is full, it is closed
                self._drop()
            finally:
                with self._changed:
                    self._bytes -= sys.getsizeof(line.text)
                    self._done += 1
                    self._changed.notify_all()

    def _write(self, line: _Line) -> None:
        dropped = line.dropped_before - self._reported
        if dropped:
            line.write(self.notice(dropped))
            self._reported = line.dropped_before
        line.write(line.text)

    def _drop(self) -> None:
        with self._changed:
            self._dropped += 1
        self.on_drop()


class Outlet(io.TextIOBase):
    """A text stream that puts whole lines into a writer's queue; nothing that uses it waits."""

    def __init__(self, stream: TextIO | io.TextIOBase, writer: QueueWriter) -> None:
        self._stream = stream
        self._writer = writer
        self._write_line = _direct(stream)
        self._lock = threading.RLock()
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream behind it."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What is done about characters that the encoding lacks."""
        return self._stream.errors

    def fileno(self) -> int:
        """Return the descriptor of the stream behind it."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream behind it is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str, /) -> int:
        """Queue the lines that are complete; keep the rest until it is."""
        with self._lock:
            lines, end, self._rest = (self._rest + text).rpartition("\n")
            if end:
                self._writer.put(self._write_line, lines + end)
        return len(text)

    def flush(self) -> None:
        """Queue the line that is not complete."""
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._writer.put(self._write_line, rest)


def _direct(stream: TextIO | io.TextIOBase) -> Callable[[str], None]:
    """Return what writes to a stream: to its descriptor, where it has one."""
    try:
        descriptor = stream.fileno()
    except OSError:

        def write(text: str) -> None:
            stream.write(text)
            stream.flush()

    else:
        encoding, errors = stream.encoding or "utf-8", stream.errors or "backslashreplace"

        def write(text: str) -> None:
            _write_all(descriptor, text.encode(encoding, errors))

    return write


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of it; raises `OSError`."""
    left = memoryview(content)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # whoever shares the descriptor made it non-blocking
            select.select([], [descriptor], [])

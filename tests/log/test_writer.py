"""The queue of lines and its thread: in order, bounded, and never waited for."""

import errno
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from receiver.log.writer import Outlet, QueueWriter
from tests.tools.support.wait import wait_for

_SECONDS = 20.0


class Held:
    """A place to write to that lets nothing through until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        assert self.open.wait(_SECONDS)
        self.lines.append(line)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.open.set()


def test_lines_are_written_in_the_order_in_which_they_were_put() -> None:
    writer, lines = QueueWriter(), list[str]()
    for number in range(1000):
        writer.put(lines.append, f"{number}\n")
    assert writer.flush(_SECONDS)
    assert [f"{number}\n" for number in range(1000)] == lines


def test_lines_of_several_threads_keep_the_order_of_each() -> None:
    writer, lines = QueueWriter(), list[str]()

    def put(name: str) -> None:
        for number in range(300):
            writer.put(lines.append, f"{name} {number}")

    threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(_SECONDS)
    for name in "abcd":
        assert [f"{name} {n}" for n in range(300)] == [it for it in lines if it[0] == name]


def test_what_does_not_fit_is_dropped_at_once_and_reported_before_the_next_line(
    held: Held,
) -> None:
    writer = QueueWriter(bytes_max=10_000)
    drops: list[None] = []
    writer.on_drop = lambda: drops.append(None)
    began = time.monotonic()
    for number in range(500):
        writer.put(held.write, f"{number:04} {'x' * 200}")
    assert time.monotonic() - began < 5
    kept = 500 - len(drops)
    assert 20 < kept < 50
    held.open.set()
    assert writer.flush(_SECONDS)
    writer.put(held.write, "next")
    assert writer.flush(_SECONDS)
    assert list(range(kept)) == [int(line[:4]) for line in held.lines[:kept]]
    assert [f"{len(drops)} log lines dropped\n", "next"] == held.lines[kept:]
    writer.put(held.write, "last")
    assert writer.flush(_SECONDS)
    assert ["next", "last"] == held.lines[-2:]


def test_a_line_that_cannot_be_written_counts_as_dropped() -> None:
    writer, lines, drops = QueueWriter(), list[str](), list[None]()
    writer.on_drop = lambda: drops.append(None)

    def full(line: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for _ in range(3):
        writer.put(full, "lost")
    assert writer.flush(_SECONDS)
    writer.put(full, "lost with the report")
    assert writer.flush(_SECONDS)
    writer.put(lines.append, "next")
    assert writer.flush(_SECONDS)
    assert 4 == len(drops)
    assert ["4 log lines dropped\n", "next"] == lines


def test_flushing_waits_no_longer_than_it_is_to(held: Held) -> None:
    writer = QueueWriter()
    writer.put(held.write, "stuck")
    began = time.monotonic()
    assert not writer.flush(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    held.open.set()
    assert writer.flush(_SECONDS)


def test_closing_waits_for_what_was_put_and_ignores_the_rest() -> None:
    writer, lines = QueueWriter(), list[str]()

    def slow(line: str) -> None:
        time.sleep(0.2)
        lines.append(line)

    writer.put(slow, "before")
    writer.close()
    assert ["before"] == lines
    writer.put(lines.append, "after")
    assert writer.flush(_SECONDS)
    assert ["before"] == lines


def test_a_finalizer_may_log_while_its_thread_holds_the_lock() -> None:
    writer, lines = QueueWriter(), list[str]()

    class Text(str):
        """Logs when it is measured, as a finalizer does that happens to run there."""

        def __sizeof__(self) -> int:
            if threading.current_thread().name == "log":
                writer.put(lines.append, "nested")
            return super().__sizeof__()

    writer.put(lines.append, Text("first"))
    wait_for(lambda: lines == ["first", "nested"], "both are written")
    assert writer.flush(_SECONDS)


def test_a_line_is_put_once_it_is_complete() -> None:
    stream = io.StringIO()
    writer = QueueWriter()
    outlet = Outlet(stream, writer)
    outlet.write("half ")
    assert writer.flush(_SECONDS)
    assert "" == stream.getvalue()
    outlet.write("a line\nand")
    assert writer.flush(_SECONDS)
    assert "half a line\n" == stream.getvalue()
    outlet.flush()
    assert writer.flush(_SECONDS)
    assert "half a line\nand" == stream.getvalue()


def test_a_stream_whose_reader_is_gone_raises_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    writer, drops = QueueWriter(), list[None]()
    writer.on_drop = lambda: drops.append(None)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        outlet = Outlet(pipe, writer)
        print("shipped", file=outlet)
        assert b"shipped\n" == os.read(reading, 4096)
        os.close(reading)
        for _ in range(3):
            print("x" * 20_000, file=outlet)
        assert writer.flush(_SECONDS)
    assert 3 == len(drops)
    assert ("", "") == capfd.readouterr()


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = QueueWriter(bytes_max=4 << 20)
    with os.fdopen(writing, "w") as pipe, os.fdopen(reading, "rb") as end:
        outlet = Outlet(pipe, writer)
        for number in range(2000):
            print(f"{number:04} {'x' * 200}", file=outlet)
        assert not writer.flush(0.2)
        for number in range(2000):
            assert f"{number:04} {'x' * 200}\n".encode() == end.readline()
        assert writer.flush(_SECONDS)


def test_characters_that_the_stream_lacks_are_escaped() -> None:
    reading, writing = os.pipe()
    writer = QueueWriter()
    with os.fdopen(writing, "w", encoding="ascii", errors="backslashreplace") as pipe:
        print("täsk", file=Outlet(pipe, writer))
        assert writer.flush(_SECONDS)
        assert b"t\\xe4sk\n" == os.read(reading, 100)
    os.close(reading)


_STUCK = """
import logging
from receiver import log
log.queue_standard_streams()
log.configure(form="json", level="info")
for number in range(20_000):
    logging.getLogger("receiver").info("a line", extra={"number": number})
print("printed")
raise RuntimeError("to stderr")
"""


@pytest.mark.integration
def test_a_process_whose_output_nobody_reads_comes_to_its_end() -> None:
    """The interpreter ends although its thread is stuck, and takes no more than its time."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK], stdout=writing, stderr=writing, stdin=subprocess.DEVNULL
    )
    os.close(writing)
    try:
        wait_for(lambda: process.poll() is not None, "it has ended", seconds=60)
        assert 1 == process.returncode
    finally:
        process.kill()
        process.wait()
        os.close(reading)


@pytest.mark.integration
def test_a_process_ends_with_everything_written() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _STUCK.replace("20_000", "500")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 501 == len(ran.stdout.splitlines())
    assert "printed" == ran.stdout.splitlines()[-1]
    assert ran.stderr.endswith("RuntimeError: to stderr\n")

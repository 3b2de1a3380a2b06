"""Reads what is to be sent, in its order, a window at a time, one window ahead of the sending."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter

from receiver.archive.reading import is_long, span_lines, spans
from receiver.archive.schema import Entry
from receiver.errors import Damaged, NotFound
from receiver.replay.request import Form, Request
from receiver.replay.url_template import NotSendable
from receiver.store import Store

# Limits of a window, in bytes of lines and in callbacks; it has at least one callback.
WINDOW_BYTES = 16 << 20
WINDOW_CALLBACKS = 4096
_READS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """A callback that cannot be read from the archive or cannot be sent, and why."""

    entry: Entry
    why: str


Item = Request | UnreadableEntry


async def read(
    store: Store,
    entries: Callable[[], Iterable[Entry]],
    form: Form,
) -> AsyncGenerator[Item]:
    """Yield the requests of entries, in their order.

    ``entries`` is called, iterated and dropped in a thread of its own.  Raises `StoreError` if the
    store fails; a callback that is missing, damaged or not sendable becomes an `UnreadableEntry`.
    """
    loop = asyncio.get_running_loop()
    with (
        ThreadPoolExecutor(1, thread_name_prefix="replay") as one,
        ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="replay-read") as several,
    ):
        windows = (_window(several, store, window, form) for window in _windows(entries))
        coming = loop.run_in_executor(one, next, windows, None)
        try:
            while (window := await coming) is not None:
                coming = loop.run_in_executor(one, next, windows, None)
                for item in window:
                    yield item
        finally:
            await asyncio.wait([coming])
            await loop.run_in_executor(one, _end, windows, several)


def _end(windows: Generator[list[Item]], several: ThreadPoolExecutor) -> None:
    # The generator's source was opened in this thread, so it is closed here.
    windows.close()
    # Waits for reads under way, which the event loop must not.
    several.shutdown()


def _windows(entries: Callable[[], Iterable[Entry]]) -> Iterator[list[Entry]]:
    window: list[Entry] = []
    held = 0
    for entry in entries():
        if window and (held + entry.line_bytes > WINDOW_BYTES or len(window) == WINDOW_CALLBACKS):
            yield window
            window, held = [], 0
        window.append(entry)
        held += entry.line_bytes
    if window:
        yield window


def _window(
    pool: ThreadPoolExecutor,
    store: Store,
    window: list[Entry],
    form: Form,
) -> list[Item]:
    """Read a window in the order of the archive's objects, and return it in its own order."""
    stored = sorted(window, key=attrgetter("object", "member_offset", "line_offset"))
    short = [entry for entry in stored if not is_long(entry)]
    read = pool.map(lambda span: _span(store, span, form), spans(short))
    # Only within a segment are delivery ids certain to differ.
    items = {_name(item.entry): item for item in itertools.chain.from_iterable(read)}
    for entry in filter(is_long, stored):
        items[_name(entry)] = _long(store, entry, form)
    return [items[_name(entry)] for entry in window]


def _name(entry: Entry) -> tuple[str, str]:
    return entry.segment, entry.delivery_id


def _long(store: Store, entry: Entry, form: Form) -> Item:
    try:
        return form.long_request(entry, store)
    except (NotFound, Damaged, NotSendable) as exc:
        return UnreadableEntry(entry, str(exc))


def _span(store: Store, span: list[Entry], form: Form) -> list[Item]:
    try:
        lines = list(span_lines(store, span))
        return [_made(entry, line, form) for entry, line in zip(span, lines, strict=True)]
    except (NotFound, Damaged) as exc:
        if len(span) == 1:
            return [UnreadableEntry(span[0], str(exc))]
        # The callbacks beside the damage may still be readable.
        return [item for entry in span for item in _span(store, [entry], form)]


def _made(entry: Entry, line: bytes, form: Form) -> Item:
    try:
        return form.request(entry, line)
    except (Damaged, NotSendable) as exc:
        return UnreadableEntry(entry, str(exc))

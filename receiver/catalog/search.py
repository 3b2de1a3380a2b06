"""Finding callbacks: in the archive by the catalog, and in this machine's spool."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from receiver import spool
from receiver.archive import line, spans, steps
from receiver.archive.body import decode
from receiver.archive.reading import Entry
from receiver.catalog.filters import Filters
from receiver.errors import Damaged, NotFound
from receiver.providers import PROVIDERS, Recognised, envelope
from receiver.spool import segment
from receiver.store import Store

_SHOWN = (
    "delivery_id",
    "provider",
    "kind",
    "origin",
    "task_id",
    "tag",
    "key",
    "status",
    "received_at",
    "body_bytes",
    "invalid",
)
# What a record's head tells, so that bodies of others need not be decoded.
_OF_HEAD = ("provider", "kind", "origin")


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback, whole."""

    # archive or spool
    where: str
    segment: str
    # Those of its line, but the body's.
    columns: dict[str, Any]
    is_text: bool
    _steps: Callable[[], Iterator[bytes]]

    def body(self) -> Iterator[bytes]:
        """Yield the decoded body in steps.  Raises `Damaged`."""
        return self._steps()

    def row(self) -> dict[str, Any]:
        """Return what `find` shows of it."""
        shown = {name: self.columns[name] for name in _SHOWN}
        return {**shown, "segment": self.segment, "where": self.where}


def archived_row(entry: Entry) -> dict[str, Any]:
    """Return what `find` shows of an entry of the index."""
    return {**msgspec.structs.asdict(entry), "where": "archive"}


def archived(store: Store, entry: Entry) -> Callback:
    """Read a callback of the archive by one ranged read; what is held of it is compressed.

    Raises `NotFound` or `Damaged` where the archive does not hold it any more.
    """
    member = store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
    columns, is_text = steps.columns(steps.line(member, entry))
    if columns.get("delivery_id") != entry.delivery_id:
        raise Damaged(f"{entry.object} does not hold {entry.delivery_id} where its index says")
    return Callback(
        where="archive",
        segment=entry.segment,
        columns=columns,
        is_text=is_text,
        _steps=lambda: steps.body(steps.line(member, entry)),
    )


def in_spool(root: Path, filters: Filters, *, inflated_bytes_max: int) -> Iterator[Callback]:
    """Yield what of a spool passes, as it will be archived, in the order of its segments.

    One callback is held at a time.
    """
    for found in spool.files(root):
        # Shipped since it was listed, so it is for the archive to tell.
        with contextlib.suppress(FileNotFoundError):
            for part in segment.read(found.path):
                if isinstance(part, segment.Record):
                    yield from _spooled(part, found.name, filters, inflated_bytes_max)


def _spooled(
    record: segment.Record, name: str, filters: Filters, inflated_bytes_max: int
) -> Iterator[Callback]:
    try:
        delivery = envelope.decode(record.head, record.body)
    except ValueError:
        return  # the shipper will say so
    if not _can_match(delivery, filters):
        return
    body = decode(delivery.body, inflated_bytes_max=inflated_bytes_max)
    content = None if body.invalid else body.content
    provider = PROVIDERS.get(delivery.provider)
    if provider is None:  # its plug-in is not installed any more
        recognised = Recognised(invalid="not_recognised")
    else:
        recognised = provider.recognise(delivery, content, whole=body.whole)
    before, behind = line.columns(delivery, body, recognised)
    columns = before | behind
    if filters.match(columns, delivery.received_at_us):
        yield Callback("spool", name, columns, body.is_text, body.steps)


def _can_match(delivery: envelope.Envelope, filters: Filters) -> bool:
    wanted = filters.equal()
    known = {name: value for name, value in wanted.items() if name in _OF_HEAD}
    by_head = Filters(since_us=filters.since_us, until_us=filters.until_us, **known)
    row = {name: getattr(delivery, name) for name in _OF_HEAD}
    return by_head.match(row, delivery.received_at_us)


def pieces(
    store: Store, entries: Iterable[Entry], *, lost: Callable[[Entry, Exception], None]
) -> Iterator[bytes]:
    """Yield the lines of entries, each with its newline, long ones in pieces.

    ``lost`` is told of those that the archive does not hold any more; nothing is yielded of them.
    """
    for long, group in itertools.groupby(entries, key=_is_long):
        if long:
            for entry in group:
                yield from _long(store, entry, lost)
        else:
            for span in spans.spans(group):
                yield from _short(store, span, lost)


def _is_long(entry: Entry) -> bool:
    return entry.line_bytes > steps.LONG_BYTES


def _long(store: Store, entry: Entry, lost: Callable[[Entry, Exception], None]) -> Iterator[bytes]:
    try:
        member = store.get(entry.object, start=entry.member_offset, length=entry.member_bytes)
        # Twice, so that nothing of a damaged line is written.
        for _ in steps.line(member, entry):
            pass
    except (NotFound, Damaged) as exc:
        lost(entry, exc)
        return
    yield from steps.line(member, entry)
    yield b"\n"


def _short(
    store: Store, span: list[Entry], lost: Callable[[Entry, Exception], None]
) -> Iterator[bytes]:
    done = 0
    try:
        for found in spans.span_lines(store, span):
            done += 1
            yield found + b"\n"
    except NotFound as exc:
        for entry in span[done:]:
            lost(entry, exc)
    except Damaged as exc:
        if len(span) == 1:
            lost(span[0], exc)
            return
        # What stands beside the damage can still be read, one by one.
        for entry in span[done:]:
            yield from _short(store, [entry], lost)

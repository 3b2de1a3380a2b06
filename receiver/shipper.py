"""Shipping: a segment is put into the archive, and only then removed from the spool.

Callbacks objects, quarantined parts, index, unlink: in that order, each confirmed before the next.
A crash in between leaves the segment in the spool, and shipping it again writes the same lines to
the same keys.  Several shippers may work on one spool: a segment is shipped under a lock on its
file, and if that lock is lost, the same keys are written twice.

What a dead process left may be a copy of a spool that went on elsewhere, such as a snapshot of its
disk: it never overwrites an archived segment that has more records.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from receiver import metrics, spool
from receiver.archive import Compression, SegmentObjects, quarantine_key
from receiver.archive.body import decode, recognise
from receiver.archive.index import entries
from receiver.errors import Damaged, NotFound, StoreError
from receiver.providers import Provider, Recognised, envelope
from receiver.spool import segment
from receiver.store import Store

_log = logging.getLogger(__name__)

# A pass ends when the store has failed for this many segments in a row.
_FAILURES_MAX = 2
# A segment has an object for each provider and kind, and twice as many where it crosses an hour.
_PUTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """Counts of what was shipped, and of segments that failed."""

    segments: int = 0
    records: int = 0
    bytes: int = 0
    quarantined: int = 0
    failed: int = 0

    def __add__(self, other: "Shipped") -> "Shipped":
        return Shipped(
            segments=self.segments + other.segments,
            records=self.records + other.records,
            bytes=self.bytes + other.bytes,
            quarantined=self.quarantined + other.quarantined,
            failed=self.failed + other.failed,
        )


class Shipper:
    """Ships the segments of a spool that are ready."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        compression: Compression,
        inflated_bytes_max: int,
        concurrency: int,
        quiet: bool = False,
    ) -> None:
        self._store = store
        # A copy that is a plain dict: each record looks its adapter up.
        self._providers = dict(providers)
        self._compression = compression
        self._inflated_bytes_max = inflated_bytes_max
        self._concurrency = concurrency
        # With an archive ack segments are a tenth of a second long; that is too many log lines.
        self._level = logging.DEBUG if quiet else logging.INFO
        # Objects are built by one thread at a time: threads that share a core slow each other down
        # by half.  Only waiting for the store is done side by side.
        self._building = threading.Lock()
        # Archived, but not removed from the spool yet, which a disk can refuse.
        self._confirmed: set[str] = set()
        # Symbolic links that were passed over, and logged.
        self._links: set[Path] = set()
        # Segments that failed; they are tried last, so that they do not keep others waiting.
        self._failed: set[str] = set()
        # Why the last of them failed, for those who report it.
        self.reason = ""

    def ship(
        self,
        root: Path,
        *,
        stop: Callable[[], bool] = lambda: False,
        shipped: Callable[[str, Shipped], None] = lambda segment, shipped: None,
    ) -> Shipped:
        """Ship the segments that are ready now, oldest first.

        ``shipped`` is called with the name of each segment, in the thread that shipped it.  A
        segment that cannot be read or removed counts as failed and does not stop the others.  A
        symbolic link named like a segment is logged once, and left where it is.
        Raises `StoreError` once the store has failed for several segments in a row; what was
        shipped before that stays shipped.
        """
        found_now = spool.files(root, passed_over=self._pass_over)
        ready = [found for found in found_now if _worth(found)]
        ready.sort(key=lambda found: found.name in self._failed)
        self._failed.intersection_update(found.name for found in ready)
        total = Shipped()
        failures: list[StoreError] = []

        def one(found: spool.Found) -> Shipped:
            if stop() or len(failures) >= _FAILURES_MAX:
                return Shipped()
            try:
                done = self._ship(found)
            except StoreError as exc:
                failures.append(exc)
                self._failed.add(found.name)
                # The caller reports the store's failures, once for all segments.
                self.reason = str(exc)
                extra = {"segment": found.name, "error": str(exc)}
                _log.debug("segment not shipped", extra=extra)
                return Shipped(failed=1)
            except Exception as exc:
                self._failed.add(found.name)
                self.reason = str(exc)
                # The disk, or a bug: the others must not wait for this one.
                extra = {"segment": found.name, "error": str(exc)}
                _log.exception("segment not shipped", extra=extra)
                return Shipped(failed=1)
            if done.segments:
                failures.clear()
                shipped(found.name, done)
            return done

        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="ship") as pool:
            for done in pool.map(one, ready):
                total += done
        spool.bury(root)
        if failures:
            raise failures[-1]
        return total

    def ship_one(self, path: Path) -> Shipped | None:
        """Ship one sealed segment; return None if another shipper has it.

        Raises `StoreError` if the store fails, and `OSError` if the disk does.
        """
        done = self._ship(spool.Found(path, 0, ready=True))
        return done if done.segments else None

    def _ship(self, found: spool.Found) -> Shipped:
        try:
            # Opened for writing: over NFS only a writable descriptor can take the lock (flock(2)).
            fd = os.open(found.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return Shipped()  # another shipper was quicker
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Shipped()  # another shipper has it
            if not os.fstat(fd).st_nlink:
                return Shipped()  # another shipper has removed it just now
            if found.name in self._confirmed:
                self._remove(found)
                return Shipped(segments=1)
            return self._put(found)
        finally:
            os.close(fd)

    def _pass_over(self, link: Path) -> None:
        if link not in self._links:
            self._links.add(link)
            _log.warning("symbolic link in the spool passed over", extra={"path": str(link)})

    def _put(self, found: spool.Found) -> Shipped:
        began = time.monotonic()
        objects = SegmentObjects(found.name, self._compression)
        with self._building:
            damages = self._add_records(found, objects)
        if damages or found.path.suffix != segment.SEALED:
            held, ours = self._held(objects), objects.delivery_ids
            if held - ours:
                return self._put_aside(found, damages, strange=len(ours - held), began=began)
        sent = self._put_callbacks(objects)
        self._quarantine(found, damages)
        key, content = objects.index()
        self._store.put(key, content)
        self._confirmed.add(found.name)
        for provider, reason in objects.invalid:
            metrics.invalid.labels(provider, reason).inc()
        done = self._count(found, objects.records, sent + len(content), len(damages), began)
        self._remove(found)
        return done

    def _held(self, objects: SegmentObjects) -> frozenset[str]:
        """Return the delivery ids that the archive has under a segment's name."""
        try:
            found = entries(objects.index_key, self._store.get(objects.index_key))
        except (NotFound, Damaged):
            return frozenset()
        return frozenset(entry.delivery_id for entry in found)

    def _put_aside(
        self, found: spool.Found, damages: list[segment.Damage], *, strange: int, began: float
    ) -> Shipped:
        """Remove a segment of which the archive has more records; nothing there is overwritten."""
        extra = {"segment": found.name, "strange_records": strange}
        if strange:
            # Two processes went on from copies of one machine.  The bytes of this one are kept.
            _log.error("another segment of this name is in the archive", extra=extra)
            damages = [segment.Damage(0, found.path.stat().st_size)]
        else:
            _log.warning("the archive holds more of this segment already", extra=extra)
        self._quarantine(found, damages)
        self._confirmed.add(found.name)
        done = self._count(found, 0, 0, len(damages), began)
        self._remove(found)
        return done

    def _quarantine(self, found: spool.Found, damages: list[segment.Damage]) -> None:
        for damage in damages:
            key = quarantine_key(found.name, offset=damage.offset, end=damage.end)
            self._store.put(key, segment.read_bytes(found.path, damage))

    def _put_callbacks(self, objects: SegmentObjects) -> int:
        """Put the callbacks objects, several at once; return their size in bytes."""

        def put(content: tuple[str, bytes]) -> int:
            self._store.put(*content)
            return len(content[1])

        if objects.partitions == 1:
            return sum(map(put, objects.callbacks()))
        with ThreadPoolExecutor(_PUTS_AT_ONCE, thread_name_prefix="put") as pool:
            return sum(pool.map(put, objects.callbacks()))

    def _add_records(self, found: spool.Found, objects: SegmentObjects) -> list[segment.Damage]:
        damages = []
        for part in segment.read(found.path):
            if isinstance(part, segment.Torn):
                extra = {"segment": found.name, "bytes": part.end - part.offset}
                _log.info("torn tail cut", extra=extra)
                continue
            if isinstance(part, segment.Record):
                try:
                    delivery = envelope.decode(part.head, part.body)
                except ValueError:
                    end = part.offset + segment.HEADER_BYTES + len(part.head) + len(part.body)
                    part = segment.Damage(part.offset, end)
                else:
                    self._add(delivery, objects)
                    continue
            damages.append(part)
            extra = {"segment": found.name, "offset": part.offset, "end": part.end}
            _log.error("damage quarantined", extra=extra)
        return damages

    def _add(self, delivery: envelope.Envelope, objects: SegmentObjects) -> None:
        body = decode(delivery.body, inflated_bytes_max=self._inflated_bytes_max)
        try:
            provider = self._providers[delivery.provider]
            recognised = recognise(provider, delivery, body)
        except Exception:
            # A bug in an adapter must not lose the result.
            _log.exception("not recognised", extra={"delivery_id": delivery.delivery_id})
            recognised = Recognised(invalid="not_recognised")
        objects.add(delivery, body, recognised)

    def _remove(self, found: spool.Found) -> None:
        found.path.unlink()
        self._confirmed.discard(found.name)

    def _count(
        self, found: spool.Found, records: int, sent: int, quarantined: int, began: float
    ) -> Shipped:
        metrics.shipped_segments.inc()
        metrics.shipped_records.inc(records)
        metrics.shipped_bytes.inc(sent)
        metrics.quarantined.inc(quarantined)
        metrics.last_ship_seconds.set_to_current_time()
        extra = {
            "segment": found.name,
            "records": records,
            "bytes": sent,
            "seconds": round(time.monotonic() - began, 3),
        }
        _log.log(self._level, "shipped", extra=extra)
        return Shipped(segments=1, records=records, bytes=sent, quarantined=quarantined)


def _worth(found: spool.Found) -> bool:
    """Leave out the empty file that a dead writer had just begun: its number is not missed."""
    return found.ready and not (found.path.suffix == segment.OPEN and found.bytes == 0)

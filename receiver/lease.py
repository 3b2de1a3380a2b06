"""A lease: the right to do something alone, for a while, kept as an object in the bucket.

    leases/<name>.json = {"owner": …, "generation": n, "expires_at_us": …, "seconds": …}

A lease is acquired with `If-None-Match: *`, and taken over and renewed with `If-Match`, so that one
of several contenders wins.  It is valid for its time to live, measured by the holder's monotonic
clock from before the write that granted it.  A contender takes it over only when a grace has
passed since it ran out: by the wall clock, so that clocks may differ by that grace; or, however
wrong a clock is, because this process has seen it unrenewed for all that time.

A holder that slept must not do harm: it calls `check` before each step, and what it writes under
the lease carries its generation.
"""

import logging
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import orjson

from receiver import clock, metrics
from receiver.errors import Conflict, LeaseHeld, LeaseLost, NotFound
from receiver.store import Store

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0


# What every reader of JSON has; JSON itself has no largest integer.
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]


class _LeaseFile(msgspec.Struct):
    owner: str
    generation: _Number
    expires_at_us: _Number
    # The holder's time to live, which may differ from a contender's.
    seconds: float = 0.0


class Watch:
    """How long leases of other holders have been unchanged, by a monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        self._warned: dict[str, str] = {}

    def unchanged_seconds(self, lease: str, etag: str, now: float) -> float:
        """Return for how long a lease has been seen with this etag."""
        seen, since = self._seen.get(lease, ("", now))
        if seen != etag:
            since = now
        self._seen[lease] = etag, since
        return now - since

    def warn(self, lease: str, owner: str) -> bool:
        """Return whether this is the first warning about a lease and its owner."""
        before, self._warned[lease] = self._warned.get(lease), owner
        return before != owner


# Shared by all leases of this process, because each run of a sweep or forwarder makes a new one.
_HERE = Watch()


class Lease:
    """A lease that one owner tries to hold.  Methods block; use from one thread at a time."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        owner: str,
        seconds: float = 60.0,
        now_us: Callable[[], int] = clock.now_us,
        monotonic: Callable[[], float] = time.monotonic,
        watch: Watch = _HERE,
    ) -> None:
        self._store = store
        self._key = f"leases/{name}.json"
        self._owner = owner
        self._seconds = seconds
        self._now_us = now_us
        self._monotonic = monotonic
        self._watch = watch
        self._etag: str | None = None
        self._valid_until = 0.0
        self._loss_counted = False
        self.generation = 0

    def acquire(self) -> None:
        """Take the lease.  Raises `LeaseHeld` if another owner has it."""
        try:
            content, etag = self._store.get_with_etag(self._key)
        except NotFound:
            self._write(generation=1, etag=None)
            return
        written = _read(content)
        if written.owner not in ("", self._owner) and not self._has_run_out(written, etag):
            raise LeaseHeld(f"{written.owner} holds {self._key}")
        self._write(generation=written.generation + 1, etag=etag)

    def renew(self) -> None:
        """Extend the lease by its time to live.  Raises `LeaseLost` if another owner took it."""
        try:
            self._write(generation=self.generation, etag=self._etag)
        except LeaseHeld as exc:
            self._valid_until = 0.0
            raise self._lost(str(exc)) from exc

    def check(self) -> None:
        """Raise `LeaseLost` unless the lease is still ours."""
        if self._monotonic() >= self._valid_until:
            raise self._lost(f"{self._key} ran out")

    def keep(self) -> None:
        """Check the lease, and renew it if less than half of its time is left."""
        self.check()
        if self._monotonic() >= self._valid_until - self._seconds / 2:
            self.renew()

    def release(self) -> None:
        """Release the lease, so that the next owner need not wait for it to run out."""
        if self._etag is None or self._monotonic() >= self._valid_until:
            return
        try:
            self._put(_LeaseFile(owner="", generation=self.generation, expires_at_us=0), self._etag)
        except Conflict:
            return  # another owner took it over
        finally:
            self._valid_until = 0.0

    def _has_run_out(self, written: _LeaseFile, etag: str) -> bool:
        """Return whether another owner's lease may be taken over."""
        seconds = max(self._seconds, written.seconds)
        lease = f"{self._store.identity} {self._key}"
        unchanged = self._watch.unchanged_seconds(lease, etag, self._monotonic())
        left = written.expires_at_us / 1e6 - self._now_us() / 1e6
        if left > 2 * seconds and self._watch.warn(lease, written.owner):
            _log.warning(
                "a lease expires too far ahead: a clock is wrong, there or here",
                extra={"lease": self._key, "owner": written.owner, "seconds_left": round(left)},
            )
        return left <= -_GRACE_SECONDS or unchanged >= seconds + _GRACE_SECONDS

    def _lost(self, why: str) -> LeaseLost:
        # Everything that works under the lease finds out; it is counted once.
        if not self._loss_counted:
            metrics.leases_lost.inc()
            self._loss_counted = True
        return LeaseLost(why)

    def _write(self, *, generation: int, etag: str | None) -> None:
        began = self._monotonic()
        expires_at_us = self._now_us() + int(self._seconds * 1e6)
        content = _LeaseFile(
            owner=self._owner,
            generation=generation,
            expires_at_us=expires_at_us,
            seconds=self._seconds,
        )
        try:
            self._etag = self._put(content, etag)
        except Conflict as exc:
            raise LeaseHeld(f"another instance took {self._key}") from exc
        self.generation = generation
        self._loss_counted = False
        self._valid_until = began + self._seconds

    def _put(self, written: _LeaseFile, etag: str | None) -> str:
        """Write the lease, even over a write of its own whose reply was lost."""
        content = orjson.dumps(msgspec.structs.asdict(written))
        try:
            return self._store.put_if(self._key, content, etag=etag)
        except Conflict:
            own = self._own_etag(written.generation)
            if own is None:
                raise
            return self._store.put_if(self._key, content, etag=own)

    def _own_etag(self, generation: int) -> str | None:
        """Return the current etag of the lease if this owner wrote it in this generation."""
        try:
            content, etag = self._store.get_with_etag(self._key)
        except NotFound:
            return None
        found = _read(content)
        return etag if (found.owner, found.generation) == (self._owner, generation) else None


def _read(content: bytes) -> _LeaseFile:
    try:
        return msgspec.json.decode(content, type=_LeaseFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Not a lease of any known version; the generation begins anew.
        return _LeaseFile(owner="", generation=0, expires_at_us=0)

"""A lease: the right to do something alone, for a while, kept as an object in the bucket.

    leases/<name>.json = {"owner": …, "generation": n, "expires_at_us": …, "seconds": …}

Acquired with `If-None-Match: *`, taken over and renewed with `If-Match`, so of several that try
one wins.  It is valid for its time to live, judged by the holder's own monotonic clock from
before the write that granted it, and taken over only a grace after it ran out, judged by whoever
wants it in one of two ways: by the wall clock, where clocks may differ by that grace; or, however
wrong a clock is, because it was not renewed for all that time while this process looked on.

A holder that slept must not do harm: it asks `check` before each step, and what it writes under
the lease carries its generation.
"""

import logging
import time
from collections.abc import Callable

import msgspec
import orjson

from receiver import clock, metrics
from receiver.errors import Conflict, LeaseHeld, LeaseLost, NotFound
from receiver.store import Store

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0


class _Written(msgspec.Struct):
    owner: str
    generation: int
    expires_at_us: int
    # The holder's time to live, which need not be that of whoever wants it.
    seconds: float = 0.0


class Watch:
    """Since when leases that others hold have stood as they are, by a monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        self._warned: dict[str, str] = {}

    def unchanged_seconds(self, lease: str, etag: str, now: float) -> float:
        """Return for how long a lease has had this etag, as far as was seen here."""
        seen, since = self._seen.get(lease, ("", now))
        if seen != etag:
            since = now
        self._seen[lease] = etag, since
        return now - since

    def warn(self, lease: str, owner: str) -> bool:
        """Say whether this is the first warning of a lease and its owner."""
        before, self._warned[lease] = self._warned.get(lease), owner
        return before != owner


# What this process has seen: each pass of a sweep or a forwarding has a lease object of its own.
_HERE = Watch()


class Lease:
    """One attempt at holding a lease.  All methods block; use from one thread at a time."""

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
        self._told = False
        self.generation = 0

    def acquire(self) -> None:
        """Take the lease.  Raises `LeaseHeld` if somebody has it."""
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
        """Hold it for another time to live.  Raises `LeaseLost` if it is somebody else's."""
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
        """Check, and renew if less than half of the time is left."""
        self.check()
        if self._monotonic() >= self._valid_until - self._seconds / 2:
            self.renew()

    def release(self) -> None:
        """Give it up, so that the next need not wait for it to run out."""
        if self._etag is None or self._monotonic() >= self._valid_until:
            return
        try:
            self._put(_Written(owner="", generation=self.generation, expires_at_us=0), self._etag)
        except Conflict:
            return  # somebody took it over; it is theirs to give up
        finally:
            self._valid_until = 0.0

    def _has_run_out(self, written: _Written, etag: str) -> bool:
        """Say whether another's lease may be taken over."""
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
        # Everyone who works under it finds out for himself; it was lost once.
        if not self._told:
            metrics.leases_lost.inc()
            self._told = True
        return LeaseLost(why)

    def _write(self, *, generation: int, etag: str | None) -> None:
        began = self._monotonic()
        expires_at_us = self._now_us() + int(self._seconds * 1e6)
        content = _Written(
            owner=self._owner,
            generation=generation,
            expires_at_us=expires_at_us,
            seconds=self._seconds,
        )
        try:
            self._etag = self._put(content, etag)
        except Conflict as exc:
            raise LeaseHeld(f"somebody else took {self._key}") from exc
        self.generation = generation
        self._told = False
        self._valid_until = began + self._seconds

    def _put(self, written: _Written, etag: str | None) -> str:
        """Write it, also over what this one wrote without being told that it was written."""
        content = orjson.dumps(msgspec.structs.asdict(written))
        try:
            return self._store.put_if(self._key, content, etag=etag)
        except Conflict:
            own = self._own_etag(written.generation)
            if own is None:
                raise
            return self._store.put_if(self._key, content, etag=own)

    def _own_etag(self, generation: int) -> str | None:
        """Return the etag of the lease as it stands, if this one wrote it, whichever time."""
        try:
            content, etag = self._store.get_with_etag(self._key)
        except NotFound:
            return None
        found = _read(content)
        return etag if (found.owner, found.generation) == (self._owner, generation) else None


def _read(content: bytes) -> _Written:
    try:
        return msgspec.json.decode(content, type=_Written)
    except msgspec.MsgspecError:
        # Written by nobody we know; the generation begins anew.
        return _Written(owner="", generation=0, expires_at_us=0)

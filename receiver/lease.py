"""A lease: the right to do something alone, for a while, kept as an object in the bucket.

    leases/<name>.json = {"owner": …, "generation": n, "expires_at_us": …}

Acquired with `If-None-Match: *`, taken over and renewed with `If-Match`, so of several that try
one wins.  It is valid for its time to live, judged by the holder's own monotonic clock from
before the write that granted it, and taken over only a grace after it ran out, judged by the wall
clock of whoever wants it: clocks may differ by that grace.

A holder that slept must not do harm: it asks `check` before each step, and what it writes under
the lease carries its generation.
"""

import time
from collections.abc import Callable

import msgspec
import orjson

from receiver import clock, metrics
from receiver.errors import Conflict, LeaseHeld, LeaseLost, NotFound
from receiver.store import Store

_GRACE_SECONDS = 10.0


class _Written(msgspec.Struct):
    owner: str
    generation: int
    expires_at_us: int


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
    ) -> None:
        self._store = store
        self._key = f"leases/{name}.json"
        self._owner = owner
        self._seconds = seconds
        self._now_us = now_us
        self._monotonic = monotonic
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
        free_at_us = written.expires_at_us + int(_GRACE_SECONDS * 1e6)
        if written.owner and written.owner != self._owner and self._now_us() < free_at_us:
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
        content = _Written(owner="", generation=self.generation, expires_at_us=0)
        try:
            self._store.put_if(self._key, orjson.dumps(_as_dict(content)), etag=self._etag)
        except Conflict:
            return  # somebody took it over; it is theirs to give up
        finally:
            self._valid_until = 0.0

    def _lost(self, why: str) -> LeaseLost:
        # Everyone who works under it finds out for himself; it was lost once.
        if not self._told:
            metrics.leases_lost.inc()
            self._told = True
        return LeaseLost(why)

    def _write(self, *, generation: int, etag: str | None) -> None:
        began = self._monotonic()
        expires_at_us = self._now_us() + int(self._seconds * 1e6)
        content = _Written(owner=self._owner, generation=generation, expires_at_us=expires_at_us)
        try:
            self._etag = self._store.put_if(self._key, orjson.dumps(_as_dict(content)), etag=etag)
        except Conflict as exc:
            raise LeaseHeld(f"somebody else took {self._key}") from exc
        self.generation = generation
        self._told = False
        self._valid_until = began + self._seconds


def _read(content: bytes) -> _Written:
    try:
        return msgspec.json.decode(content, type=_Written)
    except msgspec.MsgspecError:
        # Written by nobody we know; the generation begins anew.
        return _Written(owner="", generation=0, expires_at_us=0)


def _as_dict(written: _Written) -> dict[str, object]:
    return msgspec.structs.asdict(written)

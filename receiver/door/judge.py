"""The judge: decides what becomes of a request, and builds its answer.  It does no I/O.

A shell reads the request, has it judged step by step, and writes the answer.  `app.Door` is the
shell for ASGI.  For one request it calls:

    delivery = judge.delivery(interrupt, method, path, query, headers, peer)
                                            # None: the path leads to no entrance
    answer = delivery.admit()               # the answer to a HEAD; None: read the body
    delivery.count(len(chunk))              # for each piece of the body
    head = delivery.record(chunks)          # the body is complete
    await judge.log.append(head, chunks, body_bytes=delivery.body_bytes)
    answer = delivery.acknowledge()
    judge.intake.release(delivery)          # always, once the body is no longer in memory
    delivery.report(status)                 # after the answer was written, if `judge.answered`

A step that refuses the request raises; any exception, also one of the shell's own, becomes an
answer by `Delivery.refuse`.  A client that went away gets none: `Delivery.disconnected`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from receiver import clock, log, metrics
from receiver.door import answers
from receiver.door.answers import Answer
from receiver.door.guard import Guard
from receiver.door.intake import Body, Intake
from receiver.door.log import Log
from receiver.errors import ReceiverError, Rejected, SpoolUnavailable
from receiver.providers import Entrance, Provider
from receiver.providers.base import placeholder, query_of, undo_second_encoding
from receiver.providers.envelope import encode_head

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)
_refusals = log.Sparing(_log)


class Answered(NamedTuple):
    """How a request at an entrance was answered.

    ``task_id`` and ``tag`` are what the query of the callback says, decoded; None if it does not.
    ``body_bytes`` counts what was read of the body.  ``reason`` is the slug of a refusal.
    """

    provider: str
    kind: str
    task_id: str | None
    tag: str | None
    body_bytes: int
    status: int
    reason: str | None


@dataclass(slots=True)
class _Way:
    """An entrance, and what it acknowledged since `Judge.count` was last called."""

    provider: str
    entrance: Entrance
    acknowledged: int = 0
    acknowledged_bytes: int = 0


class Judge:
    """Judges the requests of one server process.  For the event loop's thread.

    ``answered`` is called after each request at an entrance was answered; it must not raise.
    While ``draining`` is set, callbacks are taken, but every answer closes its connection.
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        log: Log,
        guard: Guard,
        intake: Intake,
        instance: str,
        answered: Callable[[Answered], None] | None = None,
    ) -> None:
        self.log = log
        self.guard = guard
        self.intake = intake
        self.instance = instance
        self.answered = answered
        self.draining = False
        self._ways = {
            (b"", provider.name.encode(), entrance.kind.encode()): _Way(provider.name, entrance)
            for provider in providers.values()
            for entrance in provider.entrances
        }
        metrics.inflight_bytes.set_function(lambda: intake.inflight_bytes)

    def delivery(
        self,
        interrupt: Callable[[], object],
        method: str,
        path: bytes,
        query: bytes,
        headers: Headers,
        peer: str | None,
    ) -> "Delivery | None":
        """Return the delivery that a request makes, or None if its path leads to no entrance.

        ``path`` and ``query`` are as they stand in the request line, undecoded and without the
        ``?``; the path begins below the prefix under which the application is mounted.  Header
        names are in lower case.  ``peer`` is the client's address.  ``interrupt`` is called if the
        body takes too long: the shell stops reading, and refuses the request with `too_slow`.
        """
        parts = path.split(b"/", 4)
        way = self._ways.get((parts[0], parts[1], parts[2])) if len(parts) > 2 else None
        if way is None:
            return None
        return Delivery(interrupt, self, way, parts[3:], method, path, query, headers, peer)

    def count(self) -> None:
        """Bring the metrics of acknowledged callbacks up to date."""
        for way in self._ways.values():
            labels = (way.provider, way.entrance.kind)
            metrics.acknowledged.labels(*labels).inc(way.acknowledged)
            metrics.acknowledged_bytes.labels(*labels).inc(way.acknowledged_bytes)
            way.acknowledged = way.acknowledged_bytes = 0


@dataclass(slots=True, eq=False, repr=False)
class Delivery(Body):
    """One request at an entrance; the steps are listed at the top of this module."""

    _judge: Judge
    _way: _Way
    # What follows the entrance in the path: the token, and more path.
    _below: list[bytes]
    _method: str
    _path: bytes
    _query: bytes
    _headers: Headers
    _peer: str | None
    _token: bytes = field(init=False)
    _id: str = field(init=False)
    _reason: str | None = field(init=False, default=None)
    body_bytes: int = field(init=False, default=0)

    def admit(self) -> Answer | None:
        """Judge the head; return the answer to a HEAD, or None if the body is to be read.

        Raises `Rejected` or `SpoolUnavailable`.
        """
        self._check_head()
        judge = self._judge
        if self._method == "HEAD":
            return answers.head(closes=judge.draining)
        claimed = _claimed_bytes(self._headers)
        judge.intake.hold(self, claimed)
        if (problem := judge.log.problem(claimed)) is not None:
            raise SpoolUnavailable(problem)
        return None

    def count(self, more: int) -> None:
        """Count bytes of the body that arrived; raises `Rejected` or `SpoolUnavailable`."""
        self.body_bytes += more
        if self.body_bytes > self.held_bytes:
            self._judge.intake.count(self, self.body_bytes)

    def record(self, chunks: Sequence[bytes]) -> bytes:
        """Return the head of the record to append, now that all of the body is in ``chunks``.

        Raises `Rejected` for a bad signature, `SpoolUnavailable` if there is no room.
        """
        judge = self._judge
        judge.intake.complete(self)
        way = self._way
        if way.entrance.signature_header is not None:
            judge.guard.check_signature(way.entrance.signature_header, self._headers, chunks)
        if (problem := judge.log.problem(self.body_bytes)) is not None:
            raise SpoolUnavailable(problem)
        received_at_us = clock.now_us()
        self._id = clock.new_id(received_at_us)
        return encode_head(
            (
                self._id,
                received_at_us,
                way.provider,
                way.entrance.kind,
                "callback",
                self._peer,
                judge.instance,
            ),
            self._method,
            self._path + b"?" + self._query if self._query else self._path,
            self._headers,
            secret=self._token,
        )

    def acknowledge(self) -> Answer:
        """Return the answer to a callback whose record is durable."""
        way = self._way
        way.acknowledged += 1
        way.acknowledged_bytes += self.body_bytes
        return answers.acknowledgement(self._id, closes=self._judge.draining)

    def refuse(self, exc: Exception) -> Answer:
        """Return the answer to a request that failed; counts and logs it."""
        provider = self._way.provider
        if not isinstance(exc, ReceiverError):
            # The provider must keep the callback, whatever went wrong here.
            _log.error("request failed", exc_info=exc, extra={"provider": provider})
            exc = ReceiverError()
        self._reason = exc.reason
        metrics.rejected.labels(provider, exc.reason).inc()
        # `answered` reports the refusal, too: a terminal shows it once.
        if self._judge.answered is None:
            facts = {"status": answers.status_of(exc), "detail": str(exc)}
            _refusals.warning(
                "not acknowledged", reason=exc.reason, extra={"provider": provider, **facts}
            )
        return answers.refusal(exc, closes=self._judge.draining)

    def too_slow(self) -> Rejected | None:
        """Return the refusal of a body that was interrupted, None if this one was not."""
        return self._judge.intake.too_slow() if self.late else None

    def disconnected(self) -> None:
        """Count a client that went away before its body was complete; nothing is stored."""
        metrics.rejected.labels(self._way.provider, "disconnected").inc()

    def report(self, status: int) -> None:
        """Tell `Judge.answered` how the request was answered."""
        if self._judge.answered is None:
            return
        entrance = self._way.entrance
        task_id, tag = self._named() if "$id" in entrance.query else (None, None)
        self._judge.answered(
            Answered(
                self._way.provider,
                entrance.kind,
                task_id,
                tag,
                self.body_bytes,
                status,
                self._reason,
            )
        )

    def _check_head(self) -> None:
        """Raise `Rejected` unless the request may come in."""
        entrance, guard, method = self._way.entrance, self._judge.guard, self._method
        below = self._below
        if len(below) > 1 and below[1] and not entrance.path_follows:
            raise Rejected("unknown_route", "no such route; see `receiver urls`", status=404)
        self._token = guard.check_token(below[0] if below else b"")
        if method not in (entrance.method, "HEAD"):
            detail = f"{entrance.kind} takes {entrance.method}, not {method}"
            allow = f"{entrance.method}, HEAD"
            raise Rejected("wrong_method", detail, status=405, allow=allow)
        guard.check_source(self._way.provider, self._peer)
        if entrance.needs_id and method != "HEAD" and self._named()[0] is None:
            detail = f"register the {entrance.parameter} with {entrance.query}, $id unexpanded"
            raise Rejected("missing_id", detail, status=400)

    def _named(self) -> tuple[str | None, str | None]:
        """Return the task and the tag that the query names."""
        query = query_of("?" + self._query.decode("latin-1"))
        tag = placeholder(query.get("tag"), "$tag")
        return placeholder(query.get("id"), "$id"), tag and undo_second_encoding(tag)


def _claimed_bytes(headers: Headers) -> int:
    for name, value in headers:
        if name == b"content-length":
            # The HTTP parser has checked that it fits 64 bits, but leading zeros have no limit.
            return int(value[-20:]) if value.isdigit() else 0
    return 0

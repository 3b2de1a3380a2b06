"""The door: a callback is let in, made durable, and only then acknowledged.

Nothing else happens while a provider waits.  Only the head is judged, and the signature where the
provider makes one; the body is opaque bytes.  The door is an ASGI endpoint of its own, for at
thousands of callbacks a second a router, a request and a response object each cost as much as
making the callback durable; every other path goes to an ordinary Starlette application.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from receiver import clock, log, metrics
from receiver.door import health
from receiver.door.guard import Guard
from receiver.door.intake import Intake
from receiver.errors import Disconnected, ReceiverError, Rejected, SpoolUnavailable
from receiver.providers import Entrance, Provider
from receiver.providers.base import placeholder, query_of
from receiver.providers.envelope import encode_head
from receiver.spool import ArchiveAck, Spool

_log = logging.getLogger(__name__)
_refusals = log.Sparing(_log)

_Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class _Way:
    """An entrance, and what came through it since `Door.count` was last called."""

    provider: str
    entrance: Entrance
    acknowledged: int = 0
    acknowledged_bytes: int = 0


class Door:
    """The ASGI application of a server process."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        spool: Spool | ArchiveAck,
        unready: Callable[[], str | None] | None = None,
        guard: Guard,
        intake: Intake,
        instance: str,
        version: str,
    ) -> None:
        self._spool = spool
        self._unready = unready or spool.problem
        self._guard = guard
        self._intake = intake
        self._instance = instance
        self.draining = False
        self._ways = {
            (provider.name.encode(), entrance.kind.encode()): _Way(provider.name, entrance)
            for provider in providers.values()
            for entrance in provider.entrances
        }
        metrics.inflight_bytes.set_function(lambda: intake.inflight_bytes)
        self._others = health.create_app(unready=self.unready, version=version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # nothing else is offered; uvicorn refuses it
        parts = scope["raw_path"].split(b"/", 4)
        way = self._ways.get((parts[1], parts[2])) if len(parts) > 2 else None
        if way is None:
            await self._others(scope, receive, send)
            return
        try:
            status, headers, body = await self._take(way, parts[3:], scope, receive)
        except Disconnected:
            metrics.rejected.labels(way.provider, "disconnected").inc()
            return
        except ReceiverError as exc:
            status, headers, body = _refusal(way.provider, exc)
        except Exception:
            # The provider must keep the callback, whatever went wrong here.
            _log.exception("request failed", extra={"provider": way.provider})
            status, headers, body = _refusal(way.provider, ReceiverError())
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _take(
        self, way: _Way, rest: list[bytes], scope: Scope, receive: Receive
    ) -> tuple[int, _Headers, bytes]:
        token = self._admit(way, rest, scope)
        if scope["method"] == "HEAD":
            return 200, [(b"content-type", b"application/json"), (b"content-length", b"0")], b""
        headers: _Headers = scope["headers"]
        claimed = _claimed_bytes(headers)
        holding = self._intake.hold(claimed)
        try:
            self._make_sure_of_room(claimed)
            chunks = await self._intake.read(receive, holding)
            if way.entrance.signature_header is not None:
                self._guard.check_signature(way.entrance.signature_header, headers, chunks)
            return await self._keep(way, token, scope, chunks)
        finally:
            self._intake.release(holding)

    def _admit(self, way: _Way, rest: list[bytes], scope: Scope) -> bytes:
        """Return the token of a request that may come in; raise `Rejected` for all others."""
        entrance = way.entrance
        if len(rest) > 1 and rest[1] and not entrance.path_follows:
            raise Rejected("unknown_route", "no such route; see `receiver urls`", status=404)
        token = self._guard.check_token(rest[0] if rest else b"")
        method = scope["method"]
        if method not in (entrance.method, "HEAD"):
            detail = f"{entrance.kind} takes {entrance.method}, not {method}"
            allow = f"{entrance.method}, HEAD"
            raise Rejected("wrong_method", detail, status=405, allow=allow)
        self._guard.check_source(way.provider, _peer(scope))
        if entrance.needs_id and method != "HEAD":
            query = query_of("?" + scope["query_string"].decode("latin-1"))
            if placeholder(query.get("id"), "$id") is None:
                detail = f"register the {entrance.parameter} with {entrance.query}, $id unexpanded"
                raise Rejected("missing_id", detail, status=400)
        return token

    def _make_sure_of_room(self, body_bytes: int) -> None:
        problem = self._spool.problem(body_bytes)
        if problem is not None:
            raise SpoolUnavailable(problem)

    async def _keep(
        self, way: _Way, token: bytes, scope: Scope, chunks: list[bytes]
    ) -> tuple[int, _Headers, bytes]:
        body_bytes = sum(map(len, chunks))
        self._make_sure_of_room(body_bytes)
        received_at_us = clock.now_us()
        delivery_id = clock.new_id(received_at_us)
        target = scope["raw_path"]
        if query := scope["query_string"]:
            target += b"?" + query
        head = encode_head(
            (
                delivery_id,
                received_at_us,
                way.provider,
                way.entrance.kind,
                "callback",
                _peer(scope),
                self._instance,
            ),
            scope["method"],
            target,
            scope["headers"],
            secret=token,
        )
        await self._spool.append(head, chunks, body_bytes=body_bytes)
        way.acknowledged += 1
        way.acknowledged_bytes += body_bytes
        encoded = delivery_id.encode()
        body = b'{"delivery_id":"' + encoded + b'"}'
        return (
            200,
            [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"x-delivery-id", encoded),
            ],
            body,
        )

    def count(self) -> None:
        """Bring the metrics of acknowledged callbacks up to date."""
        for way in self._ways.values():
            labels = (way.provider, way.entrance.kind)
            metrics.acknowledged.labels(*labels).inc(way.acknowledged)
            metrics.acknowledged_bytes.labels(*labels).inc(way.acknowledged_bytes)
            way.acknowledged = way.acknowledged_bytes = 0

    def unready(self) -> str | None:
        """Return why no callback can be taken now, or None if one can."""
        if self.draining:
            return "draining"
        return self._unready()


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _claimed_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length":
            # The parser has seen that it fits 64 bits; zeros before it are allowed without end.
            return int(value[-20:]) if value.isdigit() else 0
    return 0


def _refusal(provider: str, exc: ReceiverError) -> tuple[int, _Headers, bytes]:
    status = exc.answer_status if isinstance(exc, Rejected) else exc.status
    metrics.rejected.labels(provider, exc.reason).inc()
    extra = {"provider": provider, "status": status, "detail": str(exc)}
    _refusals.warning("not acknowledged", reason=exc.reason, extra=extra)
    body = orjson.dumps({"error": exc.reason, "detail": str(exc)})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if isinstance(exc, Rejected) and exc.allow:
        headers.append((b"allow", exc.allow.encode()))
    if isinstance(exc, Rejected) and exc.closes:
        headers.append((b"connection", b"close"))
    if status == 503:
        headers.append((b"retry-after", b"%d" % health.RETRY_AFTER_SECONDS))
    return status, headers, body

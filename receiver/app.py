"""The door: a callback is let in, made durable, and only then acknowledged.

Nothing else happens while a provider waits.  Only the head is judged, and the signature where the
provider makes one; the body is opaque bytes.  The door is an ASGI endpoint of its own, for at
thousands of callbacks a second a router, a request and a response object each cost as much as
making the callback durable; every other path goes to an ordinary Starlette application.
"""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver import clock, metrics
from receiver.envelope import encode_head
from receiver.errors import Disconnected, ReceiverError, Rejected, SpoolUnavailable
from receiver.providers import Entrance, Provider
from receiver.providers.base import placeholder, query_of
from receiver.spool import Spool

_log = logging.getLogger(__name__)

Mode = Literal["off", "log", "enforce"]
SignatureMode = Literal["required", "if-present", "off"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RETRY_AFTER_SECONDS = 5
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server process takes in."""

    body_bytes_max: int
    body_seconds_max: float
    inflight_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """How the door knows its callers."""

    tokens: Sequence[bytes]
    signature: SignatureMode
    signature_keys: Sequence[bytes]
    sources: Sequence[Network]
    sources_mode: Mode


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
        spool: Spool,
        checks: Checks,
        limits: Limits,
        instance: str,
        version: str,
    ) -> None:
        self._spool = spool
        self._checks = checks
        self._limits = limits
        self._instance = instance
        self._inflight_bytes = 0
        self.draining = False
        self._ways = {
            (provider.name.encode(), entrance.kind.encode()): _Way(provider.name, entrance)
            for provider in providers.values()
            for entrance in provider.entrances
        }
        metrics.inflight_bytes.set_function(lambda: self._inflight_bytes)
        self._others = _health(self, version)

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
        declared = _declared_bytes(headers)
        self._make_sure_of_room(declared)
        # Counted from here on, so that requests that arrive together cannot overrun the limit.
        holding = _Holding(self, declared)
        try:
            chunks = await self._body(receive, holding)
            if way.entrance.signature_header is not None:
                self._check_signature(way.entrance.signature_header, headers, chunks)
            return await self._keep(way, token, scope, chunks, holding)
        finally:
            holding.release()

    def _admit(self, way: _Way, rest: list[bytes], scope: Scope) -> bytes:
        """Return the token of a request that may come in; raise `Rejected` for all others."""
        entrance = way.entrance
        if len(rest) > 1 and rest[1] not in (b"",) and not entrance.path_follows:
            raise Rejected("unknown_route", "no such route; see `receiver urls`", status=404)
        token = self._authentic(rest[0] if rest else b"")
        method = scope["method"]
        if method not in (entrance.method, "HEAD"):
            detail = f"{entrance.kind} takes {entrance.method}, not {method}"
            raise Rejected("wrong_method", detail, status=405)
        if way.provider == "dataforseo" and self._checks.sources_mode != "off":
            self._check_source(scope)
        if entrance.needs_id and method != "HEAD":
            query = query_of("?" + scope["query_string"].decode("latin-1"))
            if placeholder(query.get("id"), "$id") is None:
                detail = f"register the {entrance.parameter} with {entrance.query}, $id unexpanded"
                raise Rejected("missing_id", detail, status=400)
        return token

    def _authentic(self, given: bytes) -> bytes:
        found = b""
        for token in self._checks.tokens:
            # No early exit: how long it takes must not tell which token was nearly right.
            if hmac.compare_digest(token, given):
                found = token
        if not found:
            detail = "wrong or missing token in the path; `receiver urls` prints the right URL"
            raise Rejected("bad_token", detail, status=401)
        return found

    def _check_source(self, scope: Scope) -> None:
        peer = _peer(scope)
        try:
            address = ipaddress.ip_address(peer or "")
            known = any(address in network for network in self._checks.sources)
        except ValueError:
            known = False
        if known:
            return
        _log.warning("unknown source address", extra={"provider": "dataforseo", "peer": peer})
        if self._checks.sources_mode == "enforce":
            detail = "this address is not in RECEIVER_DATAFORSEO_SOURCES"
            raise Rejected("unknown_source", detail, status=401)

    def _check_signature(self, name: bytes, headers: _Headers, chunks: Sequence[bytes]) -> None:
        if self._checks.signature == "off":
            return
        given = next((value for known, value in headers if known == name), None)
        if given is None:
            if self._checks.signature == "required":
                raise Rejected("missing_signature", f"{name.decode()} is required", status=401)
            return
        if not self._checks.signature_keys:
            return  # nothing to check against; `required` without keys does not start
        good = False
        for key in self._checks.signature_keys:
            digest = hmac.new(key, digestmod="sha256")
            for chunk in chunks:
                digest.update(chunk)
            good |= hmac.compare_digest(b"sha256=" + digest.hexdigest().encode(), given.lower())
        if not good:
            detail = f"{name.decode()} fits none of RECEIVER_OUTSCRAPER_API_KEYS"
            raise Rejected("bad_signature", detail, status=401)

    def _make_sure_of_room(self, declared: int) -> None:
        limits = self._limits
        if declared > limits.body_bytes_max:
            raise _too_large(limits.body_bytes_max)
        if self._inflight_bytes + declared > limits.inflight_bytes_max:
            raise SpoolUnavailable("too many bytes in flight (RECEIVER_INFLIGHT_BYTES_MAX)")
        problem = self._spool.problem(declared)
        if problem is not None:
            raise SpoolUnavailable(problem)

    async def _body(self, receive: Receive, holding: "_Holding") -> list[bytes]:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            self._count(holding, len(body))
            return [body] if body else []
        try:
            async with asyncio.timeout(self._limits.body_seconds_max):
                return await self._long_body(message, receive, holding)
        except TimeoutError as exc:
            detail = f"the body took over {self._limits.body_seconds_max:g} s"
            raise Rejected("body_too_slow", detail, status=408) from exc

    async def _long_body(
        self, message: Mapping[str, object], receive: Receive, holding: "_Holding"
    ) -> list[bytes]:
        chunks = []
        body_bytes = 0
        while message["type"] == "http.request":
            chunk = message.get("body", b"")
            assert isinstance(chunk, bytes)
            if chunk:
                chunks.append(chunk)
                body_bytes += len(chunk)
                self._count(holding, body_bytes)
            if not message.get("more_body", False):
                return chunks
            message = await receive()
        raise Disconnected

    def _count(self, holding: "_Holding", body_bytes: int) -> None:
        """Count the bytes that have really come; a Content-Length is only a claim."""
        if body_bytes > self._limits.body_bytes_max:
            raise _too_large(self._limits.body_bytes_max)
        if body_bytes > holding.bytes:
            more = body_bytes - holding.bytes
            if self._inflight_bytes + more > self._limits.inflight_bytes_max:
                raise SpoolUnavailable("too many bytes in flight (RECEIVER_INFLIGHT_BYTES_MAX)")
            holding.grow(more)

    async def _keep(
        self,
        way: _Way,
        token: bytes,
        scope: Scope,
        chunks: list[bytes],
        holding: "_Holding",
    ) -> tuple[int, _Headers, bytes]:
        body_bytes = sum(map(len, chunks))
        problem = self._spool.problem(body_bytes)
        if problem is not None:
            raise SpoolUnavailable(problem)
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

    # The in-flight count, for `_Holding`.

    def add_inflight(self, more: int) -> None:
        """Count body bytes that are being read or made durable; negative when they are done."""
        self._inflight_bytes += more

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
        return self._spool.problem()


class _Holding:
    """The bytes that one request holds of the limit on all bodies in flight."""

    __slots__ = ("_door", "bytes")

    def __init__(self, door: Door, declared: int) -> None:
        self._door = door
        self.bytes = declared
        door.add_inflight(declared)

    def grow(self, more: int) -> None:
        self.bytes += more
        self._door.add_inflight(more)

    def release(self) -> None:
        self._door.add_inflight(-self.bytes)


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _declared_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large(body_bytes_max: int) -> Rejected:
    detail = f"the body is over {body_bytes_max} bytes (RECEIVER_BODY_BYTES_MAX)"
    return Rejected("body_too_large", detail, status=413)


def _refusal(provider: str, exc: ReceiverError) -> tuple[int, _Headers, bytes]:
    status = exc.answer_status if isinstance(exc, Rejected) else exc.status
    metrics.rejected.labels(provider, exc.reason).inc()
    _log.warning(
        "not acknowledged",
        extra={"provider": provider, "reason": exc.reason, "status": status, "detail": str(exc)},
    )
    body = orjson.dumps({"error": exc.reason, "detail": str(exc)})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    return status, headers, body


def _health(door: Door, version: str) -> Starlette:
    """Build the application for every path that is not a way in."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        problem = door.unready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse(
            {"status": "unready", "detail": problem},
            status_code=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )

    async def version_(request: Request) -> Response:
        return JSONResponse({"version": version})

    async def not_found(request: Request, exc: Exception) -> Response:
        metrics.rejected.labels("unknown", "unknown_route").inc()
        detail = "no such route or provider; `receiver urls` prints the right ones"
        return JSONResponse({"error": "unknown_route", "detail": detail}, status_code=404)

    app = Starlette(
        routes=[
            Route(path + slash, endpoint, methods=["GET"])
            for path, endpoint in (
                ("/healthz", healthz),
                ("/readyz", readyz),
                ("/version", version_),
            )
            for slash in ("", "/")
        ],
        exception_handlers={404: not_found},
    )
    app.router.redirect_slashes = False
    return app

"""Refusals of the HTTP layer: answers to what never becomes a request of the application."""

import logging
from dataclasses import dataclass, field

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from receiver import log, metrics
from receiver.door.answers import RETRY_AFTER_SECONDS, json_line

_log = logging.getLogger(__name__)
_spared = log.Sparing(_log)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A complete answer, after which the connection is closed.

    ``reason`` is the slug in the answer, in the metric and in the log.
    """

    status: int
    reason: str
    detail: str
    answer: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        body = json_line({"error": self.reason, "detail": self.detail})
        retry = f"retry-after: {RETRY_AFTER_SECONDS}\r\n" if self.status == 503 else ""
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"{retry}connection: close\r\n\r\n"
        )
        object.__setattr__(self, "answer", STATUS_LINE[self.status] + head.encode() + body)

    def record(self, peer: str | None, why: str = "") -> None:
        """Count the refusal, and log it unless too many were logged in this second.

        ``why`` replaces ``detail`` in the log; it must not repeat what the client sent, which may
        hold a token.
        """
        record(self.reason, peer, why or self.detail, status=self.status)


def record(reason: str, peer: str | None, detail: str, **more: object) -> None:
    """Count and log a connection that was ended, with or without an answer."""
    metrics.rejected.labels("unknown", reason).inc()
    extra = {"peer": peer, "detail": detail, **more}
    _spared.warning("refused by the HTTP layer", reason=reason, extra=extra)


BAD_REQUEST = Refusal(
    400, "bad_request", "not an HTTP/1.1 request; encode spaces and non-ASCII bytes in the target"
)
HEAD_TOO_LARGE = Refusal(
    431, "head_too_large", "the head is too large, or has too many fields (RECEIVER_HEAD_BYTES_MAX)"
)
TOO_MANY_HEADS = Refusal(503, "too_many_heads", "too many incomplete heads are in memory")
TOO_MANY_WAIT = Refusal(
    503, "too_many_pipelined", "too many requests in a row without waiting for an answer"
)
TOO_MANY_CONNECTIONS = Refusal(
    503, "too_many_connections", "too many connections (RECEIVER_CONNECTIONS_MAX)"
)

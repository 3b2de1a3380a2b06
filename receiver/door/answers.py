"""The answers: short JSON bodies that end with a newline, and their headers.

A refusal is ``{"error": slug, "detail": what to do}``.  DataForSEO shows it to its user as
``http_response`` of ``/v3/{api}/errors``.
"""

from typing import TypeAlias

import orjson

from receiver.errors import ReceiverError, Rejected

# How long a provider or a load balancer should wait after a 503.
RETRY_AFTER_SECONDS = 5

# Status, headers with lower-case names, body.
Answer: TypeAlias = tuple[int, list[tuple[bytes, bytes]], bytes]

_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_ACKNOWLEDGED = b'{"delivery_id":"%b"}\n'
_ID_BYTES = 36
_ACKNOWLEDGED_LENGTH = (b"content-length", b"%d" % len(_ACKNOWLEDGED % bytes(_ID_BYTES)))


def json_line(content: object) -> bytes:
    """Return JSON that ends with a newline, so that a terminal's prompt begins a line."""
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def acknowledgement(delivery_id: str, *, closes: bool) -> Answer:
    """Return the answer to a callback that is durable."""
    encoded = delivery_id.encode()
    headers = [_JSON, _ACKNOWLEDGED_LENGTH, (b"x-delivery-id", encoded)]
    if closes:
        headers.append(_CLOSE)
    return 200, headers, _ACKNOWLEDGED % encoded


def head(*, closes: bool) -> Answer:
    """Return the answer to a HEAD."""
    return 200, [_JSON, (b"content-length", b"0"), *([_CLOSE] if closes else [])], b""


def status_of(error: ReceiverError) -> int:
    """Return the status with which an error is answered."""
    return error.answer_status if isinstance(error, Rejected) else error.status


def refusal(error: ReceiverError, *, closes: bool) -> Answer:
    """Return the answer to a request that was refused."""
    status = status_of(error)
    body = json_line({"error": error.reason, "detail": str(error)})
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    if isinstance(error, Rejected):
        closes |= error.closes
        if error.allow:
            headers.append((b"allow", error.allow.encode()))
    if closes:
        headers.append(_CLOSE)
    return status, headers, body

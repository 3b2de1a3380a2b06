"""What was sent, as another parser reads it: h11, which shares no line with the server's.

Where it reads a request and the server took one, both must mean the same request.  What it does
not read is not judged.
"""

import contextlib
from dataclasses import dataclass
from typing import Literal

import h11

_HEAD_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """The requests that bytes hold, and what follows the last of them."""

    requests: tuple[Request, ...]
    rest: Literal["nothing", "incomplete", "refused"]


def read(content: bytes) -> Reading:
    """Read all that one connection carries."""
    requests: list[Request] = []
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES_MAX)
    try:
        parser.receive_data(content)
        while True:
            request = _next(parser)
            if request is None:
                begun = parser.their_state is h11.SEND_BODY or parser.trailing_data[0]
                return Reading(tuple(requests), "incomplete" if begun else "nothing")
            requests.append(request)
            if not _answer(parser):
                return Reading(tuple(requests), "refused")
    except h11.RemoteProtocolError:
        return Reading(tuple(requests), "refused")


def _next(parser: h11.Connection) -> Request | None:
    """Return the next whole request, None if there is none."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return Request(
                method=head.method.decode("latin-1"),
                target=head.target.decode("latin-1"),
                headers=tuple((_text(name), _text(value)) for name, value in head.headers),
                body=body,
            )
        else:
            return None


def _answer(parser: h11.Connection) -> bool:
    """Answer a request, so that the next can be read; say whether there can be one."""
    with contextlib.suppress(h11.LocalProtocolError):
        parser.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()
        return True
    return False


def _text(content: bytes) -> str:
    return bytes(content).decode("latin-1")

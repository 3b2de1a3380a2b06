"""Faults that a test switches on: what a provider's API does on its bad days."""

import threading
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import hdrs, web

# Enough to fill any bound of a caller long before it ends.
ENDLESS_CHUNK = b'{"endless": "' + b"x" * 65_536


class Fault(StrEnum):
    """What goes wrong."""

    # The port is closed and open connections are cut.
    STOPPED = "stopped"
    # The connection is cut without an answer, while the port stays open.
    RESET = "reset"
    # A page for people, HTTP 200, instead of JSON.
    HTML = "html"
    # The call is carried out, then half of its answer is sent as if it were all.
    HALF_JSON = "half_json"
    # The call is carried out, then the connection is cut in the middle of its answer.
    CUT = "cut"
    # An answer that never ends.
    ENDLESS = "endless"
    # 307 to `Active.location`, another host.
    REDIRECT = "redirect"
    # HTTP 500 with a text.
    HTTP_500 = "http_500"
    # HTTP 200 with the provider's own code for an internal error.
    CODED = "coded"
    # The answer waits `Active.seconds` of real time.
    SLOW = "slow"


@dataclass(slots=True, kw_only=True)
class Active:
    """A fault that is switched on."""

    fault: Fault
    # Which family of endpoints it hits; None is all.
    family: str | None = None
    # How many calls it hits; None is all.
    times: int | None = None
    seconds: float = 1.0
    location: str = "http://127.0.0.1:1/elsewhere"


class Faults:
    """The faults that are switched on; may be changed from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Active] = []

    def add(self, active: Active) -> None:
        """Switch a fault on."""
        with self._lock:
            self._active.append(active)

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._active.clear()

    def take(self, family: str) -> Active | None:
        """Return the fault that hits a call, and use up one of its times."""
        with self._lock:
            for active in self._active:
                if active.family in (None, family) and active.times != 0:
                    if active.times is not None:
                        active.times -= 1
                    return active
            return None


def page() -> web.Response:
    """Return a page for people where JSON was asked for."""
    text = (
        "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>"
    )
    return web.Response(text=text, content_type="text/html")


def redirect(location: str) -> web.Response:
    """Return a redirect."""
    return web.Response(status=307, headers={hdrs.LOCATION: location})


def half(response: web.Response) -> web.Response:
    """Return the first half of an answer, as if it were all of it."""
    body = _body(response)
    return web.Response(
        status=response.status, body=body[: len(body) // 2], content_type=response.content_type
    )


async def cut(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Send the first half of an answer that promised to be whole, then cut the connection."""
    body = _body(response)
    stream = web.StreamResponse(
        status=response.status, headers={hdrs.CONTENT_TYPE: response.content_type}
    )
    stream.content_length = len(body)
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    reset(request)
    return stream


async def endless(request: web.Request) -> web.StreamResponse:
    """Send an answer that never ends, as long as the caller reads."""
    stream = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
    stream.enable_chunked_encoding()
    await stream.prepare(request)
    while True:
        await stream.write(ENDLESS_CHUNK)


def reset(request: web.Request) -> None:
    """Cut the connection of a call."""
    if request.transport is not None:
        request.transport.abort()


def _body(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes)
    return body

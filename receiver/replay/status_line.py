"""aiohttp's connections, with the status of answers that its parser refuses.

A target may confirm a callback in an answer that is not valid HTTP, such as a 204 with a body.  Its
status line is clear nevertheless, and sending the callback again would be a second delivery.
"""

import functools
import re
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
_STATUS_BYTES = len(b"HTTP/1.1 200 ")


class StatusConnector(aiohttp.TCPConnector):
    """A connector whose errors about an answer's form have the answer's status.

    They are `aiohttp.ClientResponseError`; without a valid status line, the status is 0.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        handler: type[ResponseHandler] = _StatusHandler
        self._factory = functools.partial(handler, loop=self._loop)


class _StatusHandler(ResponseHandler):
    """Remembers the beginning of each answer."""

    _beginning = b""

    def set_response_params(self, **options: Any) -> None:
        """Begin with the next answer."""
        self._beginning = b""
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if len(self._beginning) < _STATUS_BYTES:
            self._beginning += data[: _STATUS_BYTES - len(self._beginning)]
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Add the status to an error of the parser."""
        if isinstance(exc, HttpProcessingError):
            found = _STATUS.match(self._beginning)
            exc.code = int(found[1]) if found else 0
        super().set_exception(exc, *cause)

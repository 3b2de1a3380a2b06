"""The host names that the admin port answers to: a defence against DNS rebinding.

A web page whose name is suddenly resolved to the admin port's address can read `/status` and
`/metrics` with its visitor's browser, which takes both for one site.  The browser then sends that
name as `Host`, so only names that nobody else can give out are answered.  An IP address has no
name to be rebound.
"""

import ipaddress
import logging
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver import log

_log = logging.getLogger(__name__)

EVERY = "*"
# It and the names below it belong to loopback (RFC 6761 §6.3).
_LOOPBACK = "localhost"
# The longest name (RFC 1035 §2.3.4); what is longer is cut in the log.
_NAME_CHARS = 255
_HINT = "call the port by its IP address, or add the name to RECEIVER_ADMIN_HOSTS"


class OnlyHosts:
    """Passes on the requests whose `Host` may be answered; the others get 421.

    These are loopback names, IP addresses, ``names``, and no `Host` at all, which no browser sends.
    A ``*`` among the names allows every host.  Ports are ignored.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(map(_normal, names))
        self._refused = log.Sparing(_log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        hosts = Headers(scope=scope).getlist("host")
        if all(map(self._is_allowed, hosts)):
            await self._app(scope, receive, send)
            return
        extra: dict[str, object] = {"host": ", ".join(hosts)[:_NAME_CHARS], "hint": _HINT}
        self._refused.warning("unknown host on the admin port", reason="unknown_host", extra=extra)
        # 421: this server does not answer for that name (RFC 9110 §7.4).
        content = {"error": "unknown_host", "detail": f"not a name of this port; {_HINT}"}
        await JSONResponse(content, status_code=421)(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        name = _normal(_without_port(host))
        return (
            EVERY in self._names
            or name in self._names
            or name in ("", _LOOPBACK)
            or name.endswith(f".{_LOOPBACK}")
            or _is_address(name)
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _normal(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

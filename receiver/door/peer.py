"""The address that a callback comes from: the connection's, or what a trusted proxy says."""

import functools
import ipaddress
from typing import Any

from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

# The longest form of an IPv6 address, with an IPv4 address at its end (RFC 4291 §2.2).
_ADDRESS_CHARS = 45


@functools.lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address_or_none(text: str) -> str | None:
    """Return text that is an IP address, None for any other.

    An IPv6 address with a zone is none: a zone may be any text, and means something on one machine
    only (RFC 4007 §11).
    """
    good = len(text) <= _ADDRESS_CHARS and "%" not in text and _is_address(text)
    return text if good else None


class Forwarded(ProxyHeadersMiddleware):
    """Believes `X-Forwarded-For` of trusted proxies where it names an address.

    uvicorn takes whatever text a proxy passes on.  A port behind the address is left out.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: str) -> None:
        super().__init__(app, trusted_proxies)  # type: ignore[arg-type]
        self.trusted_hosts = _Addresses(self.trusted_hosts)  # type: ignore[assignment]


class _Addresses:
    """The trusted proxies of `ProxyHeadersMiddleware`, who name addresses or nobody."""

    def __init__(self, trusted: Any) -> None:
        self._trusted = trusted

    def __contains__(self, host: str | None) -> bool:
        return host in self._trusted

    def get_trusted_client_address(self, forwarded_for: str) -> tuple[str, int]:
        host, port = self._trusted.get_trusted_client_address(forwarded_for)
        # With an empty host the middleware leaves the connection's address as it is.
        return address_or_none(host) or "", port

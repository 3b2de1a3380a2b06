"""What every HTTP client here needs: the proxies of the environment, and why a connection failed.

`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are obeyed as botocore does for S3, upper or lower case.
aiohttp's own `trust_env` is not used, because it also sends the credentials of a `.netrc` file.
"""

import ipaddress
import os
import ssl
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from receiver.errors import SettingsError


class Proxies:
    """The proxies that the environment names when this is made.  Raises `SettingsError`."""

    def __init__(self) -> None:
        named = getproxies()
        self._of: dict[str, URL] = {
            scheme: _proxy(scheme, named[scheme]) for scheme in ("http", "https") if scheme in named
        }

    def of(self, url: URL) -> URL | None:
        """Return the proxy to reach a URL through; None for loopback and what `NO_PROXY` names."""
        proxy = self._of.get(url.scheme)
        if proxy is None or url.host is None or _is_loopback(url.host):
            return None
        return None if proxy_bypass(f"{url.host}:{url.port}") else proxy


def _proxy(scheme: str, text: str) -> URL:
    try:
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme == "http" and url.host:
            return url
    except ValueError:
        pass
    # The text can hold a password.
    raise SettingsError(f"{scheme.upper()}_PROXY is not the URL of an http:// proxy")


def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def why(exc: BaseException) -> str:
    """Return why a request got no answer, without its URL."""
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy answers HTTP {exc.status}"
    if isinstance(exc, aiohttp.ClientResponseError):
        return "the answer is not valid HTTP"
    if isinstance(exc, aiohttp.ClientConnectorError):
        proxy = isinstance(exc, aiohttp.ClientProxyConnectionError)
        return ("the proxy cannot be reached: " if proxy else "") + _of_system(exc.os_error)
    for each in (exc, exc.__cause__):
        if isinstance(each, ssl.SSLError):
            return _of_system(each)
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return type(exc.__cause__ or exc).__name__


def _of_system(exc: OSError) -> str:
    """Return what an error says; an error number of TLS is not one of the operating system."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {exc.verify_message.rstrip('.')}"
    if isinstance(exc, ssl.SSLError):
        reason = (exc.reason or type(exc).__name__).replace("_", " ").lower()
        return f"TLS failed: {reason}"
    # A name that cannot be resolved has no error number of the operating system.
    number = exc.errno or 0
    said = os.strerror(number) if number > 0 else exc.strerror
    return said or type(exc).__name__

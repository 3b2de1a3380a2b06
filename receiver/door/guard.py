"""The guard: checks tokens, signatures and source addresses.

Secrets are compared in constant time, and always with all of those configured, so that the time a
refusal takes reveals nothing about how close a guess was.
"""

import hmac
import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import Literal

from receiver import log
from receiver.errors import Rejected

_log = logging.getLogger(__name__)

SourcesMode = Literal["off", "log", "enforce"]
SignatureMode = Literal["required", "if-present", "off"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Guard:
    """Checks requests; raises `Rejected` with 401 for those that may not come in.

    ``tokens`` are all valid at once, as are ``signature_keys``.  ``sources`` are the networks that
    DataForSEO calls from; ``sources_mode`` says whether other addresses are logged or refused.
    """

    def __init__(
        self,
        *,
        tokens: Sequence[bytes],
        signature: SignatureMode = "if-present",
        signature_keys: Sequence[bytes] = (),
        sources: Sequence[Network] = (),
        sources_mode: SourcesMode = "off",
    ) -> None:
        self._tokens = tokens
        self._signature = signature
        self._signature_keys = signature_keys
        self._sources = sources
        self._sources_mode = sources_mode
        # Behind a load balancer that is not trusted, every callback has an unknown address.
        self._unknown = log.Sparing(_log)

    def check_token(self, given: bytes) -> bytes:
        """Return the token that a request's path holds."""
        found = b""
        for token in self._tokens:
            if hmac.compare_digest(token, given):
                found = token
        if not found:
            detail = "wrong or missing token in the path; `receiver urls` prints the right URL"
            raise Rejected("bad_token", detail, status=401)
        return found

    def check_source(self, provider: str, peer: str | None) -> None:
        """Check the address that a request of DataForSEO comes from.

        Off by default: the provider's list of addresses has changed before, and an address proves
        little.
        """
        if self._sources_mode == "off" or provider != "dataforseo" or self._is_source(peer):
            return
        extra: dict[str, object] = {"provider": provider, "peer": peer}
        self._unknown.warning("unknown source address", reason="unknown_source", extra=extra)
        if self._sources_mode == "enforce":
            detail = "this address is not in RECEIVER_DATAFORSEO_SOURCES"
            raise Rejected("unknown_source", detail, status=401)

    def check_signature(
        self, name: bytes, headers: Iterable[tuple[bytes, bytes]], chunks: Sequence[bytes]
    ) -> None:
        """Check the HMAC-SHA256 of a body, given in header ``name``, against each key."""
        if self._signature == "off":
            return
        given = next((value for known, value in headers if known == name), None)
        if given is None:
            if self._signature == "required":
                raise Rejected("missing_signature", f"{name.decode()} is required", status=401)
            return
        if not self._signature_keys:
            return  # the settings allow `required` only with keys
        # Surrounding whitespace is not part of a header's value (RFC 9110 §5.5).
        given = given.strip().lower()
        good = False
        for key in self._signature_keys:
            digest = hmac.new(key, digestmod="sha256")
            for chunk in chunks:
                digest.update(chunk)
            good |= hmac.compare_digest(b"sha256=" + digest.hexdigest().encode(), given)
        if not good:
            detail = f"{name.decode()} matches none of RECEIVER_OUTSCRAPER_API_KEYS"
            raise Rejected("bad_signature", detail, status=401)

    def _is_source(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped  # written so by proxies with dual-stack sockets
        return any(address in network for network in self._sources)

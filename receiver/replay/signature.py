"""Signatures of requests, by Standard Webhooks.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md: the signed text
is ``id.timestamp.body``, the signature ``v1,`` and the base64 of its HMAC-SHA256; the secret is
``whsec_`` and the base64 of 24 to 64 bytes.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

_PREFIX = "whsec_"


class Signer:
    """Signs with one secret.  Raises `ValueError`, without the text, if it is not a secret."""

    def __init__(self, secret: str) -> None:
        wrong = ValueError(f"a secret is {_PREFIX} and the base64 of 24 to 64 bytes")
        if not secret.startswith(_PREFIX):
            raise wrong
        try:
            self._key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise wrong from None
        if not 24 <= len(self._key) <= 64:
            raise wrong

    def sign(self, identifier: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`; ``timestamp`` is seconds since 1970."""
        return self.sign_steps(identifier, timestamp, (body,))

    def sign_steps(self, identifier: str, timestamp: int, steps: Iterable[bytes]) -> str:
        """Return the value of `webhook-signature` for a body that is given in steps."""
        mac = hmac.new(self._key, f"{identifier}.{timestamp}.".encode(), hashlib.sha256)
        for step in steps:
            mac.update(step)
        return "v1," + base64.b64encode(mac.digest()).decode()

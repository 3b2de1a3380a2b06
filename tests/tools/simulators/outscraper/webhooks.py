"""Webhooks: signed notifications, and the list of those that failed (providers.md §3.3, §3.6)."""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass

import aiohttp
import orjson
from aiohttp import hdrs

from tests.tools.simulators.outscraper.work import PRODUCT, PlatformTask, Request
from tests.tools.simulators.server import Json

SIGNATURE = "X-Hub-Signature-256"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookCall:
    """One attempt, and how it ended."""

    id: str
    url: str
    body: bytes
    at: float
    # 0 where there was no answer; `error` says why.
    http_code: int
    error: str | None

    @property
    def success(self) -> bool:
        """Whether the provider counts it as delivered: 2xx, presumably [I]."""
        return 200 <= self.http_code <= 299

    @property
    def text(self) -> str:
        """What ``/webhook-calls`` says of it; only the form with a code is documented."""
        return f"Status code: {self.http_code}" if self.http_code else f"Error: {self.error}"


def sign(body: bytes, key: str) -> str:
    """Return the signature of a payload: HMAC-SHA256 with the API key (§3.3 [D])."""
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def request_body(request: Request, *, user_id: str, results_base: str) -> bytes:
    """Return the notification of an API request: not the data (§3.3 [D])."""
    return _dumps(
        {
            "id": request.id,
            "user_id": user_id,
            # §3.3 [D]: upper case here, while the requests API says `Success`.
            "status": request.outcome.upper(),
            "api_task": True,
            "results_location": f"{results_base}/requests/{request.id}",
            "quota_usage": [{"product_name": PRODUCT, "quantity": request.usage}],
        }
    )


def task_body(task: PlatformTask, *, user_id: str, results_base: str) -> bytes:
    """Return the notification of a platform task; no such body was ever captured [?]."""
    shown = task.shown(user_id=user_id, file_base=results_base)
    return _dumps(
        shown | {"api_task": False, "results_location": f"{results_base}/tasks/{task.id}"}
    )


async def call(url: str, body: bytes, *, key: str | None, seconds: float) -> tuple[int, str | None]:
    """Make a webhook call; return its HTTP status, or 0 and why there is none."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"}
    if key is not None:
        headers[SIGNATURE] = sign(body, key)
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
        ):
            await reply.read()
            return reply.status, None
    except TimeoutError:
        return 0, "timeout"
    except (aiohttp.ClientError, OSError, ValueError):
        return 0, "connection"


def _dumps(body: Json) -> bytes:
    return orjson.dumps(body)

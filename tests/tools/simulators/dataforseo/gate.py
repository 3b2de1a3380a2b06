"""What a call must pass before it is answered: credentials, account, limits."""

import base64
import secrets

from aiohttp import hdrs, web

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo.envelope import Refusal
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.limits import Limit


class Gate:
    """Lets calls in, or raises `Refusal`; called with the simulator's lock held."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._limits: dict[str, Limit] = {}

    def admit(self, request: web.Request, family: str, open_calls: int) -> None:
        """Let a call in, and count it against the limits."""
        settings = self._settings
        if not _authorized(request, settings):
            raise Refusal(40100)
        if settings.account_code is not None:
            raise Refusal(settings.account_code)
        if open_calls > settings.simultaneous_max:
            raise Refusal(40209)
        per_minute = {
            "tasks_ready": settings.ready_per_minute,
            "status": settings.status_per_minute,
            "id_list": settings.id_list_per_minute,
        }
        name = family
        if family == "tasks_ready" and settings.ready_limit_per == "list":
            name = request.path
        for limit, calls_max in ((name, per_minute.get(family)), ("", settings.calls_per_minute)):
            admitted = self._limits.setdefault(limit, Limit()).admits(
                self._clock.time(), calls_max=calls_max, window=settings.limit_window
            )
            if not admitted:
                raise Refusal(40202)  # §1.1 [D]: inside HTTP 200

    def rate_headers(self) -> dict[str, str]:
        """Return the headers about the general limit."""
        calls_max = self._settings.calls_per_minute
        if calls_max is None:
            return {}
        # §1.1: documented; a probe without credentials did not see them [C].
        left = self._limits.setdefault("", Limit()).remaining(calls_max)
        return {"X-RateLimit-Limit": str(calls_max), "X-RateLimit-Remaining": str(left)}


def segments_of(request: web.Request) -> list[str]:
    return request.path.strip("/").split("/")


def family_of(segments: list[str]) -> str:
    if segments[0] != "v3" or len(segments) < 3:
        return "other"
    if segments[1] == "appendix":
        known = {"errors": "appendix_errors"}
        name = known.get(segments[2], segments[2])
        return (
            name
            if name in ("status", "user_data", "webhook_resend", "appendix_errors")
            else "other"
        )
    if "task_get" in segments:
        return "task_get"
    if segments[1:3] == ["on_page", "summary"] and len(segments) == 4:
        return "summary"
    if segments[1:] == ["on_page", "force_stop"]:
        return "force_stop"
    last = segments[-1]
    if last in ("errors", "id_list"):
        return last if len(segments) == 3 else "other"
    return last if last in ("task_post", "tasks_ready") else "other"


def _authorized(request: web.Request, settings: Settings) -> bool:
    # §1.1 [D]: HTTP Basic with the login and the API password.
    wanted = base64.b64encode(f"{settings.login}:{settings.password}".encode())
    given = request.headers.get(hdrs.AUTHORIZATION, "").encode()
    return secrets.compare_digest(b"Basic " + wanted, given)

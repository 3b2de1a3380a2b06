"""``/v3/appendix``: the state of the service, the account, the codes (providers.md §1.14)."""

from typing import TypeVar

from tests.tools.simulators.dataforseo.envelope import MESSAGES
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.server import Json

K = TypeVar("K", str, tuple[str, str])

# §1.14 [D]
STATUS_VALUES = (
    "ok", "major_outage", "partial_outage", "long_response_time", "long_execution_time",
    "webhook_delay", "send_delay",
)  # fmt: skip
_WEBHOOKS = "postback/pingback"
# The page's own sample (S003), in its order; appendix has null instead of endpoints.
_ENDPOINTS: dict[str, tuple[str, ...] | None] = {
    "serp": ("task_get", "task_post", "live", _WEBHOOKS),
    "keywords_data": ("live", "task_get", "task_post", _WEBHOOKS),
    "appendix": None,
    "dataforseo_labs": ("live",),
    "domain_analytics": ("live", "task_post", "task_get", _WEBHOOKS),
    "merchant": ("task_get", "task_post", _WEBHOOKS),
    "on_page": ("task_post", "task_get", "live", _WEBHOOKS),
    "business_data": ("live", "task_post", "task_get", _WEBHOOKS),
    "backlinks": ("live",),
    "app_data": ("task_post", "task_get", _WEBHOOKS),
    "content_analysis": ("live",),
    "content_generation": ("live",),
}


class ServiceStatus:
    """What the status page says; all is well until a test says otherwise."""

    def __init__(self) -> None:
        self._apis = dict.fromkeys(_ENDPOINTS, "ok")
        self._endpoints = {
            (api, endpoint): "ok" for api, names in _ENDPOINTS.items() for endpoint in names or ()
        }

    def set(self, api: str, status: str, *, endpoint: str | None = None) -> None:
        """Set the status of an API, or of one of its endpoints."""
        if status not in STATUS_VALUES:
            raise ValueError(f"{status!r} is no status; there are {', '.join(STATUS_VALUES)}")
        if endpoint is None:
            self._apis[_known(api, self._apis)] = status
        else:
            self._endpoints[_known((api, endpoint), self._endpoints)] = status

    def result(self) -> list[Json]:
        """Return `result` of the status page."""
        return [
            {
                "api": api,
                "status": self._apis[api],
                "endpoints": names
                and [{"endpoint": name, "status": self._endpoints[api, name]} for name in names],
            }
            for api, names in _ENDPOINTS.items()
        ]


def codes() -> list[Json]:
    """Return the table of codes."""
    return [{"code": code, "message": text} for code, text in MESSAGES.items()]


def user_data(settings: Settings) -> Json:
    """Return the account: its limits, money and prices."""
    # §1.14 [D]; how limits are nested follows the official client's models.
    minute = {
        "total": settings.calls_per_minute,
        "serp": {"tasks_ready": settings.ready_per_minute},
        "appendix": {"status": settings.status_per_minute},
    }
    return {
        "login": settings.login,
        "timezone": "Europe/Kiev",
        "rates": {
            "limits": {"day": {"total": 0}, "minute": minute},
            "statistics": {"day": {"total": 0}, "minute": {"total": 0}},
        },
        "money": {
            "total": 1000,
            "balance": 812.5,
            "limits": {"day": {"total": 0}, "minute": {"total": 0}},
            "statistics": {"day": {"total": 0}, "minute": {"total": 0}},
        },
        "price": {},
        "backlinks_subscription_expiry_date": None,
        "llm_mentions_subscription_expiry_date": None,
    }


def _known(key: K, known: dict[K, str]) -> K:
    if key not in known:
        raise ValueError(f"{key!r} is not on the status page")
    return key

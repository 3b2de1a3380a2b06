"""The APIs of providers: what lets a call in, what limits calls, and how to try the credentials.

A provider without an entry has no API that is known here: its callbacks are taken and archived, and
there is nothing to call or sweep.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from receiver.config import Settings
from receiver.providers import dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.conversation import CallPolicy, Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What lets a call in: headers, or query parameters."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API of one provider."""

    policy: CallPolicy
    # The settings that hold the credentials, for people.
    needs: str
    # Returns the credentials, None if they are not set.
    credentials: Callable[[Settings], Credentials | None]
    # The cheapest call that needs the credentials.
    probe: Callable[[], Conversation[object]]


def _dataforseo(brand: str) -> Api:
    def credentials(settings: Settings) -> Credentials | None:
        login = getattr(settings, f"{brand}_login")
        password = getattr(settings, f"{brand}_password")
        if login is None or password is None:
            return None
        pair = base64.b64encode(f"{login}:{password.get_secret_value()}".encode()).decode()
        return Credentials(headers={"Authorization": f"Basic {pair}"})

    return Api(
        policy=dataforseo_api.POLICY,
        needs=f"RECEIVER_{brand.upper()}_LOGIN and RECEIVER_{brand.upper()}_PASSWORD",
        credentials=credentials,
        probe=dataforseo_api.user_data,
    )


def _diffbot_credentials(settings: Settings) -> Credentials | None:
    token = settings.diffbot_token
    return None if token is None else Credentials(query={"token": token.get_secret_value()})


def _outscraper_credentials(settings: Settings) -> Credentials | None:
    keys = settings.outscraper_api_keys
    return Credentials(headers={"X-API-KEY": keys[0].get_secret_value()}) if keys else None


APIS: Mapping[str, Api] = {
    "dataforseo": _dataforseo("dataforseo"),
    "dataforapps": _dataforseo("dataforapps"),
    "diffbot": Api(
        policy=diffbot_api.POLICY,
        needs="RECEIVER_DIFFBOT_TOKEN",
        credentials=_diffbot_credentials,
        probe=diffbot_api.jobs,
    ),
    "outscraper": Api(
        policy=outscraper_api.POLICY,
        needs="RECEIVER_OUTSCRAPER_API_KEYS",
        credentials=_outscraper_credentials,
        probe=outscraper_api.webhook_calls,
    ),
}

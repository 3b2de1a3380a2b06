"""The providers' APIs: the credentials that let a call in, and the manners to call with."""

import base64
from collections.abc import Mapping

from receiver.config import Settings
from receiver.providers import dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.conversation import Manners

MANNERS: Mapping[str, Manners] = {
    "dataforseo": dataforseo_api.ApiManners(),
    "dataforapps": dataforseo_api.ApiManners(),
    "diffbot": diffbot_api.ApiManners(),
    "outscraper": outscraper_api.ApiManners(),
}
# The settings that hold a provider's credentials.
CREDENTIALS = {
    "dataforseo": "RECEIVER_DATAFORSEO_LOGIN and RECEIVER_DATAFORSEO_PASSWORD",
    "dataforapps": "RECEIVER_DATAFORAPPS_LOGIN and RECEIVER_DATAFORAPPS_PASSWORD",
    "diffbot": "RECEIVER_DIFFBOT_TOKEN",
    "outscraper": "RECEIVER_OUTSCRAPER_API_KEYS",
}


def credentials(
    settings: Settings, provider: str
) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """Return headers and query parameters that let a call in, or None if none are set."""
    if provider == "diffbot":
        token = settings.diffbot_token
        return None if token is None else ({}, {"token": token.get_secret_value()})
    if provider == "outscraper":
        keys = settings.outscraper_api_keys
        return ({"X-API-KEY": keys[0].get_secret_value()}, {}) if keys else None
    login = getattr(settings, f"{provider}_login")
    password = getattr(settings, f"{provider}_password")
    if login is None or password is None:
        return None
    pair = base64.b64encode(f"{login}:{password.get_secret_value()}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}, {}

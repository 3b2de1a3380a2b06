"""Which strings are secrets: those of the settings, and those that libraries read."""

import base64
from collections.abc import Iterator, Mapping

from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.masking import url_secrets, userinfo

_AWS_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
# AWS_ACCESS_KEY_ID is not secret, but it is sent in a header, too.
_AWS_IN_HEADERS = ("AWS_ACCESS_KEY_ID", *_AWS_SECRETS)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def secrets_in(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every secret of the settings and of the environment.

    Of a URL these are user and password, of `RECEIVER_FORWARD_URL` also what `url_secrets` names.
    """
    for secret in (*settings.tokens, *settings.outscraper_api_keys):
        yield secret.get_secret_value()
    if settings.diffbot_token is not None:
        yield settings.diffbot_token.get_secret_value()
    for login, password in (
        (settings.dataforseo_login, settings.dataforseo_password),
        (settings.dataforapps_login, settings.dataforapps_password),
    ):
        if password is not None:
            pair = f"{login}:{password.get_secret_value()}"
            # Basic credentials are sent as Base64, which can be written in other ways again.
            basic = base64.b64encode(pair.encode()).decode()
            yield from (password.get_secret_value(), pair, basic)
    if settings.replay_secret is not None:
        signing = settings.replay_secret.get_secret_value()
        yield from (signing, signing.removeprefix("whsec_"))
    if settings.forward_url is not None:
        yield from url_secrets(settings.forward_url.get_secret_value())
    for name in _AWS_SECRETS:
        yield environ.get(name, "").strip()
    for name in (*_ENDPOINTS, *_PROXIES, *map(str.lower, _PROXIES)):
        yield from userinfo(environ.get(name, ""))


def check_aws(environ: Mapping[str, str]) -> None:
    """Raise `SettingsError` for AWS credentials that cannot be sent, such as one with a newline.

    The HTTP client would refuse the header with a message that repeats it.
    """
    for name in _AWS_IN_HEADERS:
        value = environ.get(name, "")
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise SettingsError(
                f"{name} has white space around it, or characters that no header can hold",
                hint="set it again, without the line break at its end",
            )

"""Which strings of the settings and of the environment are secrets."""

from typing import Any

import pytest
from pydantic import SecretStr

from receiver import config
from receiver.config import Settings
from receiver.instance.secrets import secrets_in
from receiver.masking import Masker

_WHOLE: dict[str, Any] = {
    "tokens": (SecretStr("canary-token-1"), SecretStr("canary-token-2")),
    "outscraper_api_keys": (SecretStr("canary-key-1"), SecretStr("canary-key-2")),
    "dataforseo_login": "login@example.com",
    "dataforseo_password": SecretStr("canary-password"),
    "dataforapps_login": "apps@example.com",
    "dataforapps_password": SecretStr("canary-apps"),
    "diffbot_token": SecretStr("canary-diffbot"),
    "replay_secret": SecretStr("whsec_canary+replay="),
    "forward_url": SecretStr("https://user:canary-pass@hooks.example.net/canary-path?key=canary"),
}


def found(environ: dict[str, str] | None = None, **given: Any) -> set[str]:
    return set(filter(None, secrets_in(Settings(**given), environ or {})))


def test_every_secret_setting_is_a_secret() -> None:
    assert config.SECRETS <= set(_WHOLE)
    secrets = found(**_WHOLE)
    for name in config.SECRETS:
        value = _WHOLE[name]
        for secret in value if isinstance(value, tuple) else (value,):
            assert secret.get_secret_value() in secrets


def test_parts_of_settings_are_secrets_too() -> None:
    secrets = found(**_WHOLE)
    # The key without its prefix, and what Basic credentials are made of.
    assert "canary+replay=" in secrets
    assert "login@example.com:canary-password" in secrets
    assert {"canary-pass", "user:canary-pass", "canary-path", "canary"} <= secrets


def test_no_secret_is_set_by_default() -> None:
    assert set() == found()


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"]
)
def test_credentials_of_aws_are_secrets_without_the_space_around_them(name: str) -> None:
    assert {"canary-aws"} == found({name: " canary-aws\n"})


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "HTTP_PROXY",
        "https_proxy",
        "ALL_PROXY",
    ],
)
@pytest.mark.parametrize("password", ["canary-aws", "canary/aws", "canary%2Faws", "canary@aws"])
def test_user_and_password_of_endpoints_and_proxies_are_secrets(name: str, password: str) -> None:
    masker = Masker(secrets_in(Settings.model_validate({}), {name: f"http://me:{password}@s3:9/"}))
    assert "no route to http://***@s3:9/" == masker.text(f"no route to http://me:{password}@s3:9/")
    assert "***" == masker.text(password)
    assert "http://s3:9/" == masker.text("http://s3:9/")

"""Secrets in force are kept off the screen however they are written, and so is what commands it."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from receiver.cli.masking import Mask, json_text, one_line, printable

from receiver import config

PASSWORD = 'pass"word\\ü/1'
SECRETS = {
    "RECEIVER_TOKENS": "token-one-0123456789,token-two-0123456789",
    "RECEIVER_OUTSCRAPER_API_KEYS": "key-one,key-one-and-more",
    "RECEIVER_DATAFORSEO_LOGIN": "login@example.com",
    "RECEIVER_DATAFORSEO_PASSWORD": PASSWORD,
    "RECEIVER_DATAFORAPPS_LOGIN": "other@example.com",
    "RECEIVER_DATAFORAPPS_PASSWORD": "apps-secret",
    "RECEIVER_DIFFBOT_TOKEN": "diffbot+secret=",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RECEIVER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def mask(monkeypatch: pytest.MonkeyPatch) -> Mask:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return Mask(config.load())


@pytest.mark.parametrize(
    "secret",
    [
        "token-one-0123456789",
        "token-two-0123456789",
        "key-one",
        "key-one-and-more",
        PASSWORD,
        "apps-secret",
        "diffbot+secret=",
        # As HTTP's Basic has it.
        base64.b64encode(f"login@example.com:{PASSWORD}".encode()).decode(),
    ],
)
def test_every_secret_is_masked_in_every_writing(mask: Mask, secret: str) -> None:
    in_json = orjson.dumps({"a": secret}).decode()
    writings = [
        secret,
        in_json,
        orjson.dumps({"nested": in_json}).decode(),
        quote(secret, safe=""),
        quote(secret, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    ]
    for text in writings:
        assert "***" in mask.text(f"before {text} after")
        assert secret not in mask.text(text)
    assert "before *** after" == mask.text(f"before {secret} after")


def test_the_longer_of_two_secrets_is_masked_whole(mask: Mask) -> None:
    assert "*** and ***" == mask.text("key-one-and-more and key-one")


def test_credentials_in_headers_are_masked_whoever_gave_them_out(mask: Mask) -> None:
    headers = [("Authorization", "Basic eDp5"), ("cookie", "a=b"), ("x-id", "token-one-0123456789")]
    assert [("Authorization", "***"), ("cookie", "***"), ("x-id", "***")] == mask.headers(headers)


def test_a_token_that_serve_made_for_itself_is_masked(tmp_path: Path) -> None:
    assert "made-token" == Mask(config.load()).text("made-token")
    path = tmp_path / "data" / "spool" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("made-token\n")
    assert "***" == Mask(config.load()).text("made-token")


def test_without_secrets_nothing_is_masked() -> None:
    assert "text" == Mask(config.load()).text("text")


def test_text_cannot_command_a_terminal() -> None:
    assert "\\x1b[31m a\tb\n \\x9b \\x07 \\u202e ü 🧰" == printable(
        "\x1b[31m a\tb\n \x9b \x07 \u202e ü 🧰"
    )


def test_text_of_strangers_begins_no_line_of_its_own() -> None:
    assert "a\\nb\\tc\\x0dd" == one_line("a\nb\tc\rd")


def test_json_that_commands_no_terminal_says_the_same() -> None:
    said = {"a": "\x1b[31m \x7f\x9b2J\u202e\u2066 ü 🧰\n", "\x90": 1}
    text = json_text(orjson.dumps(said))
    assert text.isprintable()
    assert '"\\u001b[31m \\u007f\\u009b2J\\u202e\\u2066 ü 🧰\\n"' in text
    assert said == orjson.loads(text)

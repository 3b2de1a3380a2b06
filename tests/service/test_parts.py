"""Parts made from settings: the spool's directory, tokens, URLs, store."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from receiver import disk
from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.service import parts
from receiver.store import DirectoryStore

TOKEN = "0123456789abcdef-token"


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(**{"spool": tmp_path / "data" / "spool", **given})


def test_tokens_that_are_set_are_those_in_force(tmp_path: Path) -> None:
    tokens = (SecretStr(TOKEN), SecretStr(TOKEN + "-2"))
    assert [TOKEN, TOKEN + "-2"] == parts.tokens_of(settings(tmp_path, tokens=tokens))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_on_loopback_a_token_is_made_once_and_kept_from_others(tmp_path: Path, host: str) -> None:
    (made,) = parts.tokens_of(settings(tmp_path, host=host))
    assert re.fullmatch("[0-9a-f]{48}", made)
    assert [made] == parts.tokens_of(settings(tmp_path, host=host))
    mode = (tmp_path / "data" / "spool" / "token").stat().st_mode
    assert 0o600 == stat.S_IMODE(mode)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "hooks.example.net"])
def test_where_strangers_can_call_a_token_must_be_set(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="RECEIVER_TOKENS must be set"):
        parts.tokens_of(settings(tmp_path, host=host))


def test_new_tokens_are_long_and_differ() -> None:
    made = {parts.new_token() for _ in range(100)}
    assert 100 == len(made)
    assert {48} == {len(token) for token in made}


def test_the_spool_is_durable_with_every_parent_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = disk.sync_directory

    def sync(path: Path) -> None:
        synced.append(path)
        real(path)

    monkeypatch.setattr(disk, "sync_directory", sync)
    assert tmp_path / "data" / "spool" == parts.spool_root(settings(tmp_path))
    assert [tmp_path, tmp_path / "data"] == synced


def test_making_a_token_makes_the_spool_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    parts.tokens_of(settings(tmp_path))
    spool = tmp_path / "data" / "spool"
    assert [tmp_path, tmp_path / "data", spool] == synced


def test_a_spool_that_cannot_be_made_is_a_settings_error_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for part in (parts.spool_root, parts.tokens_of):
        with pytest.raises(SettingsError, match=r"RECEIVER_SPOOL: cannot make .* name a directory"):
            part(settings(tmp_path))


def test_the_urls_are_those_of_the_door_with_placeholders(tmp_path: Path) -> None:
    public = "https://hooks.example.net/"
    found = parts.urls_of(settings(tmp_path, public_url=public, tokens=(SecretStr(TOKEN),)))
    base = "https://hooks.example.net"
    assert {
        ("dataforseo", "postback_url"): f"{base}/dataforseo/postback/{TOKEN}?id=$id&tag=$tag",
        ("dataforseo", "pingback_url"): f"{base}/dataforseo/pingback/{TOKEN}?id=$id&tag=$tag",
        ("dataforapps", "postback_url"): f"{base}/dataforapps/postback/{TOKEN}?id=$id&tag=$tag",
        ("dataforapps", "pingback_url"): f"{base}/dataforapps/pingback/{TOKEN}?id=$id&tag=$tag",
        ("diffbot", "notifyWebhook"): f"{base}/diffbot/notification/{TOKEN}",
        ("outscraper", "webhook"): f"{base}/outscraper/webhook/{TOKEN}",
    } == {(url["provider"], url["parameter"]): url["url"] for url in found}
    assert {"POST", "GET"} == {url["method"] for url in found}


def test_without_a_public_url_the_listener_is_named(tmp_path: Path) -> None:
    found = parts.urls_of(settings(tmp_path, port=9000, tokens=(SecretStr(TOKEN),)))
    assert found[0]["url"].startswith("http://127.0.0.1:9000/dataforseo/postback/")


@pytest.mark.integration
def test_the_archive_is_a_directory_or_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(parts.store_of(settings(tmp_path)), DirectoryStore)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = parts.store_of(settings(tmp_path, archive="s3://bucket/prefix"))
    assert "s3://bucket/prefix" == store.url
    with pytest.raises(SettingsError, match="RECEIVER_ARCHIVE"):
        parts.store_of(settings(tmp_path, archive="ftp://host/path"))


def test_a_spool_that_cannot_be_made_is_a_settings_error(tmp_path: Path) -> None:
    # Not even root makes a directory there.
    with pytest.raises(SettingsError, match="RECEIVER_SPOOL: cannot make /proc/receiver"):
        parts.spool_root(settings(tmp_path, spool=Path("/proc/receiver")))

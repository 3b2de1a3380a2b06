"""What a receiver builds from its settings, and that it builds it once."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from receiver import disk
from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.instance import Receiver, new_token
from receiver.providers import PROVIDERS
from receiver.store import DirectoryStore

TOKEN = "0123456789abcdef-token"


def receiver(tmp_path: Path, **given: Any) -> Receiver:
    return Receiver(Settings(**{"spool": tmp_path / "data" / "spool", **given}))


def test_tokens_that_are_set_are_those_in_force(tmp_path: Path) -> None:
    tokens = (SecretStr(TOKEN), SecretStr(TOKEN + "-2"))
    assert (TOKEN, TOKEN + "-2") == receiver(tmp_path, tokens=tokens).tokens
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_on_loopback_a_token_is_made_once_and_kept_from_others(tmp_path: Path, host: str) -> None:
    (made,) = receiver(tmp_path, host=host).tokens
    assert re.fullmatch("[0-9a-f]{48}", made)
    assert (made,) == receiver(tmp_path, host=host).tokens
    mode = (tmp_path / "data" / "spool" / "token").stat().st_mode
    assert 0o600 == stat.S_IMODE(mode)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "hooks.example.net"])
def test_where_strangers_can_call_a_token_must_be_set(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="RECEIVER_TOKENS must be set"):
        _ = receiver(tmp_path, host=host).tokens


def test_new_tokens_are_long_and_differ() -> None:
    made = {new_token() for _ in range(100)}
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
    assert tmp_path / "data" / "spool" == receiver(tmp_path).spool_root
    assert [tmp_path, tmp_path / "data"] == synced


def test_making_a_token_makes_the_spool_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    assert receiver(tmp_path).tokens
    spool = tmp_path / "data" / "spool"
    assert [tmp_path, tmp_path / "data", spool] == synced


def test_a_spool_that_cannot_be_made_is_a_settings_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for part in ("spool_root", "tokens"):
        with pytest.raises(SettingsError, match=r"RECEIVER_SPOOL: cannot make .* name a directory"):
            getattr(receiver(tmp_path), part)


def test_the_urls_are_those_of_the_door_with_placeholders(tmp_path: Path) -> None:
    public = "https://hooks.example.net/"
    found = receiver(tmp_path, public_url=public, tokens=(SecretStr(TOKEN),)).urls()
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
    found = receiver(tmp_path, port=9000, tokens=(SecretStr(TOKEN),)).urls()
    assert found[0]["url"].startswith("http://127.0.0.1:9000/dataforseo/postback/")


@pytest.mark.integration
def test_the_archive_is_a_directory_or_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(receiver(tmp_path).store, DirectoryStore)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = receiver(tmp_path, archive="s3://bucket/prefix").store
    assert "s3://bucket/prefix" == store.url
    with pytest.raises(SettingsError, match="RECEIVER_ARCHIVE"):
        _ = receiver(tmp_path, archive="ftp://host/path").store


def test_a_spool_that_cannot_be_made_is_a_settings_error(tmp_path: Path) -> None:
    # Not even root makes a directory there.
    with pytest.raises(SettingsError, match="RECEIVER_SPOOL: cannot make /proc/receiver"):
        _ = receiver(tmp_path, spool=Path("/proc/receiver")).spool_root


def test_parts_are_built_once(tmp_path: Path) -> None:
    it = receiver(tmp_path, tokens=(SecretStr(TOKEN),), diffbot_token=SecretStr("of-diffbot"))
    for part in ("store", "catalog", "shipper", "masker", "tokens"):
        assert getattr(it, part) is getattr(it, part)
    # It remembers what it did.
    assert it.sweep("diffbot") is it.sweep("diffbot")
    # One that cannot use its file must not keep the next from trying.
    assert it.sweep_run("diffbot").catalog is not it.sweep_run("diffbot").catalog


_LOADED = """
import sys
from receiver.config import Settings
from receiver.instance import Receiver
it = Receiver(Settings(archive=sys.argv[1], tokens="0123456789abcdef"))
assert it.masker.text("0123456789abcdef") == "***"
assert it.tokens and it.urls() and it.spool_root and it.store.url
print(*sorted({"aiohttp", "boto3", "rich", "receiver.catalog"} & set(sys.modules)))
"""


@pytest.mark.integration
def test_what_is_heavy_is_imported_only_for_what_needs_it(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED, str(tmp_path / "archive")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\n" == ran.stdout


# Secrets.


def test_the_masker_knows_the_token_that_is_made_before_and_after(tmp_path: Path) -> None:
    first = receiver(tmp_path)
    masker = first.masker
    (made,) = first.tokens
    assert "***" == masker.text(made)
    # Another process of this machine.
    assert "***" == receiver(tmp_path).masker.text(made)


def test_the_token_that_was_made_is_not_in_force_where_others_are_set(tmp_path: Path) -> None:
    (made,) = receiver(tmp_path).tokens
    assert made == receiver(tmp_path, tokens=(SecretStr(TOKEN),)).masker.text(made)


def test_the_parts_of_a_target_are_masked_once_it_is_known(tmp_path: Path) -> None:
    it = receiver(tmp_path)
    assert "http://127.0.0.1:9" == it.form("http://127.0.0.1:9/hook/canary-0001?x=y").origin
    assert "POST /hook/*** to 127.0.0.1:9" == it.masker.text(
        "POST /hook/canary-0001 to 127.0.0.1:9"
    )


@pytest.mark.parametrize("value", ["canary-0001\n", " canary-0001", "canary-\x07001", "canary-ü01"])
@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_credentials_that_cannot_be_sent_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as raised:
        _ = receiver(tmp_path, archive="s3://bucket/prefix").store
    assert "canary" not in str(raised.value)
    # They are nobody's business where the archive is a directory.
    assert receiver(tmp_path).store.url


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_caller_needs_credentials(tmp_path: Path, provider: str) -> None:
    it = receiver(tmp_path)
    assert [] == it.configured
    with pytest.raises(SettingsError, match=f"{provider}: set RECEIVER_{provider.upper()}_"):
        it.caller(provider)


def test_a_secret_that_cannot_sign_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RECEIVER_REPLAY_SECRET") as raised:
        _ = receiver(tmp_path, replay_secret=SecretStr("whsec_canary")).signer
    assert "canary" not in str(raised.value)
    assert receiver(tmp_path).signer is None

"""Credentials that are refused are read again, and the region comes from `AWS_REGION`."""

import os
import sys
from pathlib import Path

import orjson
import pytest

from receiver.errors import SettingsError, StoreRefused
from receiver.store import s3_client
from receiver.store.s3_client import S3Client
from tests.store.fake_s3 import Answer, FakeS3, fake_store

pytestmark = pytest.mark.integration


class Credentials:
    """A shared credentials file, and a store that takes one of its session tokens."""

    def __init__(self, path: Path, server: FakeS3) -> None:
        self.path = path
        self.valid = "first"
        self.code = "ExpiredToken"
        server.refusal = self._refuse

    def write(self, token: str) -> None:
        """Write the file anew."""
        lines = ("[default]", "aws_access_key_id = AKIATEST", "aws_secret_access_key = secret")
        self.path.write_text("\n".join((*lines, f"aws_session_token = {token}\n")))

    def _refuse(self, method: str, headers: dict[str, str]) -> Answer | None:
        valid = headers.get("x-amz-security-token") == self.valid
        return None if valid else (400, self.code)


@pytest.fixture
def credentials(fake_s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    credentials = Credentials(path, fake_s3)
    credentials.write("first")
    return credentials


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "RequestExpired", "InvalidToken", "AccessDenied"]
)
def test_a_request_that_old_credentials_made_is_made_again_with_new_ones(
    credentials: Credentials, fake_s3: FakeS3, code: str
) -> None:
    store = fake_store()
    for key in ("a", "b"):
        store.put(key, b"content")
    credentials.valid, credentials.code = "second", code
    credentials.write("second")
    assert ["a", "b"] == [listed.key for listed in store.list("")]
    assert b"content" == store.get("a")
    # Once refused, then the new ones are used at once.
    assert ["PUT", "PUT", "GET", "GET", "GET"] == [method for method, _, _ in fake_s3.asked]


def test_a_listing_goes_on_at_the_page_where_the_credentials_expired(
    credentials: Credentials,
) -> None:
    store = fake_store()
    keys = [f"many/{number}" for number in range(8)]
    for key in keys:
        store.put(key, b"x")
    listing = store.list("many/")
    first = next(listing).key
    credentials.valid = "second"
    credentials.write("second")
    assert keys == [first, *(listed.key for listed in listing)]


def test_while_they_are_refused_they_are_read_again_at_an_interval(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "RENEW_SECONDS", 3600)
    store = fake_store()
    store.put("a", b"content")
    credentials.valid = "second"
    with pytest.raises(StoreRefused, match="ExpiredToken; the session token has expired"):
        store.get("a")
    credentials.write("second")
    with pytest.raises(StoreRefused, match="ExpiredToken"):
        store.get("a")
    monkeypatch.setattr(s3_client, "RENEW_SECONDS", 0)
    store._s3._renew_at = 0
    assert b"content" == store.get("a")


@pytest.mark.parametrize("half", ["", "[default\n", "[default]\naws_access_key_id = AKIATEST\n"])
def test_a_file_that_is_half_written_is_read_again(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    monkeypatch.setattr(s3_client, "RENEW_SECONDS", 0)
    store = fake_store()
    store.put("a", b"content")
    credentials.valid = "second"
    credentials.path.write_text(half)
    for _ in range(2):
        with pytest.raises(StoreRefused):
            store.get("a")
    credentials.write("second")
    assert b"content" == store.get("a")


def test_credentials_that_come_later_are_found(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "RENEW_SECONDS", 0)
    credentials.path.unlink()
    store = fake_store()
    with pytest.raises(StoreRefused, match="no credentials"):
        store.put("a", b"content")
    credentials.write("first")
    store.put("a", b"content")


class Program:
    """A profile whose credentials a program prints."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer = root / "answer.json"
        program = root / "program.py"
        program.write_text(
            f"import sys\ntext = open({str(self.answer)!r}).read()\n"
            "sys.exit(text) if text[:1] == '!' else print(text)\n"
        )
        config = root / "config"
        config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    def says(self, token: str, expires: str | None = None) -> None:
        """Make it print credentials, that expire at a time if one is given."""
        answer = {"Version": 1, "AccessKeyId": "AKIATEST", "SecretAccessKey": "secret"}
        more = {"Expiration": expires} if expires else {}
        self.answer.write_bytes(orjson.dumps({**answer, "SessionToken": token, **more}))


@pytest.fixture
def program(credentials: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr(s3_client, "RENEW_SECONDS", 0)
    return Program(tmp_path, monkeypatch)


@pytest.mark.parametrize("expires", [None, "2999-01-01T00:00:00Z"])
def test_a_program_is_asked_for_new_credentials(
    credentials: Credentials, program: Program, expires: str | None
) -> None:
    program.says("first", expires)
    store = fake_store()
    store.put("a", b"content")
    credentials.valid = "second"
    program.says("second", expires)
    assert b"content" == store.get("a")


def test_a_program_whose_credentials_have_expired_is_reported_in_a_line(
    credentials: Credentials, program: Program
) -> None:
    program.says("first", "2001-01-01T00:00:00Z")
    store = fake_store()
    expected = "cannot put a: cannot get credentials: .*still expired.; correct or renew the cred"
    with pytest.raises(StoreRefused, match=expected):
        store.put("a", b"content")
    first = next(store.checks())
    assert (False, True) == (first.good, first.refused)
    program.says("first", "2999-01-01T00:00:00Z")
    store.put("a", b"content")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("!signed out\nsign in at once", "custom-process: !signed out sign in at once;"),
        ("no JSON", "Expecting value"),
        ("[]", "cannot get credentials"),
        ('{"Version": 2}', "Unsupported version"),
    ],
)
def test_a_program_that_fails_is_reported_in_a_line(
    program: Program, answer: str, expected: str
) -> None:
    program.answer.write_text(answer)
    with pytest.raises(SettingsError, match=expected) as caught:
        fake_store()
    assert "\n" not in str(caught.value)
    assert "correct or renew the credentials" == caught.value.hint.partition(" of ")[0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", r"profile \(night\) could not be found; correct AWS_PROFILE"),
        ("[profile night]\ncredential_process = /no/such/program\n", "No such file"),
        (
            "[profile night]\nsso_account_id = 1\nsso_role_name = r\nsso_region = us-east-1\n"
            "sso_start_url = https://example.com/start\n",
            "cannot get credentials: .*; sign in again with `aws sso login`",
        ),
        ("[profile night\n", "Unable to parse config file"),
    ],
)
def test_a_profile_that_cannot_be_used_is_reported_with_a_hint(
    credentials: Credentials,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: str,
    expected: str,
) -> None:
    path = tmp_path / "config"
    path.write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises((SettingsError, StoreRefused), match=expected) as caught:
        fake_store().put("a", b"content")
    assert 3 == caught.value.exit_status


@pytest.mark.parametrize(
    ("region", "default", "endpoint"),
    [
        ("cn-north-1", None, "https://s3.cn-north-1.amazonaws.com.cn"),
        ("eu-central-1", None, "https://s3.eu-central-1.amazonaws.com"),
        ("eu-central-1", "", "https://s3.eu-central-1.amazonaws.com"),
        ("eu-central-1", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        (None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
    ],
)
def test_the_region_of_the_environment_leads_to_its_endpoint(
    fake_s3: FakeS3,
    monkeypatch: pytest.MonkeyPatch,
    region: str | None,
    default: str | None,
    endpoint: str,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    for name, value in (("AWS_REGION", region), ("AWS_DEFAULT_REGION", default)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert endpoint == S3Client(timeout_seconds=1, connections=1).endpoint

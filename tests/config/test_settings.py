"""Settings: where they come from, and errors that name the variable and never the value."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver import config
from receiver.config import Settings, load, variable
from receiver.errors import SettingsError

TOKEN = "0123456789abcdef-token"
NOT_SHOWN = "do-not-show-this-value"


@pytest.fixture(autouse=True)
def _environment_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # `load` adds what a file `.env` says to the environment, behind the back of monkeypatch.
    before = dict(os.environ)
    for name in before:
        if name.startswith("RECEIVER_") or name == "FORWARDED_ALLOW_IPS":
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return why these variables are refused."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert 3 == caught.value.exit_status
    return str(caught.value)


def test_the_defaults_are_those_of_the_embedded_receiver() -> None:
    settings = load()
    assert ("data/archive", Path("data/spool")) == (settings.archive, settings.spool)
    assert ("127.0.0.1", 8000, 1) == (settings.host, settings.port, settings.workers)
    assert ("127.0.0.1", 8001) == (settings.admin_host, settings.admin_port)
    assert () == settings.tokens
    assert "spool" == settings.ack
    assert 64 << 20 == settings.body_bytes_max
    assert 512 << 20 == settings.inflated_bytes_max
    assert (16 << 20, 10.0) == (settings.batch_bytes, settings.batch_seconds)
    assert ("gzip", "if-present", "off") == (
        settings.compression,
        settings.outscraper_signature,
        settings.dataforseo_sources_mode,
    )
    assert 75 == settings.keep_alive_seconds
    assert settings.public_url is None
    assert settings.instance


def test_every_setting_has_a_variable_and_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert variable(name).startswith("RECEIVER_") or variable(name) == "FORWARDED_ALLOW_IPS"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_ARCHIVE", "s3://bucket/prefix")
    monkeypatch.setenv("RECEIVER_PORT", "0")
    monkeypatch.setenv("RECEIVER_BODY_BYTES_MAX", "1 MiB")
    monkeypatch.setenv("RECEIVER_BATCH_SECONDS", "2.5")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    settings = load()
    assert "s3://bucket/prefix" == settings.archive
    assert 0 == settings.port
    assert 1 << 20 == settings.body_bytes_max
    assert 2.5 == settings.batch_seconds
    assert "10.0.0.0/8" == settings.forwarded_allow_ips


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_TOKENS", f"{TOKEN}-1, {TOKEN}-2 ,")
    monkeypatch.setenv("RECEIVER_DATAFORSEO_SOURCES", "144.76.154.130,2001:db8::/32")
    settings = load()
    assert [f"{TOKEN}-1", f"{TOKEN}-2"] == [token.get_secret_value() for token in settings.tokens]
    assert ["144.76.154.130/32", "2001:db8::/32"] == list(map(str, settings.dataforseo_sources))


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_PORT", "1111")
    monkeypatch.setenv("RECEIVER_HOST", "127.0.0.2")
    settings = load(port=2222, host=None)
    assert (2222, "127.0.0.2") == (settings.port, settings.host)


def test_settings_do_not_change() -> None:
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize("field", sorted(config.SECRETS))
def test_a_secret_may_stand_in_a_file(
    field: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{TOKEN}\n")
    monkeypatch.setenv(variable(field) + "_FILE", str(tmp_path / "secret"))
    if field.endswith("_password"):
        monkeypatch.setenv(variable(field).replace("PASSWORD", "LOGIN"), "login")
    value = getattr(load(), field)
    secret = value[0] if isinstance(value, tuple) else value
    assert TOKEN == secret.get_secret_value()


def test_a_file_may_hold_several_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{TOKEN}-1,{TOKEN}-2\n")
    monkeypatch.setenv("RECEIVER_TOKENS_FILE", str(tmp_path / "secret"))
    assert [f"{TOKEN}-1", f"{TOKEN}-2"] == [token.get_secret_value() for token in load().tokens]


def test_every_field_that_is_secret_may_stand_in_a_file_and_is_redacted() -> None:
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert secret == config.SECRETS


def test_a_secret_in_both_places_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(TOKEN)
    why = refused(
        monkeypatch, RECEIVER_TOKENS=NOT_SHOWN, RECEIVER_TOKENS_FILE=str(tmp_path / "secret")
    )
    assert "set RECEIVER_TOKENS or RECEIVER_TOKENS_FILE, not both" == why


def test_a_secret_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    why = refused(monkeypatch, RECEIVER_TOKENS_FILE="nowhere")
    assert "RECEIVER_TOKENS_FILE: cannot read nowhere: No such file or directory" == why


def test_a_secret_file_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    why = refused(monkeypatch, RECEIVER_TOKENS_FILE=sys.executable)
    assert f"RECEIVER_TOKENS_FILE: {sys.executable} is not text (UTF-8)" == why


def test_a_secret_file_that_is_empty_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("\n")
    why = refused(monkeypatch, RECEIVER_TOKENS_FILE="secret")
    assert "RECEIVER_TOKENS_FILE: secret is empty" == why


def test_secrets_are_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_TOKENS", TOKEN)
    monkeypatch.setenv("RECEIVER_OUTSCRAPER_API_KEYS", "key-of-outscraper")
    # As a whole: user, password, path and query can all be secrets.
    monkeypatch.setenv("RECEIVER_FORWARD_URL", "https://hooks.example.net/token-of-the-target")
    monkeypatch.setenv("RECEIVER_REPLAY_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    settings = load()
    shown = f"{settings} {settings!r} {settings.model_dump_json()}"
    for secret in (TOKEN, "key-of-outscraper", "token-of-the-target", "hooks.example", "MfKQ9r8G"):
        assert secret not in shown


def test_nothing_is_forwarded_or_signed_unless_it_is_asked_for() -> None:
    settings = load()
    assert settings.forward_url is None
    assert settings.replay_secret is None
    assert (16, 7, False) == (
        settings.forward_concurrency,
        settings.forward_late_days,
        settings.forward_gzip,
    )
    assert 30.0 == settings.target_timeout_seconds
    assert Path("data/jobs") == settings.jobs


def test_another_process_is_given_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_FORWARD_URL", "https://hooks.example.net/token-of-the-target")
    monkeypatch.setenv("RECEIVER_JOBS", "/var/lib/jobs")
    settings = load()
    assert settings == config.restore(config.dump(settings))


def test_a_file_env_adds_what_the_environment_does_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        f"RECEIVER_TOKENS={TOKEN}\nRECEIVER_PORT=3333\nAWS_REGION=eu-central-1\n"
    )
    monkeypatch.setenv("RECEIVER_PORT", "4444")
    monkeypatch.delenv("AWS_REGION", raising=False)
    settings = load()
    assert [TOKEN] == [token.get_secret_value() for token in settings.tokens]
    assert 4444 == settings.port
    assert "eu-central-1" == os.environ["AWS_REGION"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RECEIVER_ARCHIV", "RECEIVER_ARCHIVE"),
        ("RECEIVER_TOKEN", "RECEIVER_TOKENS"),
        ("RECEIVER_TOKEN_FILE", "RECEIVER_TOKENS_FILE"),
        ("RECEIVER_PORT_FILE", "RECEIVER_PORT"),
        ("RECEIVER_FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS"),
        ("receiver_prot", "RECEIVER_PORT"),
        ("receiver_port", "RECEIVER_PORT"),
        ("Receiver_Port", "RECEIVER_PORT"),
        ("forwarded_allow_ips", "FORWARDED_ALLOW_IPS"),
    ],
)
def test_an_unknown_name_is_refused_with_what_it_may_mean(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    why = refused(monkeypatch, **{name: NOT_SHOWN})
    assert f"unknown setting {name}; did you mean {meant}? `receiver config` lists all" == why


@pytest.mark.parametrize("name", ["RECEIVER_", "RECEIVER_XYZZY"])
def test_an_unknown_name_that_is_like_no_other_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    why = refused(monkeypatch, **{name: NOT_SHOWN})
    assert f"unknown setting {name}; `receiver config` lists all" == why


def test_an_unknown_name_in_a_file_env_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"RECEIVER_TOKEN={NOT_SHOWN}\n")
    assert "RECEIVER_TOKEN;" in refused(monkeypatch)


@pytest.mark.parametrize(
    "content",
    [b"RECEIVER_PORT=\xff\n", "RECEIVER_PORT=1\n".encode("utf-16"), b"R\0E\0C\0=\0001\0"],
)
def test_a_file_env_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert ".env is not text (UTF-8)" == refused(monkeypatch)


def test_a_byte_order_mark_is_no_part_of_what_a_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RECEIVER_PORT=4321\n", "utf-8-sig")
    (tmp_path / "secret").write_text(TOKEN, "utf-8-sig")
    monkeypatch.setenv("RECEIVER_TOKENS_FILE", "secret")
    settings = load()
    assert (4321, [TOKEN]) == (settings.port, [t.get_secret_value() for t in settings.tokens])


# Of `FORWARDED_ALLOW_IPS` the empty value has a meaning.
NEVER_EMPTY = [variable(name) for name in Settings.model_fields if name != "forwarded_allow_ips"]


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_refused_whatever_it_is_of(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    why = refused(monkeypatch, **dict.fromkeys(NEVER_EMPTY, value))
    told = [f"{name} is empty: set it, or leave it out" for name in NEVER_EMPTY]
    assert told == why.split("; ")


def test_an_empty_list_and_an_empty_argument_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that listens on "" listens everywhere.
    with pytest.raises(SettingsError, match="RECEIVER_HOST is empty: set it, or leave it out"):
        load(host="")
    why = refused(monkeypatch, RECEIVER_TOKENS=" , ")
    assert "RECEIVER_TOKENS is empty: set it, or leave it out" == why


@pytest.mark.parametrize("field", sorted(config.SECRETS))
def test_an_empty_name_of_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    name = f"{variable(field)}_FILE"
    assert f"{name} is empty: set it, or leave it out" == refused(monkeypatch, **{name: ""})


def test_no_proxy_is_believed_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    assert load().forwarded_allow_ips == ""


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("RECEIVER_BATCH_BYTES", "lots", "must be a size such as 64MiB or 67108864, above 0"),
        (
            "RECEIVER_BODY_BYTES_MAX",
            "4GiB",
            "must be a size such as 64MiB or 67108864, above 0, at most 2GiB",
        ),
        ("RECEIVER_DISK_RESERVE_BYTES", "-1", "must be a size such as 64MiB or 67108864"),
        ("RECEIVER_PORT", "http", "must be a whole number, 0 to 65535"),
        ("RECEIVER_PORT", "70000", "must be a whole number, 0 to 65535"),
        ("RECEIVER_SWEEP_TASKS_MAX", "0", "must be a whole number, 1 or more"),
        ("RECEIVER_LEASE_SECONDS", "1", "must be a number of seconds, 5 or more"),
        ("RECEIVER_BATCH_SECONDS", "0", "must be a number of seconds, above 0"),
        ("RECEIVER_FORWARD_GZIP", "perhaps", "must be true or false"),
        ("RECEIVER_LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        (
            "RECEIVER_DATAFORSEO_SOURCES",
            "1.0.0.0/8, 1.2.3.4/8",
            "entry 2 is not an address or network; "
            "a network has only zeros after its prefix (1.0.0.0/8)",
        ),
        (
            "RECEIVER_DATAFORSEO_FAMILIES",
            "serp,on_page?",
            "lists are named by their paths, such as serp or serp/google/organic",
        ),
    ],
)
def test_a_bad_value_is_told_what_would_be_good(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    assert f"{name}: {why}" == refused(monkeypatch, **{name: value})


def test_choices_take_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_LOG_LEVEL", "INFO")
    monkeypatch.setenv("RECEIVER_COMPRESSION", "Zstd")
    settings = load()
    assert ("info", "zstd") == (settings.log_level, settings.compression)


SECONDS = [name for name, field in Settings.model_fields.items() if field.annotation is float]


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_time_is_a_finite_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert len(SECONDS) > 10
    why = refused(monkeypatch, **{variable(name): value for name in SECONDS})
    assert [variable(name) for name in SECONDS] == [part.split(":")[0] for part in why.split("; ")]


URLS = [variable(name) for name in Settings.model_fields if name.endswith("_url")]


@pytest.mark.parametrize("name", sorted(set(URLS) - {"RECEIVER_FORWARD_URL"}))
def test_an_address_has_a_host_and_a_path_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for good in (
        "http://h",
        "https://h.example.net:8080/a/b@c/",
        "HTTP://[::1]:80",
        "https://ü.de",
    ):
        monkeypatch.setenv(name, good)
        assert good in (getattr(load(), field) for field in Settings.model_fields)
    for bad in (
        "hooks.example.net",
        "ftp://h",
        "http://",
        "http:///a",
        "https://h/a?b",
        "https://h/a#c",
        f"https://{NOT_SHOWN}@h",
        f"https://me:{NOT_SHOWN}@h/a",
        "https://h/a b",
        "https://h\n",
        "https://h:port",
        "https://h:65536",
        "https://h\\@other/",
    ):
        why = refused(monkeypatch, **{name: bad})
        assert why.startswith(f"{name}: must be http(s)://host[/path], without user, "), bad
        assert NOT_SHOWN not in why


BAD = {
    "RECEIVER_PORT": ["-1", "65536", "eight"],
    "RECEIVER_WORKERS": ["0", "257", "1.5"],
    "RECEIVER_BODY_BYTES_MAX": ["0", "-5", "many", ""],
    "RECEIVER_BATCH_SECONDS": ["0", "-1", "soon"],
    "RECEIVER_DRAIN_SECONDS": ["-1"],
    "RECEIVER_DISK_RESERVE_BYTES": ["-1"],
    "RECEIVER_COMPRESSION": ["lzma"],
    "RECEIVER_OUTSCRAPER_SIGNATURE": ["sometimes"],
    "RECEIVER_DATAFORSEO_SOURCES": ["not-a-network", "10.0.0.1/8"],
    "RECEIVER_LOG_FORMAT": ["xml"],
    "RECEIVER_ACK": ["memory"],
    "RECEIVER_FORWARD_CONCURRENCY": ["0", "1025", "many"],
    "RECEIVER_FORWARD_LATE_DAYS": ["0", "367", "1.5"],
    "RECEIVER_FORWARD_GZIP": ["perhaps"],
    "RECEIVER_TARGET_TIMEOUT_SECONDS": ["0", "-1", "soon"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    why = refused(monkeypatch, **{name: value})
    assert why.startswith((f"{name}: ", f"{name} is empty: "))


@pytest.mark.parametrize("name", sorted(set(BAD) | {"RECEIVER_TOKENS"}))
def test_a_bad_value_is_never_repeated(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    why = refused(monkeypatch, **{name: NOT_SHOWN + "/%"})
    assert NOT_SHOWN not in why
    assert name in why


@pytest.mark.parametrize(
    "token", ["short", "x" * 201, "with space in it", "ümlaut-token", "a/b/c/d/e"]
)
def test_a_token_that_is_not_url_safe_is_refused(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    why = refused(monkeypatch, RECEIVER_TOKENS=token)
    assert why.startswith("RECEIVER_TOKENS: a token is 8 to 200 of")
    assert token not in why


CROSS_CHECKS: list[tuple[dict[str, str], str]] = [
    (
        {"RECEIVER_BODY_BYTES_MAX": "10 MiB", "RECEIVER_INFLIGHT_BYTES_MAX": "9 MiB"},
        "RECEIVER_INFLIGHT_BYTES_MAX must be at least RECEIVER_BODY_BYTES_MAX",
    ),
    (
        {"RECEIVER_OUTSCRAPER_SIGNATURE": "required"},
        "RECEIVER_OUTSCRAPER_SIGNATURE=required needs RECEIVER_OUTSCRAPER_API_KEYS",
    ),
    (
        {"RECEIVER_DATAFORSEO_SOURCES_MODE": "enforce"},
        "RECEIVER_DATAFORSEO_SOURCES_MODE needs addresses in RECEIVER_DATAFORSEO_SOURCES",
    ),
]


@pytest.mark.parametrize(("variables", "why"), CROSS_CHECKS)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    assert refused(monkeypatch, **variables).startswith(why)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    why = refused(monkeypatch, RECEIVER_PORT="eight", RECEIVER_WORKERS="0")
    assert "RECEIVER_PORT: " in why
    assert "RECEIVER_WORKERS: " in why


def test_defaults_are_valid_together() -> None:
    defaults: dict[str, Any] = {name: getattr(load(), name) for name in Settings.model_fields}
    assert load() == Settings(**defaults)

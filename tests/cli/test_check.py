"""`receiver check`, and a start that is refused for the same reasons."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import TOKEN, Command, Outcome
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo


def checks(outcome: Outcome) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in outcome.rows}


def test_all_checks_pass_on_the_embedded_default(receiver: Command) -> None:
    outcome = receiver("check", "--output", "json", DISK_RESERVE_BYTES="0")
    assert 0 == outcome.status, outcome.out
    found = checks(outcome)
    assert {"ok"} == {row["result"] for row in found.values()}
    assert {"settings", "tokens", "spool", "disk", "clock", "archive"} <= set(found)
    assert ["token"] == [path.name for path in Path("data/spool").iterdir()]


@pytest.mark.parametrize(
    ("variables", "good", "said"),
    [
        (
            {"FORWARD_URL": "https://example.com/hook/s3cr3t"},
            True,
            "https://example.com, not signed",
        ),
        ({"FORWARD_URL": "ftp://example.com/s3cr3t"}, False, "must begin with http"),
        ({"FORWARD_URL": "http://h/", "REPLAY_SECRET": "whsec_s3cr3t"}, False, "REPLAY_SECRET"),
    ],
)
def test_where_it_forwards_to_is_checked_and_not_shown(
    receiver: Command, variables: dict[str, str], good: bool, said: str
) -> None:
    checked = receiver("check", "--output", "json", TOKENS=TOKEN, **variables)
    (forward,) = (row for row in checked.rows if row["check"] == "forward")
    assert ("ok" if good else "FAILED") == forward["result"]
    assert said in forward["detail"]
    assert "s3cr3t" not in checked.out + checked.err
    assert (0 if good else 3) == checked.status


@pytest.mark.parametrize(
    ("trusted", "good"),
    [("127.0.0.1, 10.0.0.0/8", True), ("*", False), ("10.0.0.1, 0.0.0.0/0", False)],
)
def test_addresses_that_any_caller_can_name_are_no_sources(
    receiver: Command, monkeypatch: pytest.MonkeyPatch, trusted: str, good: bool
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    given = {"DATAFORSEO_SOURCES": "192.0.2.1", "DISK_RESERVE_BYTES": "0", "TOKENS": TOKEN}
    outcome = receiver("check", "--output", "json", **given, DATAFORSEO_SOURCES_MODE="enforce")
    sources = checks(outcome)["sources"]
    assert ("ok" if good else "FAILED") == sources["result"]
    assert good or "FORWARDED_ALLOW_IPS" in sources["hint"]
    assert (0 if good else 1) == outcome.status
    assert "sources" not in checks(receiver("check", "--output", "json", **given))


@pytest.mark.parametrize(
    ("name", "variables", "status"),
    [
        ("tokens", {"HOST": "0.0.0.0"}, 3),
        ("tokens", {"TOKENS": "rather-short"}, 1),
        ("spool", {"SPOOL": "file/spool", "TOKENS": TOKEN}, 3),
        ("spool", {"SPOOL": "/proc", "TOKENS": TOKEN}, 3),
        ("disk", {"DISK_RESERVE_BYTES": "1000 TiB"}, 1),
        ("archive", {"ARCHIVE": "file/archive"}, 3),
    ],
)
def test_a_check_that_fails_says_how_to_fix_it(
    receiver: Command, name: str, variables: dict[str, str], status: int
) -> None:
    Path("file").touch()
    given = {"DISK_RESERVE_BYTES": "0"} | variables
    outcome = receiver("check", "--output", "json", **given)
    assert status == outcome.status
    found = checks(outcome)
    failed = {check for check, row in found.items() if row["result"] == "FAILED"}
    assert {name} == failed
    assert found[name]["hint"]
    table = receiver("check", **given)
    assert (status, True) == (table.status, "FAILED" in table.out)


def test_a_start_that_the_archive_refuses_says_once_how_to_fix_it(receiver: Command) -> None:
    Path("file").touch()
    outcome = receiver("serve", ARCHIVE="file/archive", PORT="0", ADMIN_PORT="0")
    hint = "make it writable for this user, or set RECEIVER_ARCHIVE to another"
    assert (3, "") == (outcome.status, outcome.out)
    assert re.fullmatch(f"receiver: cannot write [^:;]*: [^:;]*; {hint}\n", outcome.err)


def test_tokens_that_the_spool_would_hold_are_not_looked_at_without_it(receiver: Command) -> None:
    Path("file").touch()
    found = checks(receiver("check", "--output", "json", SPOOL="file/spool"))
    assert ("skipped", "") == (found["tokens"]["result"], found["tokens"]["hint"])
    assert found["spool"]["detail"].startswith("RECEIVER_SPOOL: cannot make file/spool: ")
    # They are, where strangers can call.
    found = checks(receiver("check", "--output", "json", SPOOL="file/spool", HOST="0.0.0.0"))
    assert ("FAILED", "FAILED") == (found["tokens"]["result"], found["spool"]["result"])
    assert "receiver urls --new-token" in found["tokens"]["hint"]


def test_a_list_that_nobody_knows_is_a_warning(receiver: Command) -> None:
    given = {"DISK_RESERVE_BYTES": "0", "DATAFORSEO_FAMILIES": "serp/google/organic,serpp"}
    outcome = receiver("check", "--output", "json", **given)
    warned = checks(outcome)["dataforseo families"]
    assert (0, "warning") == (outcome.status, warned["result"])
    assert warned["detail"].startswith("serpp: ")
    assert "did you mean serp?" in warned["detail"]
    assert "RECEIVER_DATAFORSEO_FAMILIES" in warned["hint"]


@pytest.mark.integration
def test_refused_credentials_end_with_3_and_a_provider_out_of_reach_with_4(
    receiver: Command,
) -> None:
    with DataForSeo() as simulator:
        given = {
            "DISK_RESERVE_BYTES": "0",
            "DATAFORSEO_URL": simulator.url,
            "DATAFORSEO_LOGIN": simulator.settings.login,
            "DATAFORSEO_PASSWORD": "wrong-not-to-be-shown",
        }
        outcome = receiver("check", "--output", "json", **given)
        refused = checks(outcome)["dataforseo API"]
        assert 3 == outcome.status
        assert refused["detail"].endswith("refuses the credentials (HTTP 401)")
        assert (
            "correct RECEIVER_DATAFORSEO_LOGIN and RECEIVER_DATAFORSEO_PASSWORD" == refused["hint"]
        )
    outcome = receiver("check", "--output", "json", **given)
    assert (4, "FAILED") == (outcome.status, checks(outcome)["dataforseo API"]["result"])
    assert "RECEIVER_DATAFORSEO_URL" in checks(outcome)["dataforseo API"]["hint"]
    assert "not-to-be-shown" not in outcome.out


@pytest.mark.parametrize("command", [("check",), ("ship",), ("find",), ("serve",)])
def test_a_profile_that_is_not_there_ends_with_3_and_says_so(
    receiver: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str]
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_PROFILE", "night")
    Path("data/spool").mkdir(parents=True)
    given = {"ARCHIVE": "s3://bucket/prefix", "DISK_RESERVE_BYTES": "0", "PORT": "0"}
    outcome = receiver(*command, **given, ADMIN_PORT="0")
    assert 3 == outcome.status
    assert "Traceback" not in outcome.err
    assert "night" in outcome.out + outcome.err
    assert "correct AWS_PROFILE" in outcome.out + outcome.err
    # The other checks are made all the same.
    assert ("check",) != command or "tokens" in outcome.out


@pytest.mark.integration
def test_an_archive_that_does_not_answer_ends_with_4(
    receiver: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-not-to-be-shown")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    given = {"ARCHIVE": "s3://bucket/prefix", "S3_TIMEOUT_SECONDS": "1"}
    outcome = receiver("check", "--output", "json", **given, DISK_RESERVE_BYTES="0")
    assert 4 == outcome.status
    assert "FAILED" == checks(outcome)["archive"]["result"]
    segment_file(Path("data/spool"), [(head_of("a"), b"{}")])
    outcome = receiver("ship", **given)
    assert (4, "") == (outcome.status, outcome.out)
    assert "secret-not-to-be-shown" not in outcome.err
    assert 1 == len(list(Path("data/spool").rglob("*.seg")))

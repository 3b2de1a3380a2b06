"""The command: help, output, and exit statuses."""

import base64
import gzip
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner

from receiver import __version__
from receiver.cli import cli, main
from receiver.config import Settings
from receiver.spool import Writer, segment
from tests.tools.deliveries import framed, head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo

TOKEN = "0123456789abcdef-token"


@pytest.fixture(autouse=True)
def _environment_and_logging_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    before = dict(os.environ)
    for name in before:
        if name.startswith("RECEIVER_") or name == "FORWARDED_ALLOW_IPS":
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    os.environ.clear()
    os.environ.update(before)


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]


class Command:
    """Runs the command in this process, as the entry point does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str, **variables: str) -> Outcome:
        self._capfd.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["receiver", *arguments])
            for name, value in variables.items():
                patch.setenv(f"RECEIVER_{name}", value)
            with pytest.raises(SystemExit) as ended:
                main()
        captured = self._capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, captured.out, captured.err)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capfd)


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that is no group."""

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        context = click.Context(command)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from walk(found, (*words, name))
        else:
            yield words

    return walk(cli, ())


# Help and usage.


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_examples(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert 0 == result.exit_code
    _, _, examples = result.output.partition("Examples:\n")
    shown = [line.split() for line in examples.splitlines() if "receiver " in line]
    assert any(words[-1] in line for line in shown)


def found_command(words: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_option_has_a_text_and_shows_its_default(words: tuple[str, ...]) -> None:
    options = [each for each in found_command(words).params if isinstance(each, click.Option)]
    assert [] == [option.name for option in options if not option.help]
    given = [each for each in options if each.default not in (None, False) and not each.is_flag]
    assert [] == [
        option.name
        for option in given
        if isinstance(option.default, str | int | float) and not option.show_default
    ]


@pytest.mark.parametrize("words", [(), ("spool",), ("dataforseo",), ("diffbot",), ("outscraper",)])
def test_the_lists_of_commands_are_not_cut_off(words: tuple[str, ...]) -> None:
    _, _, listed = CliRunner().invoke(cli, [*words, "--help"]).output.partition("Commands:\n")
    assert len(listed.splitlines()) > 2
    for line in listed.splitlines():
        assert re.match(r"  \S+ +\S", line), line
        assert line.endswith(".")
        assert not line.endswith("...")


def test_the_help_lists_the_commands(receiver: Command) -> None:
    outcome = receiver("--help")
    assert 0 == outcome.status
    for name in ("serve", "ship", "drain", "urls", "config", "check", "spool"):
        assert re.search(rf"^  {name} ", outcome.out, re.MULTILINE)
    assert "server-process" not in outcome.out


def test_the_version_is_shown(receiver: Command) -> None:
    outcome = receiver("--version")
    assert (0, f"receiver {__version__}\n") == (outcome.status, outcome.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["ship", "--fast"],
        ["ship", "--output", "xml"],
        ["serve", "--port", "many"],
        ["spool", "dig"],
        ["spool", "cat", "nowhere.seg"],
        ["drain", "--spool", "nowhere"],
        ["spool", "--spool", "nowhere", "ls"],
        ["ship"],
        ["spool", "cat", "/etc/passwd"],
        ["export", "--to", ""],
        ["show", "task-1", "--raw", "--output", "json"],
        ["find", "--kind", "postbck"],
        ["find", "--limit", "9" * 23],
        ["export", "--limit", "9" * 23],
        ["audit", "dataforseo", "--hours-late", "9" * 23],
        ["find", "--since", "1h", "--until", "2h"],
        ["export", "--since", "2026-11-22", "--until", "2026-11-22"],
        ["verify", "--since", "2026-11-22", "--until", "2026-11-21"],
    ],
)
def test_wrong_usage_ends_with_2_on_stderr(receiver: Command, arguments: list[str]) -> None:
    outcome = receiver(*arguments)
    assert (2, "") == (outcome.status, outcome.out)
    assert "Error: " in outcome.err or "receiver: " in outcome.err


@pytest.mark.parametrize("words", [["ship"], ["urls"], ["config"], ["check"], ["serve"]])
def test_wrong_settings_end_with_3_and_one_line(receiver: Command, words: list[str]) -> None:
    outcome = receiver(*words, PORT="eight", TOKENS="not-to-be-shown/")
    assert (3, "") == (outcome.status, outcome.out)
    (line,) = outcome.err.splitlines()
    assert line.startswith("receiver: RECEIVER_PORT: ")
    assert "not-to-be-shown" not in line
    outcome = receiver(*words, PROT="8000")
    why = "unknown setting RECEIVER_PROT; did you mean RECEIVER_PORT? `receiver config` lists all"
    assert (3, f"receiver: {why}\n") == (outcome.status, outcome.err)


def test_an_interruption_ends_with_130(receiver: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("receiver.shipper.Shipper.ship", interrupt)
    Path("data/spool").mkdir(parents=True)
    outcome = receiver("ship")
    assert (130, "receiver: interrupted") == (outcome.status, outcome.err.strip())


# urls and config.


def test_urls_are_printed_whole_as_a_table_and_as_json(receiver: Command) -> None:
    public = "https://hooks.example.net/a/rather/long/prefix/of/ours"
    given = {"PUBLIC_URL": public, "TOKENS": TOKEN}
    rows = receiver("urls", "--output", "json", **given).rows
    assert 6 == len(rows)
    table = receiver("urls", **given)
    assert (0, 6) == (table.status, len(table.out.splitlines()))
    for row in rows:
        assert row["url"].startswith(f"{public}/{row['provider']}/{row['kind']}/{TOKEN}")
        assert row["url"] in table.out


def test_a_new_token_is_printed_alone(receiver: Command) -> None:
    outcome = receiver("urls", "--new-token")
    assert re.fullmatch(r"[0-9a-f]{48}\n", outcome.out)
    assert outcome.out != receiver("urls", "--new-token").out


def test_urls_need_tokens_where_strangers_can_call(receiver: Command) -> None:
    outcome = receiver("urls", HOST="0.0.0.0")
    assert 3 == outcome.status
    assert "RECEIVER_TOKENS must be set" in outcome.err


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_settings_are_shown_without_secrets(receiver: Command, output: str) -> None:
    outcome = receiver(
        "config",
        "--output",
        output,
        TOKENS=f"{TOKEN},{TOKEN}-2",
        OUTSCRAPER_API_KEYS="key-of-outscraper",
        BATCH_SECONDS="2.5",
    )
    assert 0 == outcome.status
    assert TOKEN not in outcome.out
    assert "key-of-outscraper" not in outcome.out
    assert "***,***" in outcome.out
    if output == "json":
        values = {row["variable"]: row["value"] for row in outcome.rows}
        assert ("2.5", "***,***", "***") == (
            values["RECEIVER_BATCH_SECONDS"],
            values["RECEIVER_TOKENS"],
            values["RECEIVER_OUTSCRAPER_API_KEYS"],
        )
        assert "127.0.0.1" == values["FORWARDED_ALLOW_IPS"]


def test_all_settings_are_listed_even_where_one_is_unknown(receiver: Command) -> None:
    outcome = receiver("config", "--output", "json", PROT="8000")
    assert 3 == outcome.status
    assert "did you mean RECEIVER_PORT?" in outcome.err
    assert len(Settings.model_fields) == len(outcome.rows)


def test_a_token_that_was_made_is_told_and_not_shown(receiver: Command) -> None:
    def tokens() -> str:
        rows = receiver("config", "--output", "json").rows
        return str({row["variable"]: row["value"] for row in rows}["RECEIVER_TOKENS"])

    assert "" == tokens()
    assert 0 == receiver("urls").status
    assert "*** (made, in data/spool/token)" == tokens()


def test_sizes_are_shown_as_people_write_them_and_no_line_ends_in_spaces(
    receiver: Command,
) -> None:
    outcome = receiver("config", BODY_BYTES_MAX=str(3 << 20))
    values = {line.split()[0]: line.split()[1] for line in outcome.out.splitlines()}
    assert ("10GiB", "3MiB") == (
        values["RECEIVER_SPOOL_BYTES_MAX"],
        values["RECEIVER_BODY_BYTES_MAX"],
    )
    assert all(line == line.rstrip() for line in outcome.out.splitlines())


# check.


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
def test_a_check_that_fails_says_how_to_mend_it(
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


def test_a_start_that_the_archive_refuses_says_once_how_to_mend_it(receiver: Command) -> None:
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


# ship and drain.


def archived() -> list[str]:
    return sorted(
        orjson.loads(line)["delivery_id"]
        for path in Path("data/archive/callbacks").rglob("*.jsonl.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines()
    )


def test_ship_ships_once_and_says_what_it_did(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(head_of("a"), b"{}"), (head_of("b"), b"{}")])
    outcome = receiver("ship")
    assert (0, "") == (outcome.status, outcome.err)
    assert outcome.out.startswith("shipped 2 callbacks in 1 segment, ")
    assert outcome.out.endswith(" bytes; 0 damaged parts quarantined, 0 segments failed\n")
    assert ["a", "b"] == archived()
    (row,) = receiver("ship", "--output", "json").rows
    assert {"segments": 0, "records": 0, "bytes": 0, "quarantined": 0, "failed": 0} == row


def test_ship_takes_another_spool(receiver: Command) -> None:
    segment_file(Path("old/spool"), [(head_of("a"), b"{}")])
    (row,) = receiver("ship", "--spool", "old/spool", "--output", "json").rows
    assert 1 == row["records"]
    assert ["a"] == archived()


def test_ship_ends_with_1_where_a_segment_could_not_be_read(receiver: Command) -> None:
    Path("data/spool/p/p-0.seg").mkdir(parents=True)
    segment_file(Path("data/spool"), [(head_of("a"), b"{}")])
    assert 1 == receiver("ship").status
    assert ["a"] == archived()


@pytest.mark.parametrize("suffix", segment.SUFFIXES)
@pytest.mark.parametrize("single", [False, True])
def test_drain_empties_a_spool_or_the_directory_of_a_process(
    receiver: Command, suffix: str, single: bool
) -> None:
    path = segment_file(Path("old/spool"), [(head_of("a"), b"{}")], suffix=suffix)
    target = path.parent if single else Path("old/spool")
    outcome = receiver("drain", "--spool", str(target))
    assert (0, "") == (outcome.status, outcome.err)
    assert outcome.out.endswith("; the spool is empty\n")
    assert ["a"] == archived()
    assert not path.exists()


def test_what_a_living_process_writes_counts_as_not_drained(receiver: Command) -> None:
    writer = Writer(Path("data/spool"))
    writer.write([segment.frame(writer.marker, head_of("a"), [b"x"]), b"x"], records=1)
    outcome = receiver("drain", "--spool", "data/spool")
    assert (1, "receiver: 1 segment is not drained\n") == (outcome.status, outcome.err)
    assert outcome.out.endswith("; 1 segment left\n")
    (row,) = receiver("drain", "--output", "json").rows
    assert 1 == row["left"]
    writer.close()
    (row,) = receiver("drain", "--output", "json").rows
    assert (1, 0) == (row["segments"], row["left"])


def test_no_time_is_less_than_none(receiver: Command) -> None:
    outcome = receiver("drain", "--wait", "-1")
    assert (2, True) == (outcome.status, "'--wait': -1.0 is not in the range" in outcome.err)


# find, export, verify and show, where there is little or nothing.


@pytest.mark.parametrize(
    "words",
    [
        *(("verify",), ("find",), ("show", "task-1"), ("export",)),
        ("replay", "--to", "http://127.0.0.1:9", "task-1"),
    ],
    ids=" ".join,
)
def test_an_archive_that_is_not_there_is_an_error(
    receiver: Command, words: tuple[str, ...]
) -> None:
    outcome = receiver(*words, ARCHIVE="data/archvie")
    assert (3, "") == (outcome.status, outcome.out)
    assert "receiver: there is no archive at data/archvie (RECEIVER_ARCHIVE)\n" == outcome.err


def test_what_waits_in_the_spool_is_found_without_an_archive(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(head_of("a", target="/x?id=task-1"), b"{}")])
    (row,) = receiver("find", "--output", "json").rows
    assert ("a", "spool") == (row["delivery_id"], row["where"])
    assert '"delivery_id":"a"' in receiver("show", "task-1", "--output", "json").out
    assert 3 == receiver("find", "--task-id", "task-2").status


def test_an_archive_that_holds_nothing_yet_is_no_error(receiver: Command) -> None:
    assert 0 == receiver("check", DISK_RESERVE_BYTES="0").status
    outcome = receiver("find")
    assert (1, "", "receiver: nothing found\n") == (outcome.status, outcome.out, outcome.err)
    outcome = receiver("export", "--to", "-")
    assert (0, "", "") == (outcome.status, outcome.out, outcome.err)
    outcome = receiver("verify", "--since", "2026-11-21", "--until", "9999-12-31")
    nothing = "nothing to verify between 2026-11-21T00:00:00Z and 9999-12-31T00:00:00Z\n"
    assert (0, nothing, "") == (outcome.status, outcome.out, outcome.err)


def test_a_dash_is_standard_output_and_a_file_of_that_name_can_be_named(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(head_of("a"), b"{}")])
    receiver("ship")
    (row,) = receiver("export", "--to", "-").rows
    assert "a" == row["delivery_id"]
    assert [] == list(Path().glob("*-*"))
    assert "" == receiver("export", "--to", "./-").out
    assert row == orjson.loads(Path("-").read_bytes())


def test_a_line_is_shown_whole_also_of_a_body_that_is_no_text(receiver: Command) -> None:
    body = b"\xff\xfe" + TOKEN.encode()
    segment_file(Path("data/spool"), [(head_of("a", target="/x?id=task-1"), body)])

    def shown() -> dict[str, Any]:
        (row,) = receiver("show", "task-1", "--output", "json", TOKENS=TOKEN).rows
        return row

    waiting = shown()
    assert None is waiting["body"]
    # Secrets are starred here, too.
    assert b"\xff\xfe***" == base64.b64decode(waiting["body_base64"])
    receiver("ship")
    assert waiting | {"where": "archive"} == (archived := shown())
    (line,) = receiver("export").rows
    assert [*line, "where"] == list(archived)
    assert line | {"body_base64": archived["body_base64"], "where": "archive"} == archived


@pytest.mark.parametrize("words", ["find", "export", "spool verify", "spool cat"])
def test_a_segment_that_cannot_be_read_is_named(receiver: Command, words: str) -> None:
    Path("data/spool/p/p-0.seg").mkdir(parents=True)
    Path("data/archive").mkdir()
    outcome = receiver(*words.split())
    assert (1, "") == (outcome.status, outcome.out)
    assert "receiver: cannot read data/spool/p/p-0.seg: Is a directory\n" == outcome.err


def test_each_provider_is_swept_once(receiver: Command) -> None:
    with DataForSeo() as simulator:
        given = {
            "TOKENS": TOKEN,
            "DATAFORSEO_URL": simulator.url,
            "DATAFORSEO_LOGIN": simulator.settings.login,
            "DATAFORSEO_PASSWORD": simulator.settings.password,
        }
        words = ("sweep", "dataforseo", "dataforseo", "--dry-run", "--output", "json")
        outcome = receiver(*words, **given)
    assert (0, ["summary"]) == (outcome.status, [row["type"] for row in outcome.rows])


# spool.


def test_spool_ls_lists_segments_and_their_states(receiver: Command) -> None:
    root = Path("data/spool")
    for number, suffix in enumerate(segment.SUFFIXES):
        segment_file(root, [(head_of("a"), b"{}")], process="p", number=number, suffix=suffix)
    living = Writer(root)
    rows = receiver("spool", "ls", "--output", "json").rows
    assert [
        ("p-0", "open", True),
        ("p-1", "sealed", True),
        ("p-2", "torn", True),
    ] == [(row["segment"], row["state"], row["ready"]) for row in rows if row["bytes"]]
    assert [(f"{living.process}-0", False)] == [
        (row["segment"], row["ready"]) for row in rows if not row["bytes"]
    ]
    table = receiver("spool", "--spool", str(root), "ls")
    assert 5 == len(table.out.splitlines())


def test_spool_verify_ends_with_1_where_there_is_damage(receiver: Command) -> None:
    root = Path("data/spool")
    path = segment_file(root, [(head_of("a"), b"x"), (head_of("b"), b"y")], process="p")
    torn = segment_file(root, [(head_of("c"), b"z")], process="q", suffix=segment.OPEN)
    os.truncate(torn, 30)
    assert 0 == receiver("spool", "verify").status
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    outcome = receiver("spool", "verify", "--output", "json")
    assert 1 == outcome.status
    damaged = len(framed("p", [(head_of("b"), b"y")]))
    assert [
        {
            "segment": "p-0",
            "state": "sealed",
            "records": 1,
            "torn_bytes": 0,
            "damaged_parts": 1,
            "damaged_bytes": damaged,
        },
        {
            "segment": "q-0",
            "state": "open",
            "records": 0,
            "torn_bytes": 30,
            "damaged_parts": 0,
            "damaged_bytes": 0,
        },
    ] == outcome.rows


def test_spool_cat_prints_heads_and_writes_a_body_as_it_came(receiver: Command) -> None:
    body = gzip.compress(b"{}")
    headers = [("via", "a")]
    path = segment_file(
        Path("data/spool"), [(head_of("a", headers=headers), body), (head_of("b"), b"")]
    )
    for words in (["spool", "cat"], ["spool", "cat", str(path)]):
        first, second = receiver(*words).rows
        assert ("a", "dataforseo", len(body), [["via", "a"]]) == (
            first["delivery_id"],
            first["provider"],
            first["wire_bytes"],
            first["headers"],
        )
        assert ("b", "2026-11-21T19:59:59.500000Z") == (
            second["delivery_id"],
            second["received_at"],
        )
    missing = receiver("spool", "cat", "--raw", "elsewhere")
    assert (1, "receiver: elsewhere is not in the spool\n") == (missing.status, missing.err)


def test_a_raw_body_is_written_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = bytes(range(256))
    segment_file(Path("data/spool"), [(head_of("a"), body)])
    result = CliRunner().invoke(cli, ["spool", "cat", "--raw", "a"], standalone_mode=False)
    assert (None, body) == (result.exception, result.stdout_bytes)


def test_spool_cat_passes_over_what_is_no_delivery(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(b"no head", b""), (head_of("a"), b"")])
    outcome = receiver("spool", "cat")
    assert ["a"] == [row["delivery_id"] for row in outcome.rows]
    assert "the record at 0 is not a delivery" in outcome.err
    assert 0 == outcome.status


def test_a_segment_that_is_shipped_meanwhile_is_passed_over(
    receiver: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = segment_file(Path("data/spool"), [(head_of("a"), b"")], process="p")
    segment_file(Path("data/spool"), [(head_of("b"), b"")], process="q")
    real = segment.read

    def read(path: Path) -> Iterator[Any]:
        gone.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(segment, "read", read)
    assert ["b"] == [row["delivery_id"] for row in receiver("spool", "cat").rows]
    assert 0 == receiver("spool", "verify").status

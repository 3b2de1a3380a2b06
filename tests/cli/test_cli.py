"""The command: help, versions, usage, and exit statuses."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from receiver import __version__
from receiver.cli import cli
from tests.cli.conftest import Command


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

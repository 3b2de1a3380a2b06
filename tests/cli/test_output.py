"""What commands print shows no secret, and cannot command a terminal."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from receiver.cli.output import (
    complain,
    counted,
    json_text,
    mask_with,
    one_line,
    print_json,
    print_rows,
    printable,
)
from receiver.masking import Masker

SECRET = "canary-of-the-screen-0001"


@pytest.fixture(autouse=True)
def _masker() -> Iterator[None]:
    mask_with(Masker([SECRET]))
    yield
    mask_with(Masker())


def test_text_cannot_command_a_terminal() -> None:
    assert "\\x1b[31m a\tb\n \\x9b \\x07 \\u202e ü 🧰" == printable(
        "\x1b[31m a\tb\n \x9b \x07 \u202e ü 🧰"
    )


def test_text_of_strangers_begins_no_line_of_its_own() -> None:
    assert "a\\nb\\tc\\x0dd" == one_line("a\nb\tc\rd")


def test_json_that_commands_no_terminal_means_the_same() -> None:
    said = {"a": "\x1b[31m \x7f\x9b2J\u202e\u2066 ü 🧰\n", "\x90": 1}
    text = json_text(orjson.dumps(said))
    assert text.isprintable()
    assert '"\\u001b[31m \\u007f\\u009b2J\\u202e\\u2066 ü 🧰\\n"' in text
    assert said == orjson.loads(text)


@pytest.mark.parametrize("code", [0x7F, 0x9B, 0x85, 0x061C, 0x200F, 0x2028, 0x202E, 0x2067])
@pytest.mark.parametrize("output", ["json", "table"])
def test_a_row_of_a_stranger_commands_no_terminal(
    capsys: pytest.CaptureFixture[str], code: int, output: str
) -> None:
    odd = f"a{chr(code)}b"
    print_rows([{"tag": odd}], output=output, columns=("tag",))
    shown = capsys.readouterr().out
    assert chr(code) not in shown
    assert shown.replace("\n", "").isprintable()
    if output == "json":
        assert {"tag": odd} == orjson.loads(shown)


def test_rows_show_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": f"x {SECRET}", "b": {"url": SECRET}, "c": None, "path": Path(SECRET)}]
    print_rows(rows, output="json", columns=())
    shown = {"a": "x ***", "b": {"url": "***"}, "c": None, "path": "***"}
    assert shown == orjson.loads(capsys.readouterr().out)
    print_rows(rows, output="table", columns=("a", "b", "c"))
    assert ["a      b               c", "x ***  {'url': '***'}"] == (
        capsys.readouterr().out.splitlines()
    )


def test_what_is_printed_alone_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({SECRET: [SECRET]}, indent=True)
    assert '{\n  "***": [\n    "***"\n  ]\n}\n' == capsys.readouterr().out
    complain(f"{SECRET}: no\nsuch \x1b[31mthing")
    assert ("", "receiver: ***: no\\nsuch \\x1b[31mthing\n") == capsys.readouterr()


def test_numbers_have_a_noun() -> None:
    assert ["0 bytes", "1 byte", "2 bytes"] == [counted(number, "byte") for number in range(3)]

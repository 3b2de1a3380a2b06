"""What `serve` prints once it serves."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from receiver import log
from receiver.config import Settings
from receiver.instance import Receiver
from receiver.service.announcement import announce, program
from tests.log.streams import Stream

pytestmark = pytest.mark.usefixtures("logging_as_it_was")

_BASE, _ADMIN = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
_LINES = [f"admin on {_ADMIN}", f"listening on {_BASE}"]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/receiver", "serve"])
    monkeypatch.setenv("NO_COLOR", "1")


def announced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    terminal: bool = True,
    level: str = "info",
    form: log.Wanted = "auto",
    welcome: bool = True,
    **given: Any,
) -> str:
    settings = Settings(**{"spool": tmp_path / "spool", **given})
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stdout", log.queued(stream))
    log.configure(form=form, level=level)
    announce(Receiver(settings), base=_BASE, admin_base=_ADMIN, welcome=welcome)
    return stream.text()


def rows(screen: str, *, columns: int) -> int:
    """Return the rows that lines take on a terminal of so many columns."""
    return sum(max(1, -(-len(line) // columns)) for line in screen.splitlines())


def test_the_first_screen_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = announced(tmp_path, monkeypatch)
    assert _LINES == screen.splitlines()[:2]
    # With what was typed above it, and the first callbacks below.
    assert rows(screen, columns=80) <= 18
    token = (tmp_path / "spool" / "token").read_text()
    assert f"'{_BASE}/dataforseo/postback/{token}?id=task-1&tag=try'" in screen
    commands = [line.strip() for line in screen.splitlines() if line.startswith("  ")]
    assert ["curl", ".venv/bin/receiver", "RECEIVER_PUBLIC_URL=https://hooks.example.net"] == [
        command.split()[0] for command in commands
    ]
    assert "find --task-id task-1" in screen
    assert "10 s later in data/archive" in screen
    assert "Ctrl-C stops" in screen
    only_curl_wraps = [line for line in screen.splitlines() if len(line) > 80]
    assert ["  curl"] == [line[:6] for line in only_curl_wraps]


def test_as_json_it_is_one_record_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = announced(tmp_path, monkeypatch, terminal=False)
    assert _LINES == [orjson.loads(line)["message"] for line in text.splitlines()]
    text = announced(tmp_path, monkeypatch, form="json")
    assert _LINES == [orjson.loads(line)["message"] for line in text.splitlines()]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("level", ["warning", "error"])
def test_where_little_is_logged_it_says_no_more_than_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, level: str
) -> None:
    text = announced(tmp_path, monkeypatch, form="text", terminal=terminal, level=level)
    assert _LINES == text.splitlines()


def test_text_in_a_pipe_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    text = announced(tmp_path, monkeypatch, form="text", terminal=False)
    assert "curl -d" in text
    assert "\x1b" not in text
    assert "Ctrl-C" not in text


def test_on_a_terminal_the_commands_stand_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    screen = announced(tmp_path, monkeypatch)
    assert 3 == len(re.findall("^  \x1b\\[1m.*\x1b\\[0m$", screen, re.MULTILINE))
    assert _LINES == screen.splitlines()[:2]


def test_a_token_that_was_set_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "0123456789abcdef-token"
    screen = announced(tmp_path, monkeypatch, welcome=False, tokens=(SecretStr(token),))
    assert token not in screen
    assert "receiver find" in screen
    assert "receiver urls" in screen


def test_the_public_url_that_is_set_need_not_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = announced(tmp_path, monkeypatch, public_url="https://hooks.example.org")
    assert "\n  .venv/bin/receiver urls\n" in screen


@pytest.mark.parametrize(
    ("argv", "orig_argv", "shown"),
    [
        ("./receiver", ["python", "./receiver", "serve"], "./receiver"),
        ("/opt/my tools/receiver", ["python", "x", "serve"], "'/opt/my tools/receiver'"),
        ("{here}/receiver", ["python", "x", "serve"], "receiver"),
        ("/x/receiver/__main__.py", [".venv/bin/python", "-m", "receiver", "serve"], "{python}"),
    ],
)
def test_the_program_is_named_as_it_was_started(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: str,
    orig_argv: list[str],
    shown: str,
) -> None:
    command = tmp_path / "receiver"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [argv.replace("{here}", str(tmp_path)), "serve"])
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert shown.replace("{python}", shlex.join(orig_argv[:3])) == program()

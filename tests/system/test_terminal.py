"""A terminal: what a first start shows there, and what strangers cannot do to it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.tools.support.commands import run
from tests.tools.support.http import connect, read_answer, request
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import Receiver, clean_environ
from tests.tools.support.terminal import CTRL_C, Terminal
from tests.tools.support.tools import ROOT

pytestmark = pytest.mark.system

_PORTS = {"RECEIVER_PORT": "0", "RECEIVER_ADMIN_PORT": "0"}
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")

# Clears the screen, in seven bits and in eight; writes a title; goes back; turns the text around.
_HOSTILE = "\x1b[2J\x9b2J\x1b]0;title\x07\r\b\x7f\u202eevil\u2066"
# A line of a table, or of a log, that nobody wrote.
_FORGED = "x\n2026-11-21T00:00:00.000000Z  dataforseo  postback  forged"
_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that took callbacks with the worst names that there are."""
    settings = {"RECEIVER_BATCH_SECONDS": "600", "RECEIVER_LOG_FORMAT": "text"}
    with Receiver(tmp_path_factory.mktemp("terminal"), settings) as receiver:
        receiver.start()
        receiver.archive.mkdir(exist_ok=True)
        for name in (_HOSTILE, _FORGED):
            task = {"id": name, "status_code": name, "data": {"tag": name, "postback_data": name}}
            body = orjson.dumps({"tasks": [task]})
            path = receiver.path("dataforseo", "postback", "?id=%1b%5b2J%9b&tag=%0a\\x1b")
            head = f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
            # The parser takes bytes above 0x7f in values; a proxy passes them on, too.
            odd = b"X-Odd: \x9b2J\x85\x90\r\nX-Forwarded-For: \x9b31m203.0.113.7\r\n"
            with connect(receiver.url) as connection:
                connection.sendall(head + odd + b"\r\n" + body)
                assert 200 == read_answer(connection).status
        receiver.request("POST", receiver.path("diffbot", "notification"), _HOSTILE.encode())
        yield receiver


def test_nothing_that_is_shown_commands_a_terminal(it: Receiver) -> None:
    waiting = run(it, [["spool", "cat"], *_looks()])
    it.life.signal(15)
    it.life.wait()
    lines = read_lines(DirectoryArchive(it.archive))
    assert {_HOSTILE, _FORGED, None} == {line["task_id"] for line in lines}
    ids = [line["delivery_id"] for line in lines]
    archived = run(it, [*_looks(), *(["show", delivery_id] for delivery_id in ids)])
    archived += run(it, [["show", delivery_id, "--output", "json"] for delivery_id in ids])
    for shown in (waiting, archived, it.text()):
        assert [] == [shown[found.start() - 40 :][:80] for found in _COMMANDS.finditer(shown)]
    # What was sent can still be seen, …
    assert "\\x1b[2J\\x9b2J\\x1b]0;title\\x07" in archived
    assert "\\x9b31m203.0.113.7" in archived
    # … nothing of it begins a line of its own, …
    assert "x\\n2026-11-21T00:00:00.000000Z  dataforseo" in archived
    assert not re.search(r"^\s*2026-11-21T00", waiting + archived, re.MULTILINE)
    # … and programs read what was sent.
    rows = [orjson.loads(row) for row in archived.splitlines() if row.startswith('{"')]
    assert {_HOSTILE, _FORGED} <= {row.get("task_id") for row in rows}


def test_an_error_repeats_no_command_either(it: Receiver) -> None:
    shown = run(it, [["show", _HOSTILE], ["jobs", _HOSTILE], ["find", "--task-id", _HOSTILE]])
    assert [] == _COMMANDS.findall(shown)
    assert "\\x1b[2J\\x9b2J" in shown


def test_the_commands_of_the_first_screen_do_what_they_say(tmp_path: Path) -> None:
    environ = clean_environ() | _PORTS
    command = [sys.executable, "-m", "receiver", "serve"]
    with Terminal(command, cwd=tmp_path, environ=environ) as terminal:
        screen = terminal.wait_for("Ctrl-C stops the receiver.\n")
        lines = _CONTROL_SEQUENCE.sub("", screen).splitlines()
        assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 23, screen
        [url] = [line.removeprefix("listening on ") for line in lines if "listening on" in line]
        assert 200 == request(url, "GET", "/readyz").status
        curl, find, urls = (line.strip() for line in lines if line.startswith("  "))
        answer = orjson.loads(_shell(curl, tmp_path, environ))
        found = _shell(f"{find} --output json", tmp_path, environ)
        assert answer["delivery_id"] == orjson.loads(found)["delivery_id"]
        [token] = re.findall(r"/postback/([0-9a-f]{48})", curl)
        assert f"https://hooks.example.net/diffbot/notification/{token}\n" in _shell(
            urls, tmp_path, environ
        )
        terminal.press(CTRL_C)
        assert 130 == terminal.wait()
    assert "task-1" == read_lines(DirectoryArchive(tmp_path / "data" / "archive"))[0]["task_id"]
    # Those who watch have seen the end, and no JSON.
    assert " stopped " in terminal.shown()
    assert "{" not in terminal.shown().replace(curl, "")


@pytest.mark.skipif(not (ROOT / ".venv/bin/receiver").exists(), reason="run `make install` first")
def test_ctrl_c_ends_make_run_without_an_error_of_make(tmp_path: Path) -> None:
    environ = clean_environ() | _PORTS
    environ |= {
        "RECEIVER_SPOOL": str(tmp_path / "spool"),
        "RECEIVER_ARCHIVE": str(tmp_path / "archive"),
    }
    # Whatever its age: nothing is installed here.
    command = ["make", "--assume-old=.venv/.installed", "run"]
    with Terminal(command, cwd=ROOT, environ=environ) as terminal:
        terminal.wait_for("Ctrl-C stops the receiver.\n")
        terminal.press(CTRL_C)
        # As a program that was interrupted, for the shell that started it.
        assert -signal.SIGINT == terminal.wait()
        assert " stopped " in terminal.shown()
        assert "make:" not in terminal.shown()


def _shell(line: str, directory: Path, environ: dict[str, str]) -> str:
    ran = subprocess.run(
        ["bash", "-c", line], cwd=directory, env=environ, capture_output=True, text=True, check=True
    )
    return ran.stdout


def _looks() -> list[list[str]]:
    return [["find"], ["find", "--output", "json"], ["verify"], ["spool", "ls"]]

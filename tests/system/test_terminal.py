"""What strangers write commands no terminal and forges no line, wherever it is shown."""

import re
from collections.abc import Iterator

import orjson
import pytest

from tests.tools.support.commands import run
from tests.tools.support.http import connect, read_answer
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import Receiver

pytestmark = pytest.mark.system

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


def _looks() -> list[list[str]]:
    return [["find"], ["find", "--output", "json"], ["verify"], ["spool", "ls"]]

"""Log lines: JSON for programs, text for people, facts in both."""

import logging
import re
from pathlib import Path
from typing import Literal

import orjson
import pytest

from receiver import log
from tests.log.streams import Stream

# What commands a terminal, begins a line there, or changes the direction of text.
HOSTILE = [0x00, 0x07, 0x0D, 0x1B, 0x7F, 0x80, 0x85, 0x9B, 0x9D, 0x9F, 0x061C, 0x200E, 0x200F]
HOSTILE += [0x2028, 0x2029, 0x202A, 0x202D, 0x202E, 0x2066, 0x2067, 0x2069]

pytestmark = pytest.mark.usefixtures("logging_as_it_was")


def test_a_json_line_holds_message_and_facts() -> None:
    stream = Stream()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver.shipper").info("shipped", extra={"segment": "s-0", "records": 3})
    line = orjson.loads(stream.text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert {
        "level": "info",
        "logger": "receiver.shipper",
        "message": "shipped",
        "segment": "s-0",
        "records": 3,
    } == line


def test_a_value_of_a_type_that_json_lacks_is_written_as_text() -> None:
    stream = Stream()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("found", extra={"path": Path("spool") / "lock"})
    assert "spool/lock" == orjson.loads(stream.text())["path"]


@pytest.mark.parametrize(
    ("value", "written"), [("f\udcff.seg", r"f\udcff.seg"), (1 << 70, str(1 << 70))]
)
def test_a_value_that_json_cannot_hold_costs_no_line(value: object, written: str) -> None:
    stream = Stream()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("found", extra={"value": value})
    line = orjson.loads(stream.text())
    assert ("found", written) == (line["message"], line["value"])


def test_each_record_is_one_line_whatever_it_holds() -> None:
    stream = Stream()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").warning("failed", extra={"error": 'two\nlines, "quoted"'})
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    first, second = map(orjson.loads, stream.text().splitlines())
    assert 'two\nlines, "quoted"' == first["error"]
    assert second["exception"].endswith("RuntimeError: a bug")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("code", HOSTILE, ids=hex)
def test_no_line_commands_a_terminal(form: Literal["json", "text"], code: int) -> None:
    stream = Stream()
    log.configure(form=form, level="info", stream=stream)
    odd = f"a{chr(code)}b"
    logging.getLogger("receiver").info("found", extra={"tag": odd, odd: ["x", {odd: odd}]})
    (line,) = stream.text().splitlines()
    assert chr(code) not in line
    assert line.isprintable()
    if form == "json":
        read = orjson.loads(line)
        assert (odd, ["x", {odd: odd}]) == (read["tag"], read[odd])


def test_text_has_time_level_message_and_facts() -> None:
    stream = Stream()
    log.configure(form="text", level="info", stream=stream)
    logging.getLogger("receiver").warning("torn tail cut", extra={"segment": "s-0", "bytes": 12})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning torn tail cut segment=s-0 bytes=12\n", stream.text()
    )


def test_text_shows_an_exception() -> None:
    stream = Stream()
    log.configure(form="text", level="info", stream=stream)
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    assert stream.text().rstrip().endswith("RuntimeError: a bug")


def test_text_is_one_line_without_terminal_control_codes() -> None:
    stream = Stream()
    log.configure(form="text", level="info", stream=stream)
    peer = "\x1b[2J\x9b2J\u202e1.2.3.4\n00:00:00 error forged\tx"
    logging.getLogger("receiver").warning("unknown source address", extra={"peer": peer})
    [line] = stream.text().split("\n")[:-1]
    assert line.endswith(r"peer=\x1b[2J\x9b2J\u202e1.2.3.4\n00:00:00 error forged\tx")


@pytest.mark.parametrize(
    ("level", "start"), [("info", ""), ("warning", "\x1b[33m"), ("error", "\x1b[31m")]
)
def test_on_a_terminal_warnings_and_errors_have_colours(level: str, start: str) -> None:
    stream = Stream(terminal=True)
    log.configure(form="auto", level="info", stream=stream)
    getattr(logging.getLogger("receiver"), level)("pass failed")
    end = "\x1b[0m" if start else ""
    assert re.fullmatch(
        rf"{re.escape(start)}\d\d:\d\d:\d\d {level:7} pass failed{re.escape(end)}\n",
        stream.text(),
    )


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_there_are_no_colours_where_none_are_wanted(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    stream = Stream(terminal=True)
    log.configure(form="auto", level="info", stream=stream)
    logging.getLogger("receiver").error("pass failed")
    assert "\x1b" not in stream.text()


def test_text_for_a_pipe_has_no_colours() -> None:
    stream = Stream()
    log.configure(form="text", level="info", stream=stream)
    logging.getLogger("receiver").error("pass failed")
    assert "\x1b" not in stream.text()


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_taken_out_of_every_line_wherever_they_came_from(
    form: Literal["json", "text"],
) -> None:
    stream = Stream()
    log.configure(
        form=form, level="info", stream=stream, hide=lambda line: line.replace("token-1", "***")
    )
    logging.getLogger("receiver").warning("failed", extra={"error": "GET /hook/token-1: 404"})
    try:
        raise RuntimeError("token-1 is wrong")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    log.announce("tag token-1")
    shown = stream.text()
    assert "token-1" not in shown
    assert "GET /hook/***: 404" in shown
    assert "RuntimeError: *** is wrong" in shown
    assert "tag ***" in shown

"""Log lines: JSON for programs, text for people, facts in both."""

import io
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import orjson
import pytest

from receiver import log


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_json_line_holds_message_and_facts() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver.shipper").info("shipped", extra={"segment": "s-0", "records": 3})
    line = orjson.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert {
        "level": "info",
        "logger": "receiver.shipper",
        "message": "shipped",
        "segment": "s-0",
        "records": 3,
    } == line


def test_what_json_does_not_know_is_written_as_text() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("found", extra={"path": Path("spool") / "lock"})
    assert "spool/lock" == orjson.loads(stream.getvalue())["path"]


def test_each_record_is_one_line_whatever_it_holds() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").warning("failed", extra={"error": 'two\nlines, "quoted"'})
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    first, second = map(orjson.loads, stream.getvalue().splitlines())
    assert 'two\nlines, "quoted"' == first["error"]
    assert second["exception"].endswith("RuntimeError: a bug")


def test_text_has_time_level_message_and_facts() -> None:
    stream = io.StringIO()
    log.configure(form="text", level="info", stream=stream)
    logging.getLogger("receiver").warning("torn tail cut", extra={"segment": "s-0", "bytes": 12})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning torn tail cut segment=s-0 bytes=12\n", stream.getvalue()
    )


def test_text_shows_an_exception() -> None:
    stream = io.StringIO()
    log.configure(form="text", level="info", stream=stream)
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    assert stream.getvalue().rstrip().endswith("RuntimeError: a bug")


@pytest.mark.parametrize(("stream", "is_json"), [(io.StringIO(), True), (Terminal(), False)])
def test_auto_is_text_on_a_terminal_only(stream: io.StringIO, is_json: bool) -> None:
    log.configure(form="auto", level="info", stream=stream)
    logging.getLogger("receiver").info("stopped")
    assert is_json == stream.getvalue().startswith("{")


def test_less_than_the_level_is_not_logged() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="warning", stream=stream)
    logging.getLogger("receiver").info("shipped")
    assert "" == stream.getvalue()


def test_loggers_that_would_print_secrets_are_silent_even_at_debug() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="debug", stream=stream)
    logging.getLogger("uvicorn.access").info("GET /dataforseo/postback/secret-token")
    logging.getLogger("botocore.auth").debug("Authorization: secret")
    logging.getLogger("urllib3.connectionpool").debug("GET /?token=secret")
    assert "" == stream.getvalue()


def test_configuring_again_does_not_double_the_lines() -> None:
    stream = io.StringIO()
    log.configure(form="json", level="info", stream=stream)
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("stopped")
    assert 1 == len(stream.getvalue().splitlines())


def test_what_strangers_can_cause_is_logged_a_few_times_a_second_for_each_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sparing = log.Sparing(logging.getLogger("receiver.test"), per_second=3)
    for _ in range(50):
        sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    sparing.warning("not acknowledged", reason="body_too_large", extra={"status": 413})
    assert ["bad_token"] * 3 + ["body_too_large"] == [
        vars(record)["reason"] for record in caplog.records
    ]
    now = 101.0
    sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    assert 47 == vars(caplog.records[-1])["left_out"]
    sparing.warning("not acknowledged", reason="bad_token", extra={"status": 401})
    assert "left_out" not in vars(caplog.records[-1])


def test_text_is_one_line_that_commands_no_terminal() -> None:
    stream = io.StringIO()
    log.configure(form="text", level="info", stream=stream)
    peer = "\x1b[2J\x9b2J\u202e1.2.3.4\n00:00:00 error forged"
    logging.getLogger("receiver").warning("unknown source address", extra={"peer": peer})
    [line] = stream.getvalue().split("\n")[:-1]
    assert line.endswith(r"peer=\x1b[2J\x9b2J\u202e1.2.3.4\n00:00:00 error forged")


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_taken_out_of_every_line_whoever_said_them(
    form: Literal["json", "text"],
) -> None:
    stream = io.StringIO()
    log.configure(
        form=form, level="info", stream=stream, hide=lambda line: line.replace("token-1", "***")
    )
    logging.getLogger("receiver").warning("failed", extra={"error": "GET /hook/token-1: 404"})
    try:
        raise RuntimeError("token-1 is wrong")
    except RuntimeError:
        logging.getLogger("receiver").exception("request failed")
    assert "token-1" not in stream.getvalue()
    assert "GET /hook/***: 404" in stream.getvalue()
    assert "RuntimeError: *** is wrong" in stream.getvalue()


def test_for_a_while_lines_go_elsewhere() -> None:
    usual, other = io.StringIO(), io.StringIO()
    log.configure(form="text", level="info", stream=usual)
    logger = logging.getLogger("receiver")
    with log.redirected(other):
        logger.info("during")
    logger.info("after")
    assert ("after", "during") == (usual.getvalue().split()[-1], other.getvalue().split()[-1])


def test_a_stream_that_lasts_passes_over_what_cannot_be_written(
    capfd: pytest.CaptureFixture[str],
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        log.configure(form="json", level="info", stream=log.lasting(pipe))
        logging.getLogger("receiver").info("shipped")
        assert b'"message":"shipped"' in os.read(reading, 4096)
        os.close(reading)
        for _ in range(3):
            logging.getLogger("receiver").info("x" * 20_000)
    assert ("", "") == capfd.readouterr()

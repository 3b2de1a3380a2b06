"""Logging of a process: what is logged, in which form, and where."""

import logging
import os

import orjson
import pytest

from receiver import log
from tests.log.streams import Stream

pytestmark = pytest.mark.usefixtures("logging_as_it_was")


@pytest.mark.parametrize(
    ("wanted", "terminal", "form"),
    [
        ("auto", False, "json"),
        ("auto", True, "terminal"),
        ("text", False, "text"),
        ("text", True, "terminal"),
        ("json", True, "json"),
    ],
)
def test_auto_is_text_on_a_terminal_only(wanted: log.Wanted, terminal: bool, form: str) -> None:
    stream = Stream(terminal=terminal)
    log.configure(form=wanted, level="info", stream=stream)
    logging.getLogger("receiver").info("stopped")
    assert form == log.form()
    assert (form == "json") == stream.text().startswith("{")


def test_less_than_the_level_is_not_logged() -> None:
    stream = Stream()
    log.configure(form="json", level="warning", stream=stream)
    logging.getLogger("receiver").info("shipped")
    assert "" == stream.text()


def test_an_announcement_is_made_at_every_level() -> None:
    stream = Stream()
    log.configure(form="json", level="error", stream=stream)
    log.announce("listening on http://h:1")
    line = orjson.loads(stream.text())
    assert ("info", "listening on http://h:1") == (line["level"], line["message"])


@pytest.mark.parametrize("terminal", [False, True])
def test_as_text_an_announcement_is_a_line_of_its_own(terminal: bool) -> None:
    stream = Stream(terminal=terminal)
    log.configure(form="text", level="error", stream=stream)
    log.announce("listening on http://h:1")
    assert "listening on http://h:1\n" == stream.text()


def test_loggers_that_would_print_secrets_are_silent_even_at_debug() -> None:
    stream = Stream()
    log.configure(form="json", level="debug", stream=stream)
    logging.getLogger("uvicorn.access").info("GET /dataforseo/postback/secret-token")
    logging.getLogger("botocore.auth").debug("Authorization: secret")
    logging.getLogger("urllib3.connectionpool").debug("GET /?token=secret")
    assert "" == stream.text()


def test_configuring_again_does_not_double_the_lines() -> None:
    stream = Stream()
    log.configure(form="json", level="info", stream=stream)
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("stopped")
    assert 1 == len(stream.text().splitlines())


def test_for_a_while_lines_go_elsewhere() -> None:
    usual, other = Stream(), Stream()
    log.configure(form="text", level="info", stream=usual)
    logger = logging.getLogger("receiver")
    with log.redirected(other):
        logger.info("during")
    logger.info("after")
    assert ("after", "during") == (usual.text().split()[-1], other.text().split()[-1])


def test_a_record_is_written_as_it_was_when_it_was_logged() -> None:
    stream, tasks = Stream(), ["task-1"]
    log.configure(form="json", level="info", stream=stream)
    logging.getLogger("receiver").info("lost", extra={"tasks": tasks})
    tasks.clear()
    assert ["task-1"] == orjson.loads(stream.text())["tasks"]


def test_log_and_print_share_one_order() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as end, os.fdopen(writing, "w") as pipe:
        stream = log.queued(pipe)
        log.configure(form="text", level="info", stream=stream)
        for number in range(200):
            logging.getLogger("receiver").info("logged", extra={"number": number})
            print("printed", f"number={number}", file=stream)
        log.flush()
        pipe.close()
        lines = [line.split()[-2:] for line in end]
    assert [
        [word, f"number={number}"] for number in range(200) for word in ("logged", "printed")
    ] == lines

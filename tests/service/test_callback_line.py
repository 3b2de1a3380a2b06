"""The line on the terminal for each callback that is answered."""

import re
from typing import Any

import pytest
from rich.cells import cell_len

from receiver import log
from receiver.door import Answered
from receiver.service import callback_line
from tests.log.streams import Stream

pytestmark = pytest.mark.usefixtures("logging_as_it_was")

_UUID = "11221334-0696-0066-0000-a1b2c3d4e5f6"


def answered(**changes: Any) -> Answered:
    """Return an acknowledged postback, with changes."""
    usual = Answered("dataforseo", "postback", _UUID, "run-42", 38_912, 200, None)
    return usual._replace(**changes)


def test_it_names_time_answer_source_size_task_and_tag() -> None:
    line = callback_line.line(answered(), columns=100)
    time, rest = line[:8], line[8:]
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    assert f" 200 dataforseo postback   38K {_UUID} run-42" == rest


def test_a_refusal_has_its_reason() -> None:
    refused = answered(status=401, reason="bad_token", task_id=None, tag=None, body_bytes=0)
    line = callback_line.line(refused, columns=80)
    assert " 401 dataforseo postback     0 bad_token" == line[8:]


@pytest.mark.parametrize("tag", ["run-" + "4" * 200, "日本" * 50, "\x1b[2J\n" * 20, "r"])
@pytest.mark.parametrize(
    ("provider", "kind", "task_id"),
    [
        ("dataforseo", "postback", _UUID),
        ("dataforapps", "pingback", _UUID),
        ("diffbot", "notification", "a-crawl-with-a-name-that-is-long" * 9),
        ("outscraper", "webhook", "日" * 500),
    ],
)
def test_it_fits_80_columns(provider: str, kind: str, task_id: str, tag: str) -> None:
    usual = answered(provider=provider, kind=kind, task_id=task_id, tag=tag)
    line = callback_line.line(usual, columns=80)
    assert cell_len(line) <= 80
    assert line.endswith("…") == (tag != "r")
    assert line.isprintable()
    wide = callback_line.line(usual, columns=1000)
    assert tag.translate(log.ONE_LINE) in wide


def test_a_task_id_that_can_be_a_uuid_is_whole() -> None:
    assert _UUID in callback_line.line(answered(tag="t" * 99), columns=40)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "   0"),
        (999, " 999"),
        (1000, "1.0K"),
        (10_188, "9.9K"),
        (10_189, " 10K"),
        (1_022_975, "999K"),
        (1_023_999, "1.0M"),
        (64 << 20, " 64M"),
        (2 << 30, "2.0G"),
    ],
)
def test_a_size_has_four_columns(count: int, shown: str) -> None:
    line = callback_line.line(answered(body_bytes=count, task_id=None, tag=None), columns=80)
    assert line.endswith(f" postback  {shown}")


@pytest.mark.parametrize(
    ("form", "level", "terminal", "wanted"),
    [
        ("auto", "info", True, True),
        ("auto", "debug", True, True),
        ("text", "info", True, True),
        ("auto", "warning", True, False),
        ("json", "info", True, False),
        ("text", "info", False, False),
        ("auto", "info", False, False),
    ],
)
def test_it_is_for_those_who_watch(
    form: log.Wanted, level: str, terminal: bool, wanted: bool
) -> None:
    log.configure(form=form, level=level, stream=Stream(terminal=terminal))
    assert wanted == (callback_line.printer() is not None)


@pytest.mark.parametrize(("status", "start"), [(200, ""), (401, "\x1b[33m"), (503, "\x1b[31m")])
def test_refusals_have_colours(status: int, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = _shown(answered(status=status))
    assert shown.startswith(start)
    assert bool(start) == ("\x1b" in shown)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _shown(answered(status=status))


@pytest.mark.parametrize("width", [60, 200])
def test_a_secret_is_masked_before_it_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert _shown(answered(tag="token-1")).endswith(f"{_UUID} ***\n")
    long = "x" * 32
    assert f"{long}***" in _shown(answered(task_id=long + "token-1"))


def _shown(answered: Answered) -> str:
    stream = Stream(terminal=True)
    log.configure(
        form="auto", level="info", stream=stream, hide=lambda line: line.replace("token-1", "***")
    )
    show = callback_line.printer()
    assert show is not None
    show(answered)
    return stream.text()

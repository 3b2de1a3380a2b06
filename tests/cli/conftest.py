"""The command, run in this process as the entry point runs it."""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import log
from receiver.cli import main
from receiver.cli.output import mask_with
from receiver.masking import Masker

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
    mask_with(Masker())
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
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, getattr(sys, name))  # `serve` replaces them
            for name, value in variables.items():
                patch.setenv(f"RECEIVER_{name}", value)
            with pytest.raises(SystemExit) as ended:
                main()
            log.flush()
        captured = self._capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, captured.out, captured.err)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capfd)

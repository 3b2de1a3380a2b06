"""A server process as its parent hears it: a real process that says what it is told."""

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver import metrics
from receiver.config import Settings
from receiver.service.process import ServerProcess

pytestmark = pytest.mark.integration

_SPEAKER = """#!{python}
import os, signal, socket, sys
channel = socket.socket(fileno=int(sys.argv[-1]))
channel.recv(1 << 20)  # the settings
channel.sendall({said!r})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "said",
    [
        b'{"ready":true}\n{"metrics":[["callbacks_total",{"prov',
        b'{"metrics":[["callbac\n{"ready":true}\n',
    ],
    ids=["at the end", "in between"],
)
def test_half_a_message_of_a_process_that_is_killed_is_passed_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: bytes,
) -> None:
    speaker = tmp_path / "speaker"
    speaker.write_text(_SPEAKER.format(python=sys.executable, said=said))
    speaker.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(speaker))
    told: list[str] = []
    given: dict[str, Any] = {}

    async def whole() -> tuple[int, bool]:
        server = ServerProcess(
            Settings(**given),
            metrics.Instance(),
            lambda: told.append("ready"),
            lambda _, segment: told.append(segment),
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.start(listener)
            async with asyncio.timeout(60):
                return await server.wait(), server.ready

    assert (-signal.SIGKILL, True) == asyncio.run(whole())
    assert ["ready"] == told
    (warning,) = caplog.records
    assert "message of a server process cannot be read" == warning.getMessage()

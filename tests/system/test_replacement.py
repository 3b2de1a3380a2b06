"""A server process that died is replaced, whatever has changed around it since the start."""

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system


def test_a_replacement_knows_the_settings_of_the_start(tmp_path: Path) -> None:
    secret = tmp_path / "tokens"
    secret.write_text(TOKEN)
    with Receiver(tmp_path / "here") as receiver:
        del receiver.environ["RECEIVER_TOKENS"]
        receiver.environ["RECEIVER_TOKENS_FILE"] = str(secret)
        receiver.start()
        secret.unlink()
        (before,) = receiver.server_pids()
        os.kill(before, signal.SIGKILL)
        path = receiver.path("diffbot", "notification")
        wait_for(lambda: receiver.server_pids() not in ([], [before]), "it is replaced")
        assert 200 == receiver.request("POST", path, b"{}").status


def test_a_replacement_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    with Receiver(tmp_path / "here") as receiver:
        receiver.start()
        (before,) = receiver.server_pids()
        parent = receiver.life.pid
        soft, hard = resource.prlimit(parent, resource.RLIMIT_NOFILE)
        # What is open stays open, and not even a socket pair can be had.
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: receiver.life.logged("server process not started"), "it has failed")
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (soft, hard))
        path = receiver.path("diffbot", "notification")
        wait_for(lambda: receiver.server_pids() not in ([], [before]), "it is replaced")
        assert 200 == receiver.request("POST", path, b"{}").status

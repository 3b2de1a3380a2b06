"""`serve` when an exception that nobody expects ends one of its tasks, in parent or server."""

from pathlib import Path

import pytest

from tests.tools.support.server import Life, Receiver

pytestmark = pytest.mark.system

# Python imports a module of this name when it starts (docs.python.org/3/library/site.html).
_SITECUSTOMIZE = """
import sys

async def later(*args, **named):
    raise LookupError("a fault of this test")

def at_once(*args, **named):
    raise LookupError("a fault of this test")

if {command!r} in sys.orig_argv:
    from receiver.service import parent, server
    {place} = {how}
"""


def _fail(tmp_path: Path, command: str, place: str, how: str) -> Life:
    faults = tmp_path / "faults"
    faults.mkdir()
    fault = _SITECUSTOMIZE.format(command=command, place=place, how=how)
    (faults / "sitecustomize.py").write_text(fault)
    with Receiver(tmp_path / "it", {"PYTHONPATH": str(faults)}) as it:
        life = it.launch()
        assert 1 == life.wait()
        life.wait_for_all()
    assert "listening on" not in life.text()
    [line] = life.logged("unexpected error, stopping")
    assert "LookupError: a fault of this test" in line["exception"]
    # A server process may print that the parent is gone.
    assert "Traceback" not in "\n".join(life.errors)
    return life


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("parent.AdminServer.serve", "later"),
        ("parent.ServerProcess.start", "later"),
        ("parent.Measuring.__init__", "at_once"),
        ("parent.Parent._repeat", "later"),
        ("parent.announce", "at_once"),
    ],
)
def test_a_parent_that_cannot_start_says_why_and_ends_with_1(
    tmp_path: Path, place: str, how: str
) -> None:
    _fail(tmp_path, "serve", place, how)


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("server.open_spool", "at_once"),
        ("server.make_app", "at_once"),
        ("server._Server.startup", "later"),
    ],
)
def test_a_server_process_that_cannot_start_ends_the_instance_with_1(
    tmp_path: Path, place: str, how: str
) -> None:
    life = _fail(tmp_path, "server-process", place, how)
    [line] = life.logged("server process cannot start, stopping")
    assert 1 == line["status"]

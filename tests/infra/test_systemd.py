"""The unit: systemd takes it, it is hardened, and the receiver needs nothing that it forbids."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.infra.defaults import DEFAULTS, STOP_SECONDS
from tests.tools.support.oracle import Ledger
from tests.tools.support.samples import Samples
from tests.tools.support.server import TOKEN, Receiver, clean_environ
from tests.tools.support.tools import ROOT, cannot, needs

UNIT = ROOT / "infra" / "receiver.service"
SETTINGS = ROOT / "infra" / "receiver.env"
SCRIPT = ROOT / "infra" / "receiver.sh"
# systemd's scale: 10 is no protection at all, 0 the most there is.
EXPOSURE_MAX = 1.5


def values(name: str) -> list[str]:
    """Return what a setting of the unit is set to, one for each line."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([needs("systemd-analyze"), *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a command that is there."""
    command = shutil.which("true")
    assert command is not None
    copy = tmp_path / UNIT.name
    text, changed = re.subn("/opt/receiver/bin/receiver", command, UNIT.read_text())
    assert 1 == changed
    copy.write_text(text)
    return copy


@pytest.mark.integration
def test_systemd_understands_all_of_it(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.integration
def test_systemd_finds_it_well_protected(unit: Path) -> None:
    done = analyze(
        "security",
        "--offline=true",
        f"--threshold={int(EXPOSURE_MAX * 10)}",
        "--no-pager",
        str(unit),
    )
    assert 0 == done.returncode, done.stdout


def test_there_is_time_to_drain_and_to_ship_before_it_is_killed() -> None:
    (seconds,) = values("TimeoutStopSec")
    assert STOP_SECONDS + 10 < float(seconds)
    assert ["mixed"] == values("KillMode")


@pytest.mark.system
def test_the_receiver_takes_its_settings(tmp_path: Path) -> None:
    given = dict(text.split("=", 1) for text in values("Environment"))
    (name, source) = values("LoadCredential")[0].split(":")
    assert "/etc/receiver/tokens" == source
    assert f"%d/{name}" == given["RECEIVER_TOKENS_FILE"]
    (tmp_path / name).write_text(TOKEN)
    it = Receiver(
        tmp_path, {key: value.replace("%d", str(tmp_path)) for key, value in given.items()}
    )
    del it.environ["RECEIVER_TOKENS"]
    shown = it.command("config")
    assert 0 == shown.returncode, shown.stderr
    for place in (values("StateDirectory"), values("CacheDirectory")):
        assert ["receiver"] == place
    assert "/var/lib/receiver/spool" == given["RECEIVER_SPOOL"]
    assert "/var/cache/receiver/catalog" == given["RECEIVER_CATALOG"]
    assert "/var/lib/receiver/jobs" == given["RECEIVER_JOBS"]


def test_it_is_started_again_however_often_it_fails() -> None:
    assert ["0"] == values("StartLimitIntervalSec")
    assert ["always"] == values("Restart")


@pytest.mark.system
def test_the_settings_are_taken_with_their_comments_too(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=[A-Z_]+=)", "", SETTINGS.read_text(), flags=re.MULTILINE)
    given = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    shown = Receiver(tmp_path, given).command("config", "--output", "json")
    assert 0 == shown.returncode, shown.stderr
    assert len(given) > 8
    for row in map(orjson.loads, shown.stdout.splitlines()):
        if row["variable"] in given and "PASSWORD" not in row["variable"]:
            assert given[row["variable"]] == row["value"]


@pytest.mark.system
def test_a_command_has_the_settings_of_the_unit_and_its_user(tmp_path: Path) -> None:
    here = tmp_path / "machine"
    for name in ("etc/receiver", "var/lib/receiver", "programs"):
        (here / name).mkdir(parents=True)
    odd = "a $HOME \"'b== c"
    (here / "etc/receiver/receiver.env").write_text(
        f"# RECEIVER_HOST=::1\nRECEIVER_ARCHIVE={here}/archive\n\nRECEIVER_INSTANCE={odd}"
    )
    (here / "etc/receiver/tokens").write_text(f"{TOKEN}\n")
    # In the place of the one that takes a user who is not there.
    runuser = here / "programs" / "runuser"
    runuser.write_text('#!/bin/sh\n[ "$1 $2 $3" = "--user receiver --" ] && shift 3 && exec "$@"\n')
    runuser.chmod(0o755)
    text = re.sub(r"/(?=(etc|var)/)", f"{here}/", SCRIPT.read_text().partition("\nset ")[2])
    text, changed = re.subn("/opt/receiver/bin", str(Path(sys.executable).parent), text)
    assert 1 == changed
    script = here / "programs" / "receiver"
    script.write_text(f"#!/bin/sh\nset {text}")
    script.chmod(0o755)
    environ = clean_environ() | {"PATH": f"{runuser.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [script, "config", "--output", "json"], env=environ, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    shown = {row["variable"]: row["value"] for row in map(orjson.loads, done.stdout.splitlines())}
    assert (odd, f"{here}/archive") == (shown["RECEIVER_INSTANCE"], shown["RECEIVER_ARCHIVE"])
    assert DEFAULTS.host == shown["RECEIVER_HOST"]
    of_the_unit = dict(text.split("=", 1) for text in values("Environment"))
    assert of_the_unit.pop("RECEIVER_TOKENS_FILE")
    assert "***" in shown["RECEIVER_TOKENS"]
    assert 3 == len(of_the_unit)
    for name, value in of_the_unit.items():
        assert f"{here}{value}" == shown[name]
    checked = subprocess.run([script, "check"], env=environ, capture_output=True, text=True)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert (here / "var/lib/receiver/spool").stat().st_mode & 0o077 == 0


def allowed() -> set[str]:
    """Return the system calls that the unit's filter lets through."""
    calls = set[str]()
    for line in values("SystemCallFilter"):
        for group in line.lstrip("~").split():
            calls = calls - _calls(group) if line.startswith("~") else calls | _calls(group)
    return calls


def _calls(group: str) -> set[str]:
    lines = [line.strip() for line in analyze("syscall-filter", group).stdout.splitlines()]
    found = set[str]()
    for line in lines[1:]:
        if line.startswith("@"):
            found |= _calls(line)
        elif line and not line.startswith("#"):
            found.add(line)
    return found


@pytest.mark.system
def test_the_receiver_makes_no_system_call_that_it_forbids(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    before = [needs("strace"), "-f", "-c", "-S", "name", "-U", "name", "-o", str(counts)]
    tried = subprocess.run([before[0], "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        cannot(f"strace is not permitted here: {tried.stderr}")
    # As under the unit, where LimitNOFILE sets both limits.
    limited = ["bash", "-c", 'ulimit -S -n "$(ulimit -H -n)"; exec "$@"', "bash", *before]
    samples = Samples(seed=61)
    with Receiver(tmp_path, before=limited) as it:
        it.start("--workers", "2")
        for _ in range(20):
            Ledger().deliver(it.request, samples.postback(), token=TOKEN)
        it.metrics_text()
        it.wait_until_shipped()
        # strace passes SIGTERM on to nobody; its child is the parent of all.
        subprocess.run(["kill", "-TERM", str(_child(it.life.pid))], check=True)
        it.life.wait_for_all()
    made = set(counts.read_text().split()) - {"syscall"}
    assert {"fdatasync", "flock", "accept4"} <= made
    names = {name for name in made if re.fullmatch(r"[a-z][a-z0-9_]+", name)}
    assert set() == names - allowed() - {"total"}


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

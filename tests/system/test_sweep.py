"""`receiver sweep` and the sweeps of `receiver serve`, as processes, against simulated APIs."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.sink import Sink
from tests.tools.support.lease import wait_until_free
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import TOKEN, Life, Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

ORGANIC = "serp/google/organic"
# The shortest that settings allow, and the grace after it.
LEASE_SECONDS = 5


@pytest.fixture
def dataforseo() -> Iterator[DataForSeo]:
    with DataForSeo() as simulator:
        yield simulator


def settings_of(root: Path, dataforseo: DataForSeo) -> dict[str, str]:
    return {
        "RECEIVER_ARCHIVE": str(root / "archive"),
        "RECEIVER_DATAFORSEO_URL": dataforseo.url,
        "RECEIVER_DATAFORSEO_LOGIN": dataforseo.settings.login,
        "RECEIVER_DATAFORSEO_PASSWORD": dataforseo.settings.password,
        "RECEIVER_DATAFORSEO_FAMILIES": "serp",
        "RECEIVER_SWEEP_GRACE_SECONDS": "0",
        "RECEIVER_LEASE_SECONDS": str(LEASE_SECONDS),
    }


def instance(root: Path, name: str, settings: Mapping[str, str]) -> Receiver:
    own = {
        "RECEIVER_INSTANCE": name,
        "RECEIVER_CATALOG": str(root / name / "catalog"),
        "RECEIVER_ARCHIVE": str(root / "archive"),
    }
    return Receiver(root / name, {**settings, **own})


@pytest.fixture
def receiver(tmp_path: Path, dataforseo: DataForSeo) -> Receiver:
    return instance(tmp_path, "here", settings_of(tmp_path, dataforseo))


def archived(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Return the archive's lines by task; each of them once."""
    lines = read_lines(DirectoryArchive(tmp_path / "archive"))
    by_task = {str(line["task_id"]): line for line in lines}
    assert len(lines) == len(by_task)
    return by_task


def begin(receiver: Receiver, *arguments: str) -> Life:
    """Start a command and return at once."""
    command = [sys.executable, "-m", "receiver", *arguments]
    return Life(command, cwd=receiver.root, environ=receiver.environ)


def swept(receiver: Receiver, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    ended = receiver.command("sweep", *arguments, "--output", "json")
    assert status == ended.returncode, ended
    return [orjson.loads(line) for line in ended.stdout.splitlines()]


def test_what_was_fetched_is_printed_summed_up_and_shipped(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 3, tag="ours")
    *tasks, summary = swept(receiver, "--dry-run")
    assert {("task", "wanted")} == {(task["type"], task["outcome"]) for task in tasks}
    assert ("summary", True, {"wanted": 3}) == tuple(
        summary[name] for name in ("type", "dry_run", "outcomes")
    )
    assert set(ids) == set(dataforseo.uncollected())
    assert not (tmp_path / "archive").exists()

    ended = receiver.command("sweep", "dataforseo")
    assert (0, "") == (ended.returncode, ended.stderr)
    head, *rows = ended.stdout.splitlines()
    assert ["provider", "task", "id", "tag", "outcome"] == head.split()[:5]
    assert {(task_id, "ours", "repaired") for task_id in ids} == {
        tuple(row.split()[1:4]) for row in rows[:3]
    }
    assert "3 repaired" in rows[-1]
    lines = archived(tmp_path)
    assert set(ids) == set(lines)
    assert {("sweep", "result", "here")} == {
        (line["origin"], line["kind"], line["instance"]) for line in lines.values()
    }
    assert [] == receiver.spooled()
    (summary,) = swept(receiver)
    assert ({}, []) == (summary["outcomes"], summary["alarms"])


def test_a_terminal_shows_progress(receiver: Receiver, dataforseo: DataForSeo) -> None:
    dataforseo.add_ready(ORGANIC, 30)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "sweep"],
        cwd=receiver.root,
        env=receiver.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break  # Linux's way to say that the other side is closed
    os.close(ours)
    assert 0 == process.wait(30)
    assert b"dataforseo" in shown
    assert b"30/30" in shown


def test_a_sweep_that_is_killed_loses_nothing(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 400)
    dataforseo.latency_seconds = 0.1
    life = begin(receiver, "sweep")
    wait_for(lambda: dataforseo.ledger.count("task_get") >= 60, "a part was collected")
    life.signal_all(signal.SIGKILL)
    life.wait_for_all()
    life.close()
    dataforseo.latency_seconds = 0.0
    left = len(dataforseo.uncollected())
    assert 0 < left < 400
    # Its lease is still there, and says so.
    ended = receiver.command("sweep")
    assert 1 == ended.returncode
    assert "receiver: dataforseo: another instance is sweeping: here/" in ended.stderr

    other = instance(tmp_path, "there", settings_of(tmp_path, dataforseo))
    summary = sweep_when_free(other)
    assert 2 == summary["generation"]
    # What the dead one had in its spool is shipped from there.
    assert 0 == receiver.command("ship").returncode
    lines = read_lines(DirectoryArchive(tmp_path / "archive"))
    assert set(ids) == {line["task_id"] for line in lines}
    assert {"sweep"} == {line["origin"] for line in lines}
    assert [] == dataforseo.uncollected()
    (summary,) = swept(other)
    assert {} == summary["outcomes"]
    assert [] == list((tmp_path / "archive" / "sweeps" / "unfinished").glob("*/*.json"))


def sweep_or_none(receiver: Receiver) -> dict[str, Any] | None:
    """Sweep; return the summary, or None while another instance has the lease."""
    ended = receiver.command("sweep", "--output", "json")
    if ended.returncode == 1 and "another instance is sweeping" in ended.stderr:
        return None
    assert 0 == ended.returncode, ended
    summary: dict[str, Any] = orjson.loads(ended.stdout.splitlines()[-1])
    return summary


def sweep_when_free(receiver: Receiver) -> dict[str, Any]:
    """Sweep as soon as the lease of one that is gone has run out; return the summary."""
    wait_until_free(Path(receiver.environ["RECEIVER_ARCHIVE"]), "sweep-dataforseo")
    summary = wait_for(lambda: sweep_or_none(receiver), "the lease is given")
    assert summary is not None
    return summary


def test_a_sweep_that_slept_through_its_lease_does_nothing_more(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 400)
    dataforseo.latency_seconds = 0.1
    life = begin(receiver, "sweep")
    wait_for(lambda: dataforseo.ledger.count("task_get") >= 40, "a part was collected")
    life.signal_all(signal.SIGSTOP)
    other = instance(tmp_path, "there", settings_of(tmp_path, dataforseo))
    sweep_when_free(other)
    assert [] == dataforseo.uncollected()
    before = dataforseo.ledger.count("task_get")
    life.signal_all(signal.SIGCONT)
    assert 1 == life.wait()
    life.wait_for_all()
    assert "leases/sweep-dataforseo.json ran out" in life.text()
    # Those that were under way when it was stopped may end.
    assert dataforseo.ledger.count("task_get") - before <= 20
    life.close()
    assert set(ids) == {
        line["task_id"] for line in read_lines(DirectoryArchive(tmp_path / "archive"))
    }


def test_of_two_instances_that_begin_together_one_sweeps(
    tmp_path: Path, dataforseo: DataForSeo
) -> None:
    settings = settings_of(tmp_path, dataforseo)
    ids = dataforseo.add_ready(ORGANIC, 200)
    # Slow until the other one has looked, however late that is.
    dataforseo.latency_seconds = 1.0
    lives = [begin(instance(tmp_path, name, settings), "sweep") for name in ("a", "b")]
    wait_for(lambda: any(life.status is not None for life in lives), "one of them gives up")
    dataforseo.latency_seconds = 0.0
    assert [0, 1] == sorted(life.wait() for life in lives)
    for life in lives:
        life.wait_for_all()
    (loser,) = (life for life in lives if life.status == 1)
    assert "another instance is sweeping" in loser.text()
    for life in lives:
        life.close()
    assert set(ids) == set(archived(tmp_path))
    assert 200 == dataforseo.ledger.count("task_get")
    assert 20 >= dataforseo.ledger.simultaneous_max()
    assert 0 == dataforseo.ledger.count(code=40202)


def test_serve_sweeps_on_its_interval_and_says_so(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    receiver.environ["RECEIVER_DATAFORSEO_SWEEP_SECONDS"] = "60"
    ids = dataforseo.add_ready(ORGANIC, 5, tag="ours")
    with receiver:
        receiver.start()
        wait_for(lambda: set(archived(tmp_path)) == set(ids), "the archive has what was fetched")
        wait_for(lambda: receiver.status()["last_sweeps"], "the sweep is told of")
        summary = receiver.status()["last_sweeps"]["dataforseo"]
        assert {"repaired": 5} == summary["outcomes"]
        labels = {"provider": "dataforseo", "outcome": "repaired"}
        assert 5 == receiver.metric("receiver_swept_total", **labels)
        assert receiver.metric("receiver_last_sweep_timestamp_seconds") > 0
        # A figure that appears when it first counts hides its first rise from who watches rises.
        lost = 'receiver_swept_total{outcome="lost",provider="dataforseo"} 0.0'
        assert lost in receiver.metrics_text().splitlines()
        wait_for(lambda: len(receiver.life.logged("repair")) >= 5, "each repair is logged")
        repairs = receiver.life.logged("repair")
        assert set(ids) == {line["task_id"] for line in repairs}
        assert {("repaired", "ours", f"/v3/{ORGANIC}/task_get/advanced")} == {
            (line["outcome"], line["tag"], line["how"].rpartition("/")[0]) for line in repairs
        }
        receiver.terminate()
    assert TOKEN not in receiver.text()
    assert dataforseo.settings.password not in [
        word for line in receiver.life.output for word in line.split('"')
    ]


def test_serve_ends_in_the_middle_of_a_sweep_and_the_next_goes_on(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 300)
    dataforseo.latency_seconds = 0.1
    with receiver:
        receiver.start()
        wait_for(lambda: dataforseo.ledger.count("task_get") >= 40, "a part was collected")
        began = time.monotonic()
        receiver.terminate()
        assert time.monotonic() - began < 30
        assert dataforseo.uncollected()
        dataforseo.latency_seconds = 0.0
        # It has given its lease up, so this one need not wait.
        summary = sweep_or_none(receiver)
        assert summary is not None
    lines = read_lines(DirectoryArchive(tmp_path / "archive"))
    assert set(ids) == {line["task_id"] for line in lines}


def test_a_provider_that_is_down_does_not_stop_the_others(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver
) -> None:
    with Diffbot() as diffbot, Sink() as door:
        webhook = f"{door.url}/diffbot/notification/{TOKEN}"
        door.status = 503
        diffbot.create("shop", seeds="https://example.org", notifyWebhook=webhook)
        diffbot.complete("shop")
        diffbot.wait_idle()
        dataforseo.fail("html")
        receiver.environ |= {
            "RECEIVER_DIFFBOT_URL": diffbot.url,
            "RECEIVER_DIFFBOT_TOKEN": "token",
        }
        ended = receiver.command("sweep")
    assert 4 == ended.returncode
    assert "receiver: dataforseo: the API answered HTTP 200 with something" in ended.stderr
    assert ["shop"] == list(archived(tmp_path))


@pytest.mark.parametrize("fault", ["html", "half_json", "endless", "redirect", "http_401"])
def test_a_provider_on_a_bad_day_costs_nothing_and_is_one_clear_line(
    tmp_path: Path, dataforseo: DataForSeo, receiver: Receiver, fault: str
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 3)
    receiver.environ["RECEIVER_RESULT_BYTES_MAX"] = str(1 << 20)
    secret = "canary-secret-5b1f0c9a7e21"
    receiver.environ["RECEIVER_DATAFORSEO_PASSWORD"] = secret
    if fault != "http_401":
        dataforseo.settings.password = secret
        dataforseo.fail(fault)
    ended = receiver.command("sweep")
    # Refused credentials are a setting to fix.
    assert (3 if fault == "http_401" else 4, "") == (ended.returncode, ended.stdout)
    (line,) = ended.stderr.splitlines()
    assert line.startswith("receiver: dataforseo: ")
    assert secret not in line
    dataforseo.recover()
    assert ids == dataforseo.uncollected()
    (report,) = DirectoryArchive(tmp_path / "archive").keys("sweeps/date=")
    summary = orjson.loads((tmp_path / "archive" / report).read_bytes().splitlines()[-1])
    assert ["dataforseo"] == [alarm.split(":")[0] for alarm in summary["alarms"]]
    if fault != "http_401":
        *_, summary = swept(receiver)
        assert {"repaired": 3} == summary["outcomes"]

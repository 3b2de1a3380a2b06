"""`receiver replay` by the real command: killed, resumed, refused, interrupted, and to its end."""

import base64
import hashlib
import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.system.conftest import place_in_bucket
from tests.tools.support.http import address_of, exchange
from tests.tools.support.oracle import Archive, DirectoryArchive, read_lines
from tests.tools.support.relay import Relay
from tests.tools.support.s3 import S3Server
from tests.tools.support.samples import API_KEY, Sample, Samples
from tests.tools.support.server import Life, Receiver
from tests.tools.support.target import Reply, TargetServer
from tests.tools.support.wait import readable, wait_for

pytestmark = pytest.mark.system

SECRET = "whsec_" + base64.b64encode(b"canary-secret-of-the-replays").decode()
URL_TOKEN = "canary-token-of-the-target-8d1f"
SECOND_TOKEN = "canary-token-of-the-second-51c0"
MANY, KILLS, CONCURRENCY = 3000, 10, 4
Ended = subprocess.CompletedProcess[str]


def fill(it: Receiver, samples: list[Sample]) -> dict[str, Sample]:
    """Deliver samples over several connections; return them by delivery id."""
    here = threading.local()
    connections: list[HTTPConnection] = []

    def deliver(sample: Sample) -> str:
        if not hasattr(here, "connection"):
            here.connection = HTTPConnection(*address_of(it.url), timeout=60)
            connections.append(here.connection)
        target = it.path(sample.provider, sample.kind, sample.rest)
        answer = exchange(here.connection, sample.method, target, sample.wire, sample.headers)
        assert 200 == answer.status, answer
        return answer.headers["x-delivery-id"]

    with ThreadPoolExecutor(12) as pool:
        taken = dict(zip(pool.map(deliver, samples), samples, strict=True))
    for connection in connections:
        connection.close()
    return taken


@dataclass(frozen=True, slots=True)
class Kept:
    """An archive that a receiver filled, which is not running any more."""

    it: Receiver
    archive: Archive
    taken: dict[str, Sample]

    def run(self, *arguments: str, **settings: str) -> Ended:
        """Run a command to its end; it may show nothing that is secret."""
        ended = self.it.command(*arguments, seconds=60.0, **settings)
        for secret in (SECRET, URL_TOKEN, SECOND_TOKEN, self.it.token):
            assert secret not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def replay(self, url: str, *arguments: str, status: int = 0, **settings: str) -> dict[str, Any]:
        """Replay with `--output json`; return the summary, and `failed` by delivery id."""
        given = ("replay", "--to", url, *arguments, "--output", "json")
        ended = self.run(*given, **settings)
        assert status == ended.returncode, ended.stdout + ended.stderr
        rows = [orjson.loads(line) for line in ended.stdout.splitlines()]
        summary: dict[str, Any] = rows.pop()
        if "type" in summary:
            assert "summary" == summary.pop("type")
            summary["by_id"] = {row["delivery_id"]: row for row in rows}
        return summary

    def error(self, *arguments: str, status: int, **settings: str) -> str:
        """Run a command that fails; return why."""
        ended = self.run(*arguments, **settings)
        assert status == ended.returncode, ended.stdout + ended.stderr
        return ended.stderr

    def rows(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """Run a command with `--output json`; return its lines."""
        ended = self.run(*arguments, "--output", "json")
        assert status == ended.returncode, ended.stderr
        return [orjson.loads(line) for line in ended.stdout.splitlines()]

    def job_file(self, name: str) -> Path:
        """Return where a job is kept."""
        return self.it.root / "data" / "jobs" / f"{name}.sqlite"

    def launch(self, *arguments: str) -> Life:
        """Begin a command."""
        command = [sys.executable, "-m", "receiver", *arguments]
        return Life(command, cwd=self.it.root, environ=self.it.environ)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Kept]:
    """Thousands of callbacks of all providers, in a bucket."""
    place = place_in_bucket(s3.new_bucket(), s3.url)
    settings = {
        **place.settings,
        "RECEIVER_S3_TIMEOUT_SECONDS": "30",
        "RECEIVER_BATCH_BYTES": str(4 << 20),
        "RECEIVER_BATCH_SECONDS": "1",
        "RECEIVER_OUTSCRAPER_API_KEYS": API_KEY,
        "RECEIVER_REPLAY_SECRET": SECRET,
    }
    source = Samples(seed=41)
    with Receiver(tmp_path_factory.mktemp("many"), settings) as it:
        it.start()
        taken = fill(it, [source.next() for _ in range(MANY)])
        it.terminate()
        assert [] == it.spooled()
        yield Kept(it, place.archive, taken)


@pytest.fixture
def target() -> Iterator[TargetServer]:
    with TargetServer() as target:
        yield target


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A job's name that no other test has."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


def hook(target: TargetServer) -> str:
    return f"{target.url}/{URL_TOKEN}"


# Killed again and again.


@pytest.mark.timeout(300)  # half of a minute on a machine of its own
def test_a_replay_that_is_killed_again_and_again_reaches_a_second_receiver_whole(
    many: Kept, tmp_path: Path, name: str
) -> None:
    settings = {"RECEIVER_OUTSCRAPER_API_KEYS": API_KEY, "RECEIVER_BATCH_SECONDS": "1"}
    noise = random.Random(seed := int(os.environ.get("TEST_KILL_SEED", time.time_ns())))
    print(f"TEST_KILL_SEED={seed}")
    with Receiver(tmp_path, settings, token=SECOND_TOKEN) as second:
        second.start()
        url = f"{second.url}/{{provider}}/{{kind}}/{SECOND_TOKEN}{{path}}"
        paced = ("--since", "2h", "--rate", "300", "--concurrency", str(CONCURRENCY))
        for _ in range(KILLS):
            life = many.launch("replay", "--to", url, "--job", name, "--yes", *paced)
            _kill_after(life, many.job_file(name), noise)
        before = confirmed(many.job_file(name))
        summary = many.replay(url, "--job", name, "--yes")
        assert (MANY - before, 0) == (summary["confirmed"], summary["failed"])
        second.terminate()
        _compare(many, second)
        for it in (many.it, second):
            ended = it.command("verify", "--since", "2d")
            assert (0, "no problems found") == (ended.returncode, ended.stdout.strip()[-17:])
    (shown,) = [row for row in many.rows("jobs") if row["job"] == name]
    assert (MANY, 0) == (shown["confirmed"], shown["failed"])
    _check_secrets(many, name)


def _kill_after(life: Life, job: Path, noise: random.Random) -> None:
    """Kill a replay at a moment that nothing in it decides."""
    wanted = confirmed(job) + noise.randrange(1, 150)
    wait_for(lambda: confirmed(job) >= wanted or life.ended, "some are confirmed")
    time.sleep(noise.uniform(0, 0.02))
    life.signal(signal.SIGKILL)
    assert -signal.SIGKILL == life.wait(), life.text()
    life.close()


def confirmed(job: Path) -> int:
    """Return how many a job has confirmed so far."""
    if not job.exists():
        return 0
    with closing(sqlite3.connect(job.as_uri() + "?mode=ro", uri=True)) as database:
        try:
            query = "SELECT count(*) FROM outcomes WHERE confirmed"
            (count,) = database.execute(query).fetchone()
        except sqlite3.OperationalError:
            return 0  # it is being made
    assert isinstance(count, int)
    return count


def _compare(many: Kept, second: Receiver) -> None:
    """Compare two archives line by line; count what the second one saw twice."""
    first = {line["delivery_id"]: line for line in read_lines(many.archive)}
    assert many.taken.keys() == first.keys()
    seen: Counter[str] = Counter()
    for line in read_lines(DirectoryArchive(second.archive)):
        headers = dict(line["headers"])
        came = first[headers["webhook-id"]]
        seen[headers["webhook-id"]] += 1
        for column in ("provider", "kind", "method", "task_id", "tag", "key", "status", "invalid"):
            assert came[column] == line[column], (column, came, line)
        for column in ("body", "body_base64", "body_bytes", "content_type"):
            assert came[column] == line[column], (column, came["delivery_id"])
        assert _without_last_slash(came["target"]) == _without_last_slash(line["target"])
        assert came["received_at"] == headers["webhook-received-at"]
        assert "true" == headers["webhook-replay"]
    assert first.keys() == seen.keys()
    twice = seen.total() - MANY
    print(f"{MANY} callbacks, {KILLS} kills, {twice} sent twice")
    assert twice <= KILLS * CONCURRENCY


def _without_last_slash(target: str) -> str:
    path, _, query = target.partition("?")
    return f"{path.rstrip('/')}?{query}"


def _check_secrets(many: Kept, name: str) -> None:
    """Make sure that the job's file holds neither the target's URL nor the secret."""
    files = [path for path in many.job_file(name).parent.iterdir() if name in path.name]
    assert f"{name}.sqlite" in [path.name for path in files]
    for path in files:
        content = path.read_bytes()
        assert SECOND_TOKEN.encode() not in content
        assert SECRET.encode() not in content
        assert b"http://" not in content


# Interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_settles_what_is_under_way_and_goes_on_later(
    many: Kept, target: TargetServer, name: str, number: signal.Signals
) -> None:
    target.otherwise = Reply(seconds=1.0)
    words = ("replay", "--to", hook(target), "--limit", "100", "--job", name)
    with closing(many.launch(*words, "--concurrency", "3", "--output", "json")) as life:
        wait_for(lambda: len(target.received) >= 4, "some are sent")
        if number is signal.SIGTERM:
            why = many.error("replay", "--to", hook(target), "--job", name, status=3)
            assert f"job {name} is running in another process" in why
        life.signal(number)
        assert 130 == life.wait(), life.text()
        life.wait_for_all()
        assert ["receiver: interrupted"] == [line for line in life.errors if line]
        summary = orjson.loads(life.output[-1])
    assert len(target.received) == summary["confirmed"] == confirmed(many.job_file(name))
    assert summary["confirmed"] < 100
    target.otherwise = Reply()
    many.replay(hook(target), "--job", name)
    assert [1] * 100 == list(target.attempts().values())


# Failures.


def test_some_that_fail_are_told(many: Kept, target: TargetServer) -> None:
    target.plan(min(many.taken), Reply(status=404))
    summary = many.replay(hook(target), "--limit", "20", status=1)
    assert {min(many.taken)} == summary["by_id"].keys()


def test_many_are_not_sent_without_a_question(many: Kept, target: TargetServer) -> None:
    why = many.error("replay", "--to", hook(target), status=2)
    assert f"this sends {MANY} callbacks to {target.url}: give --yes" in why
    assert [] == target.received


def test_an_archive_that_cannot_be_reached(
    many: Kept, target: TargetServer, relay: Relay, name: str
) -> None:
    relay.behave("refuse")
    away = {"AWS_ENDPOINT_URL_S3": relay.url, "RECEIVER_S3_TIMEOUT_SECONDS": "1"}
    words = ("replay", "--to", hook(target), "--limit", "9", "--job", name)
    assert "cannot list" in many.error(*words, status=4, **away)
    assert [] == target.received


# On a terminal.


def at_a_terminal(many: Kept, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run a command on a terminal, type an answer to its question; return what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", *arguments],
        cwd=many.it.root,
        env=many.it.environ | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, answered = b"", False
    while readable([ours], seconds=60):
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break  # Linux's way to say that the other side is closed
        if b"[y/N]" in shown and not answered:
            os.write(ours, answer.encode() + b"\n")
            answered = True
    os.close(ours)
    return process.wait(60), shown.decode()


def test_a_terminal_is_asked_and_shown_how_far_it_is(many: Kept, target: TargetServer) -> None:
    target.keeping = False
    words = ("replay", "--to", hook(target), "--concurrency", "32")
    status, shown = at_a_terminal(many, *words, answer="n")
    assert 130 == status
    assert f"This sends {MANY} callbacks to {target.url}. Go on?" in shown
    assert [] == target.received
    status, shown = at_a_terminal(many, *words, answer="y")
    assert 0 == status
    assert MANY == len(target.received)
    assert f"{MANY}/{MANY}" in shown
    assert "0 failed" in shown
    assert URL_TOKEN not in shown

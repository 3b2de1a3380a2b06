"""`receiver replay` by the real command: killed, resumed, refused, interrupted, and to its end."""

import base64
import gzip
import hashlib
import os
import pty
import random
import select
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
from standardwebhooks import Webhook

from tests.support.http import address_of, exchange
from tests.support.oracle import Archive, DirectoryArchive, read_lines
from tests.support.relay import Relay
from tests.support.s3 import S3Server
from tests.support.samples import API_KEY, Sample, Samples
from tests.support.server import Life, Receiver
from tests.support.target import Received, Reply, TargetServer
from tests.support.wait import wait_for
from tests.system.conftest import place_in_bucket

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("replay")]

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
        ended = self.it.command(*arguments, **settings)
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


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Forty-two callbacks, some of which came twice, in a directory."""
    source = Samples(seed=42)
    samples = [sample for _ in range(3) for sample in source.of_each()]
    again = [source.postback("dataforseo", squeezed=True) for _ in range(6)]
    with Receiver(tmp_path_factory.mktemp("kept"), {"RECEIVER_REPLAY_SECRET": SECRET}) as it:
        it.start()
        taken: dict[str, Sample] = {}
        for some in (samples, again, again):
            taken |= fill(it, some)
        it.terminate()
        yield Kept(it, DirectoryArchive(it.archive), taken)


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


def test_a_replay_that_is_killed_again_and_again_reaches_a_second_receiver_whole(
    many: Kept, tmp_path: Path, name: str
) -> None:
    settings = {"RECEIVER_OUTSCRAPER_API_KEYS": API_KEY, "RECEIVER_BATCH_SECONDS": "1"}
    noise = random.Random(seed := int(os.environ.get("TEST_KILL_SEED", time.time_ns())))
    print(f"TEST_KILL_SEED={seed}")
    with Receiver(tmp_path, settings, token=SECOND_TOKEN) as second:
        second.start()
        url = f"{second.url}/{{provider}}/{{kind}}/{SECOND_TOKEN}{{path}}"
        paced = ("--since", "2h", "--rate", "600", "--concurrency", str(CONCURRENCY))
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
            assert (0, "nothing amiss") == (ended.returncode, ended.stdout.strip()[-13:])
    (shown,) = [row for row in many.rows("jobs") if row["job"] == name]
    assert (MANY, 0) == (shown["confirmed"], shown["failed"])
    _check_secrets(many, name)


def _kill_after(life: Life, job: Path, noise: random.Random) -> None:
    """Kill a replay at a moment that nothing in it decides."""
    wanted = confirmed(job) + noise.randrange(1, 200)
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


# What is sent.


def test_what_came_is_sent_signed_and_marked(kept: Kept, target: TargetServer) -> None:
    summary = kept.replay(hook(target))
    assert (len(kept.taken), 0) == (summary["confirmed"], summary["failed"])
    assert sum(len(sample.content) for sample in kept.taken.values()) == summary["bytes"]
    assert dict.fromkeys(kept.taken, 1) == target.attempts()
    for received in target.received:
        sample = kept.taken[received.id]
        assert (sample.method, sample.content) == (received.method, received.body)
        _, _, query = sample.rest.partition("?")
        assert f"/{URL_TOKEN}" + (f"?{query}" if query else "") == received.target
        headers = dict(received.headers)
        came = {header.lower(): value for header, value in sample.headers}
        assert came.get("content-type") == headers.get("content-type")
        assert ("true", sample.provider) == (headers["webhook-replay"], headers["webhook-provider"])
        if _is_text(received.body):
            Webhook(SECRET).verify(received.body, headers, json_parse=False)


def _is_text(body: bytes) -> bool:
    # The package takes text alone.
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_gzip_is_sent_again_as_gzip(kept: Kept, target: TargetServer) -> None:
    tag = next(s.tag for s in kept.taken.values() if s.wire != s.content)
    assert tag is not None
    kept.replay(hook(target), "--gzip", "--tag", tag)
    squeezed = [each for each in target.received if "content-encoding" in each.headers]
    assert squeezed
    for received in target.received:
        sample = kept.taken[received.id]
        body = gzip.decompress(received.body) if received in squeezed else received.body
        assert sample.content == body
        if sample.invalid is None:
            assert (sample.wire != sample.content) == (received in squeezed)


def test_places_in_the_url_are_filled(kept: Kept, target: TargetServer) -> None:
    kept.replay(f"{target.url}/{{provider}}-{{kind}}{{path}}?from=us", "--kind", "pingback")
    for received in target.received:
        sample = kept.taken[received.id]
        path, _, query = sample.rest.partition("?")
        path = path.rstrip("/")
        assert f"/{sample.provider}-pingback{path}?from=us&{query}" == received.target


# Which are sent.


def test_only_the_newest_of_each_key(kept: Kept, target: TargetServer) -> None:
    summary = kept.replay(hook(target), "--latest")
    newest = {(s.provider, s.key): each for each, s in sorted(kept.taken.items())}
    assert len(newest) == len(kept.taken) - 6 == summary["confirmed"]
    assert set(newest.values()) == set(target.attempts())


def test_ids_of_deliveries_and_tasks(kept: Kept, target: TargetServer) -> None:
    first, *_, last = kept.taken
    task_id = kept.taken[last].task_id
    assert task_id is not None
    kept.replay(hook(target), first, task_id, "--concurrency", "1")
    same = [each for each, sample in kept.taken.items() if sample.task_id == task_id]
    assert 2 == len(same)
    assert [first, *sorted(same)] == [received.id for received in target.received]


def test_the_order_that_is_asked_for(kept: Kept, target: TargetServer) -> None:
    by_arrival = sorted(kept.taken)
    for order, expected in (("arrival", by_arrival[:7]), ("newest", by_arrival[::-1][:7])):
        target.received.clear()
        kept.replay(hook(target), "--concurrency", "1", "--order", order, "--limit", "7")
        assert expected == [received.id for received in target.received]


def test_parts_together_are_the_whole(kept: Kept, target: TargetServer) -> None:
    def part(index: int) -> dict[str, Any]:
        return kept.replay(hook(target), "--shard", f"{index}/3", "--job", f"part-{index}")

    with ThreadPoolExecutor(3) as pool:
        counts = [summary["confirmed"] for summary in pool.map(part, range(3))]
    assert dict.fromkeys(kept.taken, 1) == target.attempts()
    assert len(kept.taken) == sum(counts)
    assert all(counts)


def test_a_dry_run_says_how_much_it_would_be_and_sends_nothing(
    kept: Kept, target: TargetServer, name: str
) -> None:
    plan = kept.replay(hook(target), "--dry-run", "--rate", "2", "--job", name)
    assert {
        "callbacks": len(kept.taken),
        "confirmed_before": 0,
        "bytes": sum(len(sample.content) for sample in kept.taken.values()),
        "estimated_seconds": len(kept.taken) / 2,
        "target": target.url,
    } == plan
    assert [] == target.received
    assert name not in [row["job"] for row in kept.rows("jobs")]


# Jobs.


def test_what_failed_is_listed_and_can_be_sent_alone(
    kept: Kept, target: TargetServer, name: str
) -> None:
    ids = sorted(kept.taken)
    bad = {ids[3]: Reply(status=404), ids[11]: Reply(status=422, body=b"no such thing")}
    for each, reply in bad.items():
        target.plan(each, reply)
    summary = kept.replay(hook(target), "--job", name, status=1)
    assert (len(ids) - 2, 2) == (summary["confirmed"], summary["failed"])
    assert bad.keys() == summary["by_id"].keys()
    assert "HTTP 422 Unprocessable Entity: no such thing" == summary["by_id"][ids[11]]["why"]
    listed = kept.rows("jobs", name, status=1)
    assert [ids[3], ids[11]] == [row["delivery_id"] for row in listed]
    assert [1, 1] == [row["attempts"] for row in listed]

    # Under a name of its own, so that the job stays as it is.
    target.received.clear()
    target.plan(ids[11], Reply(status=400))
    again = f"{name}-again"
    summary = kept.replay(hook(target), "--failed-of", name, "--job", again, status=1)
    assert (1, 1) == (summary["confirmed"], summary["failed"])
    assert set(bad) == set(target.attempts())
    assert listed == kept.rows("jobs", name, status=1)
    assert [ids[11]] == [row["delivery_id"] for row in kept.rows("jobs", again, status=1)]

    target.received.clear()
    assert 2 == kept.replay(hook(target), "--failed-of", name)["confirmed"]
    assert set(bad) == set(target.attempts())
    assert [] == kept.rows("jobs", name)
    target.received.clear()
    assert 0 == kept.replay(hook(target), "--failed-of", name)["confirmed"]
    assert 0 == kept.replay(hook(target), "--job", name)["confirmed"]
    assert [] == target.received


def test_a_job_that_failed_sends_what_is_not_confirmed_when_it_is_run_again(
    kept: Kept, target: TargetServer, name: str
) -> None:
    ids = sorted(kept.taken)
    target.plan(ids[5], Reply(status=400))
    assert 1 == kept.replay(hook(target), "--job", name, status=1)["failed"]
    target.received.clear()
    plan = kept.replay(hook(target), "--job", name, "--dry-run")
    assert (1, len(ids) - 1) == (plan["callbacks"], plan["confirmed_before"])
    assert 1 == kept.replay(hook(target), "--job", name)["confirmed"]
    assert [ids[5]] == [received.id for received in target.received]


def test_a_job_goes_on_as_it_was_begun(kept: Kept, target: TargetServer, name: str) -> None:
    url = hook(target)
    begun = ("--provider", "dataforseo", "--since", "2h", "--job", name)
    first = kept.replay(url, *begun, "--rate", "1000")
    assert 0 < first["confirmed"] < len(kept.taken)
    # The same words, though two hours ago is later by now; none; and how to send is free.
    for words in (begun, ("--job", name), (*begun, "--concurrency", "2", "--gzip")):
        assert 0 == kept.replay(url, *words)["confirmed"]
    for words in (
        ("--provider", "diffbot", "--since", "2h"),
        ("--provider", "dataforseo"),
        ("--provider", "dataforseo", "--since", "3h"),
        ("--provider", "dataforseo", "--since", "2h", "--latest"),
        ("--provider", "dataforseo", "--since", "2h", "--shard", "0/2"),
        ("--provider", "dataforseo", "--since", "2h", "--limit", "5"),
        ("task-1",),
    ):
        why = kept.error("replay", "--to", url, "--job", name, *words, status=3)
        assert f"job {name} was begun with" in why
    why = kept.error("replay", "--to", f"{url}/other", *begun, status=3)
    assert "another --to" in why


def test_what_arrives_later_is_not_of_the_job(tmp_path: Path, target: TargetServer) -> None:
    source = Samples(seed=43)
    with Receiver(tmp_path, {"RECEIVER_REPLAY_SECRET": SECRET}) as it:
        it.start()
        taken = fill(it, [source.next() for _ in range(9)])
        it.wait_until_shipped()
        kept = Kept(it, DirectoryArchive(it.archive), taken)
        target.plan(next(iter(taken)), Reply(status=400))
        assert 8 == kept.replay(hook(target), "--job", "j", status=1)["confirmed"]
        fill(it, [source.next() for _ in range(5)])
        it.terminate()
        assert 1 == kept.replay(hook(target), "--job", "j")["confirmed"]
    assert set(taken) == set(target.attempts())


def test_a_job_that_is_running_is_not_run_twice(
    kept: Kept, target: TargetServer, name: str
) -> None:
    target.otherwise = Reply(seconds=0.05)
    life = kept.launch("replay", "--to", hook(target), "--job", name, "--concurrency", "1")
    wait_for(lambda: target.received, "it has begun")
    why = kept.error("replay", "--to", hook(target), "--job", name, status=3)
    assert f"job {name} is running in another process" in why
    (row,) = [row for row in kept.rows("jobs") if row["job"] == name]
    assert row["confirmed"] < len(kept.taken)
    assert 0 == life.wait()
    life.close()
    assert dict.fromkeys(kept.taken, 1) == target.attempts()


# Being interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_settles_what_is_under_way_and_goes_on_later(
    kept: Kept, target: TargetServer, name: str, number: signal.Signals
) -> None:
    target.otherwise = Reply(seconds=0.1)
    words = ("replay", "--to", hook(target), "--job", name, "--concurrency", "3")
    life = kept.launch(*words, "--output", "json")
    wait_for(lambda: len(target.received) >= 8, "some are sent")
    life.signal(number)
    assert 130 == life.wait(), life.text()
    life.close()
    assert ["receiver: interrupted"] == life.errors
    summary = orjson.loads(life.output[-1])
    assert len(target.received) == summary["confirmed"] == confirmed(kept.job_file(name))
    assert summary["confirmed"] < len(kept.taken)
    target.otherwise = Reply()
    kept.replay(hook(target), "--job", name)
    assert dict.fromkeys(kept.taken, 1) == target.attempts()


# Refusals and failures.


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("task-1", "--tag", "x"), "ids or filters, not both"),
        (("--failed-of", "x", "--tag", "x"), "takes no ids or filters"),
        (("--failed-of", "x", "task-1"), "takes no ids or filters"),
        (("--failed-of", "x", "--limit", "2"), "takes no ids or filters"),
        (("--shard", "4/4"), "4/4"),
        (("--rate", "0"), "--rate"),
        (("--concurrency", "0"), "--concurrency"),
        (("--attempts", "0"), "--attempts"),
        (("--limit", "0"), "--limit"),
        (("--order", "random"), "--order"),
        (("--since", "yesterday"), "RFC 3339"),
    ],
)
def test_usage_errors(kept: Kept, words: tuple[str, ...], why: str) -> None:
    if "x" in words:
        kept.run("replay", "--to", "http://127.0.0.1:9", "--limit", "1", "--job", "x")
    assert why in kept.error("replay", "--to", "http://127.0.0.1:9", *words, status=2)


def test_a_target_must_be_named(kept: Kept) -> None:
    assert "--to" in kept.error("replay", "--tag", "x", status=2)


def test_many_are_not_sent_without_a_question(many: Kept, target: TargetServer) -> None:
    why = many.error("replay", "--to", hook(target), status=2)
    assert f"send {MANY} callbacks to {target.url} asks first" in why
    assert "--yes" in why
    assert [] == target.received
    assert 1000 == many.replay(hook(target), "--limit", "1000")["confirmed"]


@pytest.mark.parametrize(
    ("words", "settings", "why"),
    [
        (("--to", f"ftp://h/{URL_TOKEN}"), {}, "http:// or https://"),
        (("--to", f"http://h/{{tag}}/{URL_TOKEN}"), {}, "{provider}"),
        (("--to", "http://h", "--job", "../x"), {}, "a name is"),
        (("--to", "http://h", "--failed-of", "nobody"), {}, "there is no job nobody"),
        (("--to", "http://h", "--failed-of", "nobody", "--job", "y"), {}, "there is no job nobody"),
        (("--to", "http://h"), {"RECEIVER_REPLAY_SECRET": f"{SECRET}!"}, "RECEIVER_REPLAY_SECRET"),
        (("--to", "http://h"), {"RECEIVER_JOB": "x"}, "unknown setting"),
    ],
)
def test_settings_errors(
    kept: Kept, words: tuple[str, ...], settings: dict[str, str], why: str
) -> None:
    said = kept.error("replay", *words, status=3, **settings)
    assert why in said
    assert SECRET not in said


def test_a_target_that_cannot_be_reached(kept: Kept, target: TargetServer, name: str) -> None:
    target.refuse()
    words = ("replay", "--to", hook(target), "--attempts", "1", "--job", name)
    assert "the target cannot be reached" in kept.error(*words, status=4)
    target.listen()
    assert len(kept.taken) == kept.replay(hook(target), "--job", name)["confirmed"]


def test_a_target_that_goes_away_for_a_while(kept: Kept, target: TargetServer) -> None:
    def go_away(received: Received) -> Reply:
        return Reply(what="cut") if len(target.received) in range(10, 20) else Reply()

    target.otherwise = go_away
    summary = kept.replay(hook(target))
    assert (len(kept.taken), 0) == (summary["confirmed"], summary["failed"])
    assert 10 == summary["retries"]


def test_a_target_that_takes_none(many: Kept, target: TargetServer) -> None:
    # As some frameworks do, it says what was asked for.
    target.otherwise = lambda received: Reply(
        status=404, body=f"Cannot {received.method} {received.target}".encode()
    )
    words = ("replay", "--to", hook(target), "--limit", "500", "--job", "none")
    ended = many.run(*words)
    assert 4 == ended.returncode
    assert "none of 100 in a row: HTTP 404 Not Found: Cannot" in ended.stderr
    assert URL_TOKEN not in many.run("jobs", "none").stdout
    for path in many.job_file("none").parent.iterdir():
        assert URL_TOKEN.encode() not in path.read_bytes()


def test_what_the_archive_lost_is_told_and_the_rest_is_sent(
    tmp_path: Path, target: TargetServer
) -> None:
    source = Samples(seed=44)
    with Receiver(tmp_path, {"RECEIVER_REPLAY_SECRET": SECRET}) as it:
        it.start()
        taken = fill(it, source.of_each())
        it.terminate()
        kept = Kept(it, DirectoryArchive(it.archive), taken)
        (lost, *_) = it.archive.glob("callbacks/**/provider=diffbot/**/*.gz")
        lost.unlink()
        summary = kept.replay(hook(target), status=1)
    gone = {each for each, sample in taken.items() if sample.provider == "diffbot"}
    assert gone == summary["by_id"].keys()
    assert taken.keys() - gone == set(target.attempts())
    (facts,) = summary["by_id"].values()
    assert 0 == facts["attempts"]


def test_an_archive_that_cannot_be_reached(
    many: Kept, target: TargetServer, relay: Relay, name: str
) -> None:
    relay.behave("refuse")
    away = {"AWS_ENDPOINT_URL_S3": relay.url, "RECEIVER_S3_TIMEOUT_SECONDS": "1"}
    words = ("replay", "--to", hook(target), "--limit", "9", "--job", name)
    assert "cannot list" in many.error(*words, status=4, **away)
    assert [] == target.received


def test_a_damaged_job_is_told(kept: Kept, target: TargetServer, name: str) -> None:
    kept.replay(hook(target), "--job", name, "--limit", "9")
    path = kept.job_file(name)
    path.write_bytes(path.read_bytes()[:5000])
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    words = ("replay", "--to", hook(target), "--job", name)
    assert f"{name}.sqlite failed: " in kept.error(*words, status=4)
    assert f"{name}.sqlite failed: " in kept.error("jobs", name, status=4)
    path.unlink()


# On a terminal.


def at_a_terminal(kept: Kept, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run a command on a terminal, type an answer to its question; return what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", *arguments],
        cwd=kept.it.root,
        env=kept.it.environ | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, answered = b"", False
    while select.select([ours], [], [], 60)[0]:
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
    assert f"send {MANY} callbacks to {target.url}?" in shown
    assert [] == target.received
    status, shown = at_a_terminal(many, *words, answer="y")
    assert 0 == status
    assert MANY == len(target.received)
    assert f"{MANY}/{MANY}" in shown
    assert "0 failed" in shown
    assert URL_TOKEN not in shown

"""`receiver replay` and `receiver jobs`, in this process, against a real target.

And of `receiver forward` what it refuses.
"""

import base64
import gzip
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from receiver import log
from receiver.cli import main
from receiver.cli import replay as replay_command
from tests.replay.place import Delivery, Place
from tests.tools.support.samples import Sample, Samples
from tests.tools.support.target import Received, Reply, TargetServer

SECRET = "whsec_" + base64.b64encode(b"canary-secret-of-the-replays").decode()
URL_TOKEN = "canary-token-of-the-target-8d1f"
AGAIN = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is archived, by delivery id, in order of arrival."""

    place: Place
    taken: dict[str, Sample]

    @property
    def ids(self) -> list[str]:
        return list(self.taken)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A few dozen callbacks of all providers, some of which came twice."""
    place = Place(tmp_path_factory.mktemp("kept"))
    source = Samples(seed=42)
    again = [source.postback("dataforseo", squeezed=True) for _ in range(AGAIN)]
    samples = [sample for _ in range(3) for sample in source.of_each()] + again
    taken = dict(zip(place.take(*map(_delivery, samples)), samples, strict=True))
    taken |= dict(zip(place.take(*map(_delivery, again)), again, strict=True))
    return Kept(place, taken)


def _delivery(sample: Sample) -> Delivery:
    return Delivery(
        provider=sample.provider,
        kind=sample.kind,
        method=sample.method,
        rest=sample.rest,
        headers=[(name.lower(), value) for name, value in sample.headers],
        body=sample.wire,
    )


class Command:
    """Runs the command as the entry point does; it may show nothing that is secret."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        archive: Path,
        jobs: Path,
    ) -> None:
        self.jobs = jobs
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self._settings = {
            "RECEIVER_ARCHIVE": str(archive),
            "RECEIVER_CATALOG": str(archive.parent / "catalog"),
            "RECEIVER_JOBS": str(jobs),
            "RECEIVER_REPLAY_SECRET": SECRET,
        }

    def __call__(self, *arguments: str, status: int = 0, **settings: str) -> Outcome:
        self._capfd.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["receiver", *arguments])
            for name, value in (self._settings | settings).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
            log.flush()
        captured = self._capfd.readouterr()
        shown = captured.out + captured.err
        assert status == ended.value.code, shown
        for secret in (SECRET, SECRET.removeprefix("whsec_"), URL_TOKEN):
            assert secret not in shown
        return Outcome(status, captured.out, captured.err)

    def replay(self, url: str, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Replay; return the summary, and in `by_id` what failed."""
        rows = self("replay", "--to", url, *arguments, "--output", "json", status=status).rows
        summary = rows.pop()
        if "type" in summary:
            assert "summary" == summary.pop("type")
            summary["by_id"] = {row["delivery_id"]: row for row in rows}
        return summary


@pytest.fixture
def receiver(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    kept: Kept,
) -> Iterator[Command]:
    for name in list(os.environ):
        if name.startswith("RECEIVER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Command(monkeypatch, capfd, kept.place.root / "archive", tmp_path / "jobs")
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def target() -> Iterator[TargetServer]:
    with TargetServer() as target:
        yield target


def hook(target: TargetServer) -> str:
    return f"{target.url}/{URL_TOKEN}"


# What is sent.


def test_what_came_is_sent_signed_and_marked(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    summary = receiver.replay(hook(target))
    assert (len(kept.taken), 0, 0) == (summary["confirmed"], summary["failed"], summary["retries"])
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


def test_gzip_is_sent_again_as_gzip(receiver: Command, kept: Kept, target: TargetServer) -> None:
    receiver.replay(hook(target), "--gzip", "--provider", "dataforseo", "--kind", "postback")
    squeezed = {each.id for each in target.received if "gzip" in each.headers.values()}
    assert len(squeezed) > AGAIN
    for received in target.received:
        sample = kept.taken[received.id]
        if sample.wire == sample.content:
            assert sample.content == received.body  # also gzip that cannot be undone
        else:
            assert sample.content == gzip.decompress(received.body)
            assert received.id in squeezed


def test_places_in_the_url_are_filled(receiver: Command, kept: Kept, target: TargetServer) -> None:
    receiver.replay(f"{target.url}/{{provider}}-{{kind}}{{path}}?from=us", "--kind", "pingback")
    assert {sample.provider for sample in kept.taken.values() if sample.kind == "pingback"} == {
        received.target[1:].partition("-")[0] for received in target.received
    }
    for received in target.received:
        sample = kept.taken[received.id]
        path, _, query = sample.rest.partition("?")
        path = path.rstrip("/")
        assert f"/{sample.provider}-pingback{path}?from=us&{query}" == received.target


# Which are sent.


def test_only_the_newest_of_each_key(receiver: Command, kept: Kept, target: TargetServer) -> None:
    summary = receiver.replay(hook(target), "--latest")
    newest = {(sample.provider, sample.key): each for each, sample in kept.taken.items()}
    assert len(newest) == len(kept.taken) - AGAIN == summary["confirmed"]
    assert set(newest.values()) == set(target.attempts())


def test_ids_of_deliveries_and_tasks(receiver: Command, kept: Kept, target: TargetServer) -> None:
    first, last = kept.ids[0], kept.ids[-1]
    task_id = kept.taken[last].task_id
    assert task_id is not None
    receiver.replay(hook(target), last, task_id, first, "--concurrency", "1")
    same = [each for each, sample in kept.taken.items() if sample.task_id == task_id]
    assert 2 == len(same)
    assert [last, *same, first] == [received.id for received in target.received]


@pytest.mark.parametrize("order", ["arrival", "newest"])
def test_the_order_that_is_asked_for(
    receiver: Command, kept: Kept, target: TargetServer, order: str
) -> None:
    receiver.replay(hook(target), "--concurrency", "1", "--order", order, "--limit", "7")
    expected = kept.ids if order == "arrival" else kept.ids[::-1]
    assert expected[:7] == [received.id for received in target.received]


def test_parts_together_are_the_whole(receiver: Command, kept: Kept, target: TargetServer) -> None:
    counts = [
        receiver.replay(hook(target), "--shard", f"{index}/3", "--job", f"part-{index}")[
            "confirmed"
        ]
        for index in range(3)
    ]
    assert dict.fromkeys(kept.taken, 1) == target.attempts()
    assert len(kept.taken) == sum(counts)
    assert all(counts)


def test_a_dry_run_says_how_much_it_would_be_and_sends_nothing(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    plan = receiver.replay(hook(target), "--dry-run", "--rate", "2", "--job", "j")
    assert {
        "callbacks": len(kept.taken),
        "confirmed_before": 0,
        "bytes": sum(len(sample.content) for sample in kept.taken.values()),
        "estimated_seconds": len(kept.taken) / 2,
        "target": target.url,
    } == plan
    plan = receiver.replay(hook(target), "--dry-run", "--concurrency", "2", "--limit", "7")
    assert (7, 0.1) == (plan["callbacks"], plan["estimated_seconds"])
    assert [] == target.received
    assert [] == receiver("jobs", "--output", "json").rows


@pytest.mark.parametrize("words", [("--tag", "nobody's"), ("--tag", "nobody's", "--shard", "0/2")])
def test_filters_that_nothing_passes_are_told(
    receiver: Command, target: TargetServer, words: tuple[str, ...]
) -> None:
    ended = receiver("replay", "--to", hook(target), *words, "--job", "j", status=1)
    assert ("", "receiver: nothing found\n") == (ended.out, ended.err)
    # A name that was misspelt is not what the job was begun with.
    assert [] == receiver("jobs", "--output", "json").rows
    assert 0 == receiver.replay(hook(target), *words, "--dry-run", status=1)["callbacks"]


def test_a_part_of_the_keys_can_be_empty(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    one = ("--key", str(kept.taken[kept.ids[-1]].key), "--latest")
    counts = [
        receiver.replay(hook(target), *one, "--shard", f"{index}/2")["confirmed"]
        for index in range(2)
    ]
    assert [0, 1] == sorted(counts)


def test_ids_that_are_not_there_are_named_and_the_others_are_sent(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    known = kept.ids[0]
    words = ("replay", "--to", hook(target), "nope", known, "--job", "j", "--output", "json")
    # And again, for they may have come by then.
    for confirmed in (1, 0):
        ended = receiver(*words, status=1)
        assert "receiver: not in the archive: nope\n" == ended.err
        assert confirmed == ended.rows[-1]["confirmed"]
    assert {known: 1} == target.attempts()
    assert 1 == receiver.replay(hook(target), "nope", known, "--dry-run", status=1)["callbacks"]
    many = [f"nope-{number}" for number in range(12)]
    ended = receiver("replay", "--to", hook(target), *many, status=1)
    assert f"receiver: not in the archive: {', '.join(many[:10])} and 2 more\n" == ended.err
    assert "" == ended.out


def test_a_table_is_for_people(receiver: Command, kept: Kept, target: TargetServer) -> None:
    target.plan(kept.ids[0], Reply(status=404))
    shown = receiver("replay", "--to", hook(target), "--limit", "3", status=1).out
    assert "HTTP 404 Not Found" in shown
    assert kept.ids[0] in shown
    assert "confirmed  failed" in shown


def test_of_very_many_failures_the_first_are_listed(
    receiver: Command, kept: Kept, target: TargetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.sending.LISTED_MAX", 4)
    target.otherwise = Reply(status=404)
    shown = receiver("replay", "--to", hook(target), "--limit", "9", status=1).out
    assert 4 == shown.count("HTTP 404")
    assert "5 more failed; with --job NAME, `receiver jobs NAME` lists all" in shown


# Jobs.


def test_what_failed_is_listed_and_can_be_sent_alone(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    ids, url = kept.ids, hook(target)
    target.plan(ids[3], Reply(status=404))
    target.plan(ids[11], Reply(status=422, body=b"no such thing"))
    bad = {ids[3], ids[11]}
    summary = receiver.replay(url, "--job", "j", status=1)
    assert (len(ids) - 2, 2) == (summary["confirmed"], summary["failed"])
    assert bad == summary["by_id"].keys()
    assert "HTTP 422 Unprocessable Entity: no such thing" == summary["by_id"][ids[11]]["why"]
    listed = receiver("jobs", "j", "--output", "json", status=1).rows
    assert [(ids[3], 1), (ids[11], 1)] == [(row["delivery_id"], row["attempts"]) for row in listed]

    # Under a name of its own, so that the first job stays as it is.
    target.received.clear()
    target.plan(ids[11], Reply(status=400))
    words = (url, "--failed-of", "j", "--job", "again")
    summary = receiver.replay(*words, status=1)
    assert (1, 1) == (summary["confirmed"], summary["failed"])
    assert bad == set(target.attempts())
    assert listed == receiver("jobs", "j", "--output", "json", status=1).rows
    plan = receiver.replay(*words, "--dry-run")
    assert (1, 1) == (plan["callbacks"], plan["confirmed_before"])
    target.received.clear()
    assert 1 == receiver.replay(*words)["confirmed"]
    assert {ids[11]} == set(target.attempts())

    target.received.clear()
    assert 2 == receiver.replay(url, "--failed-of", "j")["confirmed"]
    assert bad == set(target.attempts())
    assert [] == receiver("jobs", "j", "--output", "json").rows
    target.received.clear()
    assert 0 == receiver.replay(url, "--failed-of", "j")["confirmed"]
    assert 0 == receiver.replay(url, "--job", "j")["confirmed"]
    assert [] == target.received
    assert [("again", 2, 0), ("j", len(ids), 0)] == [
        (row["job"], row["confirmed"], row["failed"])
        for row in receiver("jobs", "--output", "json").rows
    ]


def test_a_job_sends_what_is_not_confirmed_when_it_is_run_again(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    ids, url = kept.ids, hook(target)
    target.plan(ids[5], Reply(status=400))
    assert 1 == receiver.replay(url, "--job", "j", status=1)["failed"]
    target.received.clear()
    plan = receiver.replay(url, "--job", "j", "--dry-run")
    assert (1, len(ids) - 1) == (plan["callbacks"], plan["confirmed_before"])
    assert 1 == receiver.replay(url, "--job", "j")["confirmed"]
    assert [ids[5]] == [received.id for received in target.received]


def test_a_job_goes_on_as_it_was_begun(receiver: Command, kept: Kept, target: TargetServer) -> None:
    url = hook(target)
    begun = ("--provider", "dataforseo", "--since", "2h", "--job", "j")
    first = receiver.replay(url, *begun, "--rate", "10000")
    assert 0 < first["confirmed"] < len(kept.taken)
    # The same words, though two hours ago is later by now; none; and how to send is free.
    same: list[tuple[str, ...]] = [
        begun,
        ("--job", "j"),
        (*begun, "--concurrency", "2", "--gzip"),
    ]
    for words in same:
        assert 0 == receiver.replay(url, *words)["confirmed"]
    others: list[tuple[str, ...]] = [
        ("--provider", "diffbot", "--since", "2h"),
        ("--provider", "dataforseo"),
        ("--provider", "dataforseo", "--since", "3h"),
        ("--provider", "dataforseo", "--since", "2h", "--latest"),
        ("--provider", "dataforseo", "--since", "2h", "--shard", "0/2"),
        ("--provider", "dataforseo", "--since", "2h", "--limit", "5"),
        ("--provider", "dataforseo", "--since", "2h", "--order", "newest"),
        ("task-1",),
    ]
    for words in others:
        said = receiver("replay", "--to", url, "--job", "j", *words, status=3).err
        assert "job j was begun with" in said
        assert '"since":"2h"' in said
    said = receiver("replay", "--to", f"{url}/other", *begun, status=3).err
    assert "another --to" in said


def test_a_job_of_ids_goes_on_too(receiver: Command, kept: Kept, target: TargetServer) -> None:
    ids, url = kept.ids[:4], hook(target)
    target.plan(ids[2], Reply(status=400))
    assert 3 == receiver.replay(url, *ids, "--job", "j", status=1)["confirmed"]
    assert 1 == receiver.replay(url, *ids, "--job", "j")["confirmed"]
    assert 0 == receiver.replay(url, "--job", "j")["confirmed"]
    assert "was begun with" in receiver("replay", "--to", url, *ids[:2], "--job", "j", status=3).err


def test_a_job_holds_nothing_that_is_secret(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    # As some frameworks do, the target says what was asked for.
    target.otherwise = lambda received: Reply(
        status=404, body=f"Cannot {received.method} {received.target}".encode()
    )
    url = target.url.replace("://", "://user:pass-word-0001@") + f"/hook?key={URL_TOKEN}"
    receiver("replay", "--to", url, "--job", "j", status=1)
    assert "Cannot POST /hook?key=***" in receiver("jobs", "j", status=1).out
    for path in receiver.jobs.iterdir():
        for secret in (URL_TOKEN, "pass-word-0001", SECRET, "http://"):
            assert secret.encode() not in path.read_bytes(), path


def test_a_damaged_job_is_told(receiver: Command, target: TargetServer) -> None:
    receiver.replay(hook(target), "--job", "j", "--limit", "9")
    path = receiver.jobs / "j.sqlite"
    path.write_bytes(path.read_bytes()[:5000])
    words = ("replay", "--to", hook(target), "--job", "j")
    assert "j.sqlite failed: " in receiver(*words, status=4).err
    assert "j.sqlite failed: " in receiver("jobs", "j", status=4).err


# Refusals and failures.


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("task-1", "--tag", "x"), "ids or filters, not both"),
        (("task-1", "--latest"), "ids or filters, not both"),
        (("task-1", "--order", "newest"), "ids or filters, not both"),
        (("--failed-of", "j", "--tag", "x"), "takes no ids or filters"),
        (("--failed-of", "j", "task-1"), "takes no ids or filters"),
        (("--failed-of", "j", "--limit", "2"), "takes no ids or filters"),
        (("--shard", "4/4"), "4/4"),
        (("--rate", "0"), "--rate"),
        (("--concurrency", "0"), "--concurrency"),
        (("--concurrency", "1025"), "--concurrency"),
        (("--attempts", "0"), "--attempts"),
        (("--limit", "0"), "--limit"),
        (("--order", "random"), "--order"),
        (("--since", "yesterday"), "RFC 3339"),
        (("--since", "1h", "--until", "1h"), "--since 1h is not before --until 1h"),
        (("--limit", "9" * 23), "--limit"),
        (("--kind", "postbck"), "'postback', 'pingback', 'notification', 'webhook', 'result'"),
    ],
)
def test_usage_errors(
    receiver: Command, target: TargetServer, words: tuple[str, ...], why: str
) -> None:
    if "j" in words:
        receiver("replay", "--to", hook(target), "--limit", "1", "--job", "j")
    target.received.clear()
    assert why in receiver("replay", "--to", hook(target), *words, status=2).err
    assert [] == target.received


def test_a_target_must_be_named(receiver: Command) -> None:
    assert "--to" in receiver("replay", "--tag", "x", status=2).err


def test_many_are_not_sent_without_a_question(
    receiver: Command, kept: Kept, target: TargetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_command, "ASK_ABOVE", 10)
    said = receiver("replay", "--to", hook(target), "--job", "j", status=2).err
    assert f"this sends {len(kept.taken)} callbacks to {target.url}: give --yes" in said
    assert [] == target.received
    assert [] == receiver("jobs", "--output", "json").rows
    assert 10 == receiver.replay(hook(target), "--limit", "10")["confirmed"]
    words = (hook(target), "--job", "j")
    assert len(kept.taken) == receiver.replay(*words, "--yes")["confirmed"]
    # What is confirmed is not asked about.
    assert 0 == receiver.replay(*words)["confirmed"]


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
    receiver: Command, words: tuple[str, ...], settings: dict[str, str], why: str
) -> None:
    assert why in receiver("replay", *words, status=3, **settings).err
    assert [] == receiver("jobs", "--output", "json").rows


def test_a_job_that_is_not_there_is_a_settings_error(receiver: Command) -> None:
    assert "there is no job nobody" in receiver("jobs", "nobody", status=3).err


def test_a_target_that_cannot_be_reached(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    target.refuse()
    words = ("replay", "--to", hook(target), "--attempts", "1", "--job", "j")
    assert "the target cannot be reached" in receiver(*words, status=4).err
    target.listen()
    assert len(kept.taken) == receiver.replay(hook(target), "--job", "j")["confirmed"]


def test_a_target_that_goes_away_for_a_while(
    receiver: Command, kept: Kept, target: TargetServer
) -> None:
    def go_away(received: Received) -> Reply:
        return Reply(what="cut") if 5 <= len(target.received) < 10 else Reply()

    target.otherwise = go_away
    # A request that is safe to repeat is repeated by the HTTP client, and not counted.
    summary = receiver.replay(hook(target), "--kind", "postback")
    assert (0, 5) == (summary["failed"], summary["retries"])
    assert {1} == set(target.confirmed().values())


def test_what_the_archive_lost_is_told_and_the_rest_is_sent(
    receiver: Command, kept: Kept, target: TargetServer, tmp_path: Path
) -> None:
    place = Place(tmp_path / "lost")
    good, gone = place.take(Delivery(), Delivery(provider="diffbot", kind="notification", rest=""))
    (path,) = (tmp_path / "lost" / "archive").glob("callbacks/**/provider=diffbot/**/*.gz")
    path.unlink()
    archive = str(tmp_path / "lost" / "archive")
    outcome = receiver(
        *("replay", "--to", hook(target), "--output", "json"),
        status=1,
        RECEIVER_ARCHIVE=archive,
    )
    failed, summary = outcome.rows
    assert (gone, 0) == (failed["delivery_id"], failed["attempts"])
    assert (1, 1) == (summary["confirmed"], summary["failed"])
    assert [good] == [received.id for received in target.received]


@pytest.mark.parametrize(
    ("words", "settings", "why"),
    [
        ((), {}, "give --to URL, or set RECEIVER_FORWARD_URL"),
        (("--to", f"http://h/{URL_TOKEN}#x"), {}, "URL"),
        ((), {"RECEIVER_FORWARD_URL": f"ftp://h/{URL_TOKEN}"}, "http:// or https://"),
        (("--to", "http://h", "--name", "../x"), {}, "a name is"),
        (("--to", "http://h", "--name", ""), {}, "a name is"),
        (("--to", "http://h"), {"RECEIVER_REPLAY_SECRET": f"{SECRET}!"}, "RECEIVER_REPLAY_SECRET"),
    ],
)
def test_settings_errors_of_forward(
    receiver: Command, words: tuple[str, ...], settings: dict[str, str], why: str
) -> None:
    assert why in receiver("forward", *words, status=3, **settings).err


@pytest.mark.parametrize(
    "words", [("--concurrency", "0"), ("--rate", "0"), ("--since", "soon"), ("task-1",)]
)
def test_usage_errors_of_forward(receiver: Command, words: tuple[str, ...]) -> None:
    receiver("forward", "--to", "http://h", *words, status=2)

"""No secret is shown or left anywhere, whatever providers, targets and stores repeat of it.

Every `Receiver` of every other test is looked through when it is closed, too (tests/tools/support).
"""

import base64
import html
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.support.commands import run
from tests.tools.support.oracle import DirectoryArchive
from tests.tools.support.s3 import environ as s3_environ
from tests.tools.support.samples import API_KEY, DIFFBOT_TOKEN, Samples
from tests.tools.support.secrets import FORMS, archived, canaries, leaks, plain_canaries
from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.target import Received, Reply, TargetServer
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_TASK_ID = "11212307-1535-0135-0000-c59c89900005"
_LOST_ID = "11212307-1535-0135-0000-c59c89900007"
_PASSWORD = "canary-password-91d0c7"
_API_KEY = f"{API_KEY}|{{/}}"
_FORWARD_TOKEN = "canary-token-of-the-forward-77e1"
_REPLAY_TOKEN = "canary-token-of-the-replay-20bd"
_REPLAY_SECRET = "whsec_" + base64.b64encode(b"canary-secret-that-signs-replays").decode()

# What these print by design, and those that do not end by themselves.
_LEFT_OUT = {"serve", "forward", "urls", "export"}


class Parrot:
    """Answers as each provider, as a target, and as S3, and repeats all secrets in all forms.

    ``secrets`` are what it repeats, in addition to everything that it is sent.
    """

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self._forms = itertools.cycle(FORMS.values())
        self._requests = itertools.count()

    def __call__(self, received: Received) -> Reply:
        said = f"failed: {received.method} {received.target} {dict(received.headers)}"
        if "webhook-id" in received.headers:
            return self._as_target(received)
        if received.headers.get("authorization", "").startswith("AWS4"):
            said = html.escape(f"{said} {self._all()}")
            body = f"<Error><Code>SlowDown</Code><Message>{said}</Message></Error>"
            return Reply(status=503, body=body.encode())
        url = f"https://hooks.example.net/dataforseo/postback/{TOKEN}?id=$id"
        said = f"failed: {url} {said} {self._all()}"
        path = received.target.partition("?")[0]
        content = next((made for part, made in _answers(said, url).items() if part in path), None)
        if content is None:
            content = {"status_code": 40400, "status_message": said, "error": said}
            content |= {"errorCode": 400, "errorMessage": said}
            return Reply(status=400, body=orjson.dumps(content))
        return Reply(body=orjson.dumps(content))

    def _as_target(self, received: Received) -> Reply:
        """Take what came from Outscraper, so that the rest is given up in time."""
        if received.headers["webhook-provider"] == "outscraper" and "webhook-replay" not in (
            received.headers
        ):
            return Reply()
        # Only the beginning is kept, so each answer has one form of one secret first.
        form = next(self._forms)
        secret = self.secrets[next(self._requests) % len(self.secrets)]
        said = f"{form(secret)} {received.target} {dict(received.headers)}"
        return Reply(status=422, body=said.encode())

    def _all(self) -> str:
        return " ".join(form(secret) for secret in self.secrets for form in FORMS.values())


def _answers(said: str, url: str) -> dict[str, Any]:
    """Return answers by a part of the path, more special ones first."""
    at = "2026-11-21 19:00:00 +00:00"
    failure = {"id": _TASK_ID, "function": "postback_url", "http_url": url, "datetime": at}
    ready = {"id": _TASK_ID, "tag": "ours", "date_posted": at}
    ready["endpoint_advanced"] = f"/v3/serp/google/organic/task_get/advanced/{_TASK_ID}"
    listed = {"id": _TASK_ID, "datetime_posted": at, "datetime_done": at, "status": said}
    return {
        "/appendix/status": _envelope([{"api": said, "status": said, "endpoints": []}]),
        "/tasks_ready": _envelope([ready]),
        "/errors": _envelope([failure | {"http_code": said, "http_response": said}]),
        "/id_list": _envelope([listed | {"metadata": {"postback_url": url, "tag": "ours"}}]),
        _LOST_ID: _envelope(None, code=40401, message=said),
        "/task_get/": _envelope(None, code=40501, message=said),
        "/webhook_resend": _envelope(None, code=40501, message=said),
        "/force_stop": _envelope(None, code=40501, message=said),
        "/webhook-calls": [{"date": 1_700_000_000, "status": said}],
        "/requests/": {"id": "1", "status": "Failure", "errorMessage": said},
        "/requests": {"requests": [{"id": "finished-1"}]},
        "/tasks": {"tasks": [{"id": "task-1", "status": "SUCCESS", "created": said}]},
    }


def _envelope(result: Any, *, code: int = 20000, message: str = "Ok.") -> dict[str, Any]:
    task = {"id": _TASK_ID, "status_code": code, "status_message": message, "result": result}
    return {"status_code": 20000, "status_message": "Ok.", "tasks": [task]}


@pytest.fixture
def gossip() -> Iterator[TargetServer]:
    """Whoever is called: all providers, S3 and the target."""
    with TargetServer() as server:
        yield server


@pytest.fixture
def it(tmp_path: Path, gossip: TargetServer) -> Iterator[Receiver]:
    """A receiver with every secret that there is, called by a parrot that knows them all."""
    settings = {
        "RECEIVER_TOKENS": f"{TOKEN},second-canary-token-004f",
        "RECEIVER_PUBLIC_URL": "https://hooks.example.net",
        "RECEIVER_DATAFORSEO_LOGIN": "login@example.com",
        "RECEIVER_DATAFORSEO_PASSWORD": f"{_PASSWORD} <&'\"\\ü€🧰/+%2F",
        "RECEIVER_DATAFORSEO_FAMILIES": "serp",
        "RECEIVER_DATAFORAPPS_LOGIN": "login@example.com",
        "RECEIVER_DATAFORAPPS_PASSWORD": f'{_PASSWORD}/+"2',
        "RECEIVER_DIFFBOT_TOKEN": f"{DIFFBOT_TOKEN}&='<é>",
        "RECEIVER_OUTSCRAPER_API_KEYS": f"{_API_KEY},second-{API_KEY}",
        "RECEIVER_FORWARD_URL": gossip.url.replace("//", f"//canary-user:{_PASSWORD}-3@")
        + f"/{_FORWARD_TOKEN}?key={_FORWARD_TOKEN}2%2F%22",
        "RECEIVER_REPLAY_SECRET": _REPLAY_SECRET,
        "RECEIVER_LOG_LEVEL": "debug",
        "RECEIVER_SWEEP_GRACE_SECONDS": "0",
        **{f"RECEIVER_{name}_URL": gossip.url for name in ("DATAFORSEO", "DATAFORAPPS")},
        **{f"RECEIVER_{name}_URL": gossip.url for name in ("DIFFBOT", "OUTSCRAPER")},
        **s3_environ(gossip.url.replace("//", f"//canary-user:{_PASSWORD}-4@")),
        "AWS_SESSION_TOKEN": "canary-session/token+of=the==bucket",
    }
    with Receiver(tmp_path, settings) as receiver:
        parrot = Parrot()
        parrot.secrets = list(plain_canaries(receiver.environ))
        gossip.otherwise = parrot
        yield receiver


def all_commands(it: Receiver) -> list[tuple[str, ...]]:
    """Return the words of every command, as its help lists them."""
    groups = ("spool", "dataforseo", "dataforapps", "diffbot", "outscraper")
    listed = [("", *_listed(run(it, [["--help"]])))]
    listed += [(group, *_listed(run(it, [[group, "--help"]]))) for group in groups]
    words = [tuple(filter(None, (group, name))) for group, *names in listed for name in names]
    return [command for command in words if command not in {(group,) for group in groups}]


def _listed(text: str) -> list[str]:
    lines = text.partition("Commands:\n")[2].partition("\n---")[0].splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]


@pytest.mark.timeout(300)  # a hundred commands
def test_no_command_shows_a_secret(it: Receiver, gossip: TargetServer) -> None:
    unfinished = left_unfinished(it)
    it.start()
    samples = Samples(seed=71, api_key=_API_KEY)
    ids = [deliver(it, sample) for sample in samples.of_each()]
    for target in (f"/nobody/{TOKEN}", f"/diffbot/notification/{TOKEN}x", "/" + API_KEY):
        assert it.request("POST", target, API_KEY.encode()).status in (401, 404)
    it.wait_until_shipped()
    # Sweeps begin at once.
    reports = wait_for(lambda: objects(it, "sweeps/date=", 4), "all four have swept", seconds=60)
    # What an earlier sweep left in the bucket, before secrets were kept out of it, is mended.
    wait_for(lambda: _LOST_ID not in unfinished.read_text(), "the lost task is forgotten")
    assert _TASK_ID in unfinished.read_text()
    commands = [
        *(["config"], ["check"], ["find"], ["spool", "ls"], ["spool", "verify"], ["spool", "cat"]),
        *(["show", delivery_id] for delivery_id in ids),
        *(["ship"], ["verify"], ["audit", "dataforseo"], ["sweep"], ["sweep", "--dry-run"]),
        ["replay", "--to", f"{gossip.url}/{_REPLAY_TOKEN}", "--job", "all", "--attempts", "1"],
        *(["jobs"], ["jobs", "all"], ["drain", "--spool", "elsewhere"]),
        *(
            [brand, *words]
            for brand in ("dataforseo", "dataforapps")
            for words in (
                *(["status"], ["tasks-ready", "serp"], ["errors", "--api", "serp"]),
                *(["task", _TASK_ID], ["resend", _TASK_ID], ["force-stop", _TASK_ID, "--yes"]),
            )
        ),
        *(["diffbot", action, "job"] for action in ("job", "pause", "resume")),
        *(["diffbot", "restart", "job", "--yes"], ["diffbot", "delete", "job", "--yes"]),
        ["diffbot", "jobs"],
        *(["outscraper", "tasks"], ["outscraper", "task", "1"], ["outscraper", "request", "1"]),
        *(["outscraper", "restart", "1", "--yes"], ["outscraper", "terminate", "1", "--yes"]),
        ["outscraper", "webhook-calls"],
    ]
    (it.root / "elsewhere").mkdir()
    words = {tuple(command[:length]) for command in commands for length in (1, 2)}
    assert set() == set(all_commands(it)) - words - {(name,) for name in _LEFT_OUT}
    as_json = [[*command, "--output", "json"] for command in commands if is_listing(command)]
    shown = run(it, [*commands, *as_json])
    shown += run(it, [["check"], ["find"], ["verify"]], RECEIVER_ARCHIVE="s3://bucket/prefix")
    failures = str(forwarding_failures(it, samples))
    shown += failures + str(it.status()) + it.metrics_text()
    it.terminate()
    gossiped = str([(each.target, each.headers, each.reply.body) for each in gossip.received])
    secrets = canaries(it.environ) | {form(_REPLAY_TOKEN) for form in FORMS.values()}
    assert [] == leaks(secrets, [("screen", shown), *archived(it.archive), ("logs", it.text())])
    # They were known to everybody, and what repeated them is there.
    for secret in (TOKEN, DIFFBOT_TOKEN, API_KEY, _FORWARD_TOKEN, _REPLAY_TOKEN):
        assert secret in gossiped
    assert "HTTP 422 Unprocessable Entity: ***" in failures.replace("Content", "Entity")
    for text in (shown, it.text(), str(reports)):
        assert "failed: https://hooks.example.net/dataforseo/postback/***" in text


def left_unfinished(it: Receiver) -> Path:
    """Put a list of two tasks into the bucket, as a sweep left it that did not mask anything."""
    said = " ".join(
        form(secret) for secret in plain_canaries(it.environ) for form in FORMS.values()
    )
    tasks = [
        {"task_id": task_id, "path": f"/v3/serp/google/organic/task_get/advanced/{task_id}"}
        for task_id in (_LOST_ID, _TASK_ID)
    ]
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    name = f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000000-0.json"
    path = it.archive / "sweeps" / "unfinished" / "dataforseo" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(orjson.dumps({"tasks": [task | {"why": said} for task in tasks]}))
    return path


def forwarding_failures(it: Receiver, samples: Samples) -> list[bytes]:
    """Return the lists of callbacks that were given up, in the bucket."""

    def given_up() -> list[bytes]:
        # An attempt counts if the target has taken something since the one before.
        deliver(it, samples.webhook())
        return objects(it, "forwards/default/failed/", 1)

    return wait_for(given_up, "the target's refusals are given up", seconds=150)


_TOKEN_OF_A_SESSION = "canary-session-of-the-bucket"


@pytest.mark.parametrize("command", [["serve"], ["check"], ["ship"], ["ship", "--watch"], ["find"]])
def test_a_session_token_with_a_line_break_is_refused_by_name(
    tmp_path: Path, command: list[str]
) -> None:
    settings = {**s3_environ("http://127.0.0.1:9"), "RECEIVER_ARCHIVE": "s3://bucket/prefix"}
    settings["AWS_SESSION_TOKEN"] = f"{_TOKEN_OF_A_SESSION}\n"
    with Receiver(tmp_path, settings) as it:
        it.spool.mkdir()
        ran = it.command(*command)
    assert 3 == ran.returncode
    if command == ["check"]:
        [line] = [line for line in ran.stdout.splitlines() if "FAILED" in line]
        assert line.startswith("archive ")
    else:
        assert "" == ran.stdout
        [line] = ran.stderr.splitlines()
    assert "AWS_SESSION_TOKEN" in line


def test_an_endpoint_with_a_password_is_named_without_it(tmp_path: Path) -> None:
    endpoint = "http://canary-user:canary/pass@word@127.0.0.1:9"
    settings = {**s3_environ(endpoint), "RECEIVER_ARCHIVE": "s3://bucket/prefix"}
    # `Receiver` finds it wherever it stands, in the log of `serve` too.
    with Receiver(tmp_path, settings) as it:
        it.spool.mkdir()
        for command in (["check"], ["find"], ["verify"]):
            ran = it.command(*command, RECEIVER_S3_TIMEOUT_SECONDS="1")
            assert "127.0.0.1:9" in ran.stdout + ran.stderr, ran
        settings["AWS_ENDPOINT_URL_S3"] = "http://canary-user:canary-pass-word@127.0.0.1:9"
        it.environ |= settings
        it.start()
        deliver(it, Samples(seed=72).postback())
        failed = wait_for(lambda: it.life.logged("pass failed"), "shipping failed", seconds=60)
        assert "http://127.0.0.1:9" in str(failed) + it.text()


def test_the_search_for_secrets_finds_them(tmp_path: Path) -> None:
    it = Receiver(
        tmp_path, {"RECEIVER_DIFFBOT_TOKEN": DIFFBOT_TOKEN, "RECEIVER_ARCHIVE": "archive"}
    )
    for key, content in (
        ("leases/a.json", DIFFBOT_TOKEN),
        ("sweeps/b.jsonl", TOKEN),
        ("index/c", ""),
    ):
        (it.archive / key).parent.mkdir(parents=True)
        (it.archive / key).write_text(content)
    with pytest.raises(AssertionError) as raised:
        it.close()
    for found in (f"leases/a.json: {DIFFBOT_TOKEN}", f"sweeps/b.jsonl: {TOKEN}"):
        assert found in str(raised.value)


def is_listing(command: Sequence[str]) -> bool:
    """Tell whether a command has `--output`."""
    return command[0] not in ("diffbot", "drain", "outscraper", "spool") and "task" not in command


def objects(it: Receiver, prefix: str, count: int) -> list[bytes]:
    """Return the objects under a prefix, once there are so many."""
    archive = DirectoryArchive(it.archive)
    keys = archive.keys(prefix) if it.archive.is_dir() else []
    return [archive.get(key) for key in keys] if len(keys) >= count else []


def deliver(it: Receiver, sample: Any) -> str:
    target = it.path(sample.provider, sample.kind, sample.rest)
    answer = it.request(sample.method, target, sample.wire, sample.headers)
    assert 200 == answer.status
    return answer.headers["x-delivery-id"]

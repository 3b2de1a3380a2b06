"""No secret is shown or left anywhere, whatever providers and targets repeat of what they got.

Every `Receiver` of every other test is looked through when it is closed, too (tests/tools/support).
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.support.commands import run
from tests.tools.support.oracle import DirectoryArchive
from tests.tools.support.s3 import environ as s3_environ
from tests.tools.support.samples import API_KEY, DIFFBOT_TOKEN, Samples
from tests.tools.support.secrets import archived, canaries, leaks
from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.target import Received, Reply, TargetServer
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_TASK_ID = "11212307-1535-0135-0000-c59c89900005"
_PASSWORD = "canary-password-91d0c7"
_FORWARD_TOKEN = "canary-token-of-the-forward-77e1"
_REPLAY_TOKEN = "canary-token-of-the-replay-20bd"
_REPLAY_SECRET = "whsec_" + base64.b64encode(b"canary-secret-that-signs-replays").decode()

# What these print by design, and those that do not end by themselves.
_LEFT_OUT = {"serve", "forward", "urls", "export"}


def parrot(received: Received) -> Reply:
    """Answer as each provider, and as a target, with everything repeated that can be."""
    url = f"https://hooks.example.net/dataforseo/postback/{TOKEN}?id=$id"
    said = f"failed: {url} {received.method} {received.target} {dict(received.headers)}"
    if "webhook-id" in received.headers:
        # It was never told the URL that the provider called.
        return Reply(status=422, body=said.replace(url, "").encode())
    path = received.target.partition("?")[0]
    content = next((made for part, made in _answers(said, url).items() if part in path), None)
    if content is None:
        content = {"status_code": 40400, "status_message": said, "error": said, "errorCode": 400}
        return Reply(status=400, body=orjson.dumps(content | {"errorMessage": said}))
    return Reply(body=orjson.dumps(content))


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
    """Whoever is called: all providers, S3 and the target, and a parrot."""
    with TargetServer() as server:
        server.otherwise = parrot
        yield server


@pytest.fixture
def it(tmp_path: Path, gossip: TargetServer) -> Iterator[Receiver]:
    """A receiver with every secret that there is."""
    settings = {
        "RECEIVER_TOKENS": f"{TOKEN},second-canary-token-004f",
        "RECEIVER_PUBLIC_URL": "https://hooks.example.net",
        "RECEIVER_DATAFORSEO_LOGIN": "login@example.com",
        "RECEIVER_DATAFORSEO_PASSWORD": _PASSWORD,
        "RECEIVER_DATAFORSEO_FAMILIES": "serp",
        "RECEIVER_DATAFORAPPS_LOGIN": "login@example.com",
        "RECEIVER_DATAFORAPPS_PASSWORD": f'{_PASSWORD}/+"2',
        "RECEIVER_DIFFBOT_TOKEN": DIFFBOT_TOKEN,
        "RECEIVER_OUTSCRAPER_API_KEYS": f"{API_KEY},second-{API_KEY}",
        "RECEIVER_FORWARD_URL": f"{gossip.url}/{_FORWARD_TOKEN}?key={_FORWARD_TOKEN}2",
        "RECEIVER_REPLAY_SECRET": _REPLAY_SECRET,
        "RECEIVER_LOG_LEVEL": "debug",
        "RECEIVER_SWEEP_GRACE_SECONDS": "0",
        **{f"RECEIVER_{name}_URL": gossip.url for name in ("DATAFORSEO", "DATAFORAPPS")},
        **{f"RECEIVER_{name}_URL": gossip.url for name in ("DIFFBOT", "OUTSCRAPER")},
        **s3_environ(gossip.url),
    }
    with Receiver(tmp_path, settings) as receiver:
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
    it.start()
    ids = [deliver(it, sample) for sample in Samples(seed=71).of_each()]
    for target in (f"/nobody/{TOKEN}", f"/diffbot/notification/{TOKEN}x", "/" + API_KEY):
        assert it.request("POST", target, API_KEY.encode()).status in (401, 404)
    it.wait_until_shipped()
    # Sweeps begin at once.
    reports = wait_for(lambda: objects(it, "sweeps/", 4), "all four have swept", seconds=60)
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
    it.terminate()
    gossiped = str([(each.target, each.headers, each.reply.body) for each in gossip.received])
    secrets = canaries(it.environ) | {_REPLAY_TOKEN}
    assert [] == leaks(secrets, [("screen", shown), *archived(it.archive), ("logs", it.text())])
    # They were known to everybody, and what repeated them is there.
    for secret in (TOKEN, DIFFBOT_TOKEN, API_KEY, _FORWARD_TOKEN, _REPLAY_TOKEN):
        assert secret in gossiped
    for text in (shown, it.text(), str(reports)):
        assert "failed: https://hooks.example.net/dataforseo/postback/***" in text


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

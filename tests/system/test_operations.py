"""The providers' operations by the real command, against simulated APIs."""

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.dataforseo import Settings as DataForSeoSettings
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.server import Simulator
from tests.tools.simulators.sink import Sink
from tests.tools.support.commands import run
from tests.tools.support.server import TOKEN, Receiver
from tests.tools.support.wait import readable

pytestmark = pytest.mark.system

SECRET = "canary-secret-5b1f0c9a7e21"
# What the Basic header makes of it.
BASIC = "bWU6Y2FuYXJ5LXNlY3JldC01YjFmMGM5YTdlMjE="
ORGANIC = "serp/google/organic"
APP_INFO = "app_data/google/app_info"
Ended = subprocess.CompletedProcess[str]


class Desk:
    """A terminal at which commands are typed, and the three providers that they are about."""

    def __init__(self, root: Path) -> None:
        account = DataForSeoSettings(login="me", password=SECRET)
        self.dataforseo = DataForSeo(settings=account)
        self.dataforapps = DataForSeo(
            "dataforapps", settings=DataForSeoSettings(login="me", password=SECRET)
        )
        self.diffbot = Diffbot()
        self.diffbot.settings.tokens = (SECRET,)
        self.outscraper = Outscraper()
        self.outscraper.settings.api_keys = (SECRET,)
        self.outscraper.settings.calls_per_second = None
        self._root = root

    @property
    def simulators(self) -> dict[str, Simulator]:
        return {
            "dataforseo": self.dataforseo,
            "dataforapps": self.dataforapps,
            "diffbot": self.diffbot,
            "outscraper": self.outscraper,
        }

    def start(self) -> None:
        for simulator in self.simulators.values():
            simulator.start()
        self.receiver = Receiver(
            self._root,
            {
                "RECEIVER_DATAFORSEO_URL": self.dataforseo.url,
                "RECEIVER_DATAFORSEO_LOGIN": "me",
                "RECEIVER_DATAFORSEO_PASSWORD": SECRET,
                "RECEIVER_DATAFORAPPS_URL": self.dataforapps.url,
                "RECEIVER_DATAFORAPPS_LOGIN": "me",
                "RECEIVER_DATAFORAPPS_PASSWORD": SECRET,
                "RECEIVER_DIFFBOT_URL": self.diffbot.url,
                "RECEIVER_DIFFBOT_TOKEN": SECRET,
                "RECEIVER_OUTSCRAPER_URL": self.outscraper.url,
                "RECEIVER_OUTSCRAPER_API_KEYS": SECRET,
                "RECEIVER_RESULT_BYTES_MAX": str(1 << 20),
                "RECEIVER_CATALOG": str(self._root / "catalog"),
            },
        )

    def stop(self) -> None:
        self.receiver.close()
        for simulator in self.simulators.values():
            simulator.close()

    def type(self, *arguments: str, given: str | None = None, **settings: str) -> Ended:
        """Run a command to its end; nothing that it prints may hold a secret."""
        ended = subprocess.run(
            [sys.executable, "-m", "receiver", *arguments],
            cwd=self._root,
            env=self.receiver.environ | settings,
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            timeout=100,
        )
        for secret in (SECRET, BASIC, TOKEN):
            assert secret not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def rows(self, *arguments: str, status: int = 0, **options: Any) -> list[dict[str, Any]]:
        """Run a command with `--output json`; return its lines."""
        ended = self.type(*arguments, "--output", "json", **options)
        assert status == ended.returncode, ended.stderr
        return [orjson.loads(line) for line in ended.stdout.splitlines()]

    def object(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run a command that prints one object; return it."""
        ended = self.type(*arguments)
        assert status == ended.returncode, ended.stderr
        read: dict[str, Any] = orjson.loads(ended.stdout)
        return read

    def at_a_terminal(self, *arguments: str, answer: str) -> tuple[int, str]:
        """Run a command on a terminal, type an answer to its question; return what was shown."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", *arguments],
            cwd=self._root,
            env=self.receiver.environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        deadline = time.monotonic() + 60
        answered = False
        while time.monotonic() < deadline and readable([ours], seconds=60):
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break  # Linux's way to say that the other side is closed
            shown += chunk
            if b"[y/N]" in shown and not answered:
                os.write(ours, answer.encode() + b"\n")
                answered = True
        os.close(ours)
        return process.wait(60), shown.decode()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.start()
    try:
        yield desk
    finally:
        desk.stop()


# DataForSEO and DataForApps.


@pytest.mark.parametrize("brand", ["dataforseo", "dataforapps"])
def test_the_status_page_shows_problems_first(desk: Desk, brand: str) -> None:
    simulator = desk.simulators[brand]
    assert isinstance(simulator, DataForSeo)
    assert 0 == desk.type(brand, "status").returncode
    simulator.status.set("app_data", "webhook_delay", endpoint="postback/pingback")
    simulator.status.set("merchant", "partial_outage")
    ended = desk.type(brand, "status")
    assert 1 == ended.returncode
    head, first, second, third, *_ = ended.stdout.splitlines()
    assert ["api", "endpoint", "status"] == head.split()
    assert {("merchant", "partial_outage"), ("app_data", "postback/pingback", "webhook_delay")} == {
        tuple(line.split()) for line in (first, second)
    }
    assert "ok" == third.split()[-1]
    rows = desk.rows(brand, "status", status=1)
    assert {"api", "endpoint", "status"} == set(rows[0])
    assert [False] * 2 == [row["status"] == "ok" for row in rows[:2]]
    assert {"ok"} == {row["status"] for row in rows[2:]}


def test_finished_tasks_are_listed_and_stay_listed(desk: Desk) -> None:
    serp = desk.dataforseo.add_ready(ORGANIC, 2, tag="acme")
    apps = desk.dataforseo.add_ready(APP_INFO, 1)
    rows = desk.rows("dataforseo", "tasks-ready")
    assert dict.fromkeys(serp, "serp") | dict.fromkeys(apps, "app_data") == {
        row["id"]: row["family"] for row in rows
    }
    rows = desk.rows("dataforseo", "tasks-ready", "serp")
    assert [("acme", f"/v3/{ORGANIC}/task_get/advanced/{serp[0]}")] * 1 == [
        (row["tag"], row["path"]) for row in rows[:1]
    ]
    table = desk.type("dataforseo", "tasks-ready", "serp").stdout
    assert all(task_id in table for task_id in serp)
    assert set(serp + apps) == set(desk.dataforseo.uncollected())
    ended = desk.type("dataforseo", "tasks-ready", "no_such_api")
    assert (4, "") == (ended.returncode, ended.stdout)
    assert ended.stderr.startswith("receiver: dataforseo: the API answered 40")


def test_a_task_is_collected_and_printed_without_its_callback_url(desk: Desk) -> None:
    url = f"http://127.0.0.1:1/dataforseo/postback/{TOKEN}?id=$id"
    (task_id,) = desk.dataforseo.add_ready(ORGANIC, postback_url=url, postback_data="regular")
    found = desk.object("dataforseo", "task", task_id)
    (task,) = found["tasks"]
    assert desk.dataforseo.result(task_id, "advanced") == task["result"]
    assert task["data"]["postback_url"] == url.replace(TOKEN, "***")
    assert [] == desk.dataforseo.uncollected()
    arguments = ("--function", ORGANIC, "--datatype", "regular")
    found = desk.object("dataforseo", "task", task_id, *arguments)
    assert "regular" == found["tasks"][0]["path"][5]


def test_a_task_that_has_no_result_is_a_failure_that_says_why(desk: Desk) -> None:
    (task_id,) = desk.dataforseo.post(ORGANIC, {"keyword": "hose"})
    ended = desk.type("dataforseo", "task", task_id, "--function", ORGANIC, "--datatype", "html")
    assert 1 == ended.returncode
    assert f"receiver: {task_id}: 4060" in ended.stderr
    ended = desk.type("dataforseo", "task", "unknown")
    assert 4 == ended.returncode
    assert "unknown is not in any list of finished tasks" in ended.stderr


@pytest.mark.parametrize("brand", ["dataforseo", "dataforapps"])
def test_failed_deliveries_are_listed_with_what_the_provider_saw(desk: Desk, brand: str) -> None:
    simulator = desk.simulators[brand]
    assert isinstance(simulator, DataForSeo)
    with Sink() as door:
        door.status, door.reply = 503, b'{"error": "spool_full"}'
        fields = {"app_id": "x", "postback_data": "advanced"}
        url = f"{door.url}/{brand}/postback/{TOKEN}?id=$id"
        ids = simulator.post(APP_INFO, *([fields | {"postback_url": url}] * 3))
        simulator.finish(ids)
        simulator.wait_idle()
    rows = desk.rows(brand, "errors")
    assert set(ids) == {row["id"] for row in rows}
    assert {(503, "postback_url", '{"error": "spool_full"}')} == {
        (row["http_code"], row["function"], row["http_response"]) for row in rows
    }
    assert {True} == {"/postback/***?id=" in row["http_url"] for row in rows}
    assert [] == desk.rows(brand, "errors", "--function", "pingback_url", "--api", "app_data")
    table = desk.type(brand, "errors", "--hours", "1").stdout
    assert all(task_id in table for task_id in ids)


def test_webhooks_are_asked_for_again_a_hundred_a_call(desk: Desk) -> None:
    with Sink() as door:
        ids = desk.dataforseo.add_ready(ORGANIC, 250, pingback_url=f"{door.url}/$id")
        rows = desk.rows("dataforseo", "resend", "--from", "-", given="\n".join(ids))
        assert [(task_id, "20100 Task Created.") for task_id in ids] == [
            (row["id"], row["answer"]) for row in rows
        ]
        assert 3 == desk.dataforseo.ledger.count("webhook_resend")
        assert 250 == len(door.arrivals(250))
    ended = desk.type("dataforseo", "resend", ids[0], "unknown")
    assert 1 == ended.returncode
    assert "40401 Task Not Found." in ended.stdout


def test_crawls_are_stopped_a_thousand_a_call_and_only_on_a_yes(desk: Desk, tmp_path: Path) -> None:
    ids = desk.dataforseo.post("on_page", *({"target": "example.org"} for _ in range(1500)))
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(ids))
    ended = desk.type("dataforseo", "force-stop", "--from", str(source))
    assert 2 == ended.returncode
    assert "Error: this stops 1500 crawls for good: give --yes\n" in ended.stderr
    assert 0 == desk.dataforseo.ledger.count("force_stop")
    rows = desk.rows("dataforseo", "force-stop", "--from", str(source), "--yes")
    assert {"20000 Ok."} == {row["answer"] for row in rows}
    assert ids == [row["id"] for row in rows]
    assert 2 == desk.dataforseo.ledger.count("force_stop")
    assert all(desk.dataforseo.task(task_id).force_stopped for task_id in ids)


def test_on_a_terminal_the_question_is_asked(desk: Desk) -> None:
    (task_id,) = desk.dataforseo.post("on_page", {"target": "example.org"})
    status, shown = desk.at_a_terminal("dataforseo", "force-stop", task_id, answer="n")
    assert 130 == status
    assert "This stops 1 crawl for good. Go on? [y/N]" in shown
    assert not desk.dataforseo.task(task_id).force_stopped
    status, shown = desk.at_a_terminal("dataforseo", "force-stop", task_id, answer="y")
    assert 0 == status
    assert desk.dataforseo.task(task_id).force_stopped


def senseless() -> list[tuple[list[str], str]]:
    """Return commands that make no sense, and a part of what each says."""
    return [
        (["dataforseo", "resend"], "no ids"),
        (["dataforseo", "resend", "--from", "no-such-file"], "no-such-file"),
        (["dataforseo", "resend", "--from", "."], "directory"),
        (["dataforseo", "errors", "--hours", "200"], "--hours"),
        (["dataforseo", "resend", "--from", sys.executable], "not UTF-8"),
        (["diffbot", "delete", "shop"], "deletes the job shop and its data for good: give --yes"),
        (["diffbot", "restart", "shop"], "erases the data of shop and runs it again"),
        (["diffbot", "pause", "shop", "--yes"], "No such option"),
        (["outscraper", "restart", "7"], "runs 7 again, at full cost: give --yes"),
        (["outscraper", "terminate", "7"], "removes the task 7 for good: give --yes"),
        (["outscraper", "task", "7", "--yes"], "No such option"),
        (["outscraper", "terminate", "..", "--yes"], "'..' is not an id of outscraper"),
        (["outscraper", "request", "../tasks/7"], "is not an id of outscraper"),
        (["dataforseo", "task", "../errors"], "is not an id of dataforseo"),
        (["dataforseo", "resend", "7", "a/b"], "'a/b' is not an id of dataforseo"),
        (["diffbot", "delete", "", "--yes"], "'' is not an id of diffbot"),
        (["sweep", "nobody"], "nobody"),
    ]


def test_what_makes_no_sense_is_a_usage_error(desk: Desk) -> None:
    shown = run(desk.receiver, [arguments for arguments, _ in senseless()])
    *parts, rest = re.split(r"^--- status (\d+) .*\n", shown, flags=re.MULTILINE)
    assert "" == rest
    assert ["2"] * len(senseless()) == parts[1::2]
    for (_, said), text in zip(senseless(), parts[::2], strict=True):
        assert said in text
    for secret in (SECRET, BASIC, TOKEN):
        assert secret not in shown
    assert [0] * 4 == [simulator.ledger.count() for simulator in desk.simulators.values()]


# Diffbot.


def test_jobs_are_listed_and_shown_without_the_token_in_their_links(desk: Desk) -> None:
    desk.diffbot.create("shop", seeds="https://example.org")
    desk.diffbot.create("pages", kind="bulk", urls="https://example.org/1")
    desk.diffbot.complete("shop")
    jobs = desk.rows("diffbot", "jobs")
    assert [("shop", "crawl", 9), ("pages", "bulk", 7)] == [
        (job["name"], job["type"], job["jobStatus"]["status"]) for job in jobs
    ]
    assert "***-shop_data.json" in jobs[0]["downloadJson"]
    table = desk.type("diffbot", "jobs").stdout.splitlines()
    assert "name type status message rounds objects".split() == table[0].split()
    assert table[1].split()[:3] == ["shop", "crawl", "9"]
    job = desk.object("diffbot", "job", "shop")
    assert ("shop", True) == (job["name"], "***-shop_data.json" in job["downloadJson"])
    ended = desk.type("diffbot", "job", "unknown")
    assert (4, "receiver: diffbot answered 500: no collection record.\n") == (
        ended.returncode,
        ended.stderr,
    )
    assert 1 == desk.diffbot.ledger.count(code="500")


def test_a_job_is_paused_resumed_restarted_and_deleted(desk: Desk) -> None:
    desk.diffbot.create("shop", seeds="https://example.org")
    assert 6 == desk.object("diffbot", "pause", "shop")["jobStatus"]["status"]
    assert 7 == desk.object("diffbot", "resume", "shop")["jobStatus"]["status"]
    desk.diffbot.complete("shop")
    assert 7 == desk.object("diffbot", "restart", "shop", "--yes")["jobStatus"]["status"]
    answer = {"response": "Successfully deleted job."}
    assert answer == desk.object("diffbot", "delete", "shop", "--yes")
    assert [] == desk.rows("diffbot", "jobs")


# Outscraper.


def test_tasks_are_listed_shown_restarted_and_removed(desk: Desk) -> None:
    ids = [desk.outscraper.create_task(tags=["demo"]) for _ in range(3)]
    desk.outscraper.create_task(tags=["other"])
    for task_id in ids:
        desk.outscraper.finish(task_id)
    assert ids[::-1] == [row["id"] for row in desk.rows("outscraper", "tasks", "--tag", "demo")]
    assert 2 == len(desk.rows("outscraper", "tasks", "--most", "2"))
    table = desk.type("outscraper", "tasks").stdout.splitlines()
    assert ["id", "status", "created", "updated"] == table[0].split()
    assert "SUCCESS" == desk.object("outscraper", "task", ids[0])["status"]
    assert {"answer": "Task restarted"} == desk.object("outscraper", "restart", ids[0], "--yes")
    assert "PENDING" == desk.outscraper.task(ids[0])["status"]
    assert {"answer": "Task removed"} == desk.object("outscraper", "terminate", ids[1], "--yes")
    assert ids[1] not in desk.outscraper.task_ids()


def test_a_request_is_printed_or_said_to_be_pending_or_failed(desk: Desk) -> None:
    done, failed, pending = (desk.outscraper.submit("bars") for _ in range(3))
    desk.outscraper.finish(done)
    desk.outscraper.finish(failed, "Failure")
    assert desk.outscraper.data(done) == desk.object("outscraper", "request", done)["data"]
    for request_id, state in ((failed, "Failure"), (pending, "Pending")):
        ended = desk.type("outscraper", "request", request_id)
        assert 1 == ended.returncode
        assert ended.stderr == f"receiver: {request_id}: {state}\n"


def test_failed_webhook_calls_are_listed(desk: Desk) -> None:
    with Sink() as door:
        door.status = 404
        desk.outscraper.finish(desk.outscraper.submit("bars", webhook=door.url))
        desk.outscraper.wait_idle()
    (row,) = desk.rows("outscraper", "webhook-calls")
    assert "Status code: 404" == row["status"]
    assert row["date"].endswith("+00:00")
    assert row["date"] in desk.type("outscraper", "webhook-calls").stdout


# Bad days.

ASK = {
    "dataforseo": ("dataforseo", "status"),
    "dataforapps": ("dataforapps", "tasks-ready"),
    "diffbot": ("diffbot", "jobs"),
    "outscraper": ("outscraper", "tasks"),
}


def said_of(desk: Desk, provider: str, ended: Ended, status: int = 4) -> str:
    """Return the one line that is left of a command which could not do its work."""
    assert (status, "") == (ended.returncode, ended.stdout), ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"receiver: {provider}")
    assert len(line) < 250
    return line


def all_at_once(desk: Desk, status: int = 4, **settings: str) -> dict[str, str]:
    """Ask every provider at the same time; return what was said of each."""
    with ThreadPoolExecutor(len(ASK)) as pool:
        ended = {
            provider: pool.submit(desk.type, *arguments, **settings)
            for provider, arguments in ASK.items()
        }
    return {name: said_of(desk, name, future.result(), status) for name, future in ended.items()}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("html", "something that is not"),
        ("half_json", "something that is not"),
        ("endless", "answers with a body over 1048576 bytes (RECEIVER_RESULT_BYTES_MAX)"),
        # Six attempts, with pauses between them.
        ("stopped", "cannot be reached"),
    ],
)
def test_a_provider_on_a_bad_day_is_one_clear_line(desk: Desk, fault: str, words: str) -> None:
    for simulator in desk.simulators.values():
        simulator.fail(fault)
    for line in all_at_once(desk).values():
        assert words in line


def test_a_redirect_to_another_host_is_one_clear_line_and_goes_nowhere(desk: Desk) -> None:
    with Sink() as elsewhere:
        for simulator in desk.simulators.values():
            simulator.fail("redirect", location=f"{elsewhere.url}/take")
        for line in all_at_once(desk).values():
            assert "answers with a redirect (HTTP 307), not followed" in line
        assert [] == elsewhere.arrivals()


def test_wrong_credentials_are_one_clear_line_that_names_them(desk: Desk) -> None:
    said = all_at_once(
        desk,
        status=3,
        RECEIVER_DATAFORSEO_PASSWORD="another-one",
        RECEIVER_DATAFORAPPS_LOGIN="another-one",
        RECEIVER_DIFFBOT_TOKEN="another-one",
        RECEIVER_OUTSCRAPER_API_KEYS="another-one",
    )
    for provider, line in said.items():
        assert "refuses the credentials (HTTP 401)" in line
        assert f"RECEIVER_{provider.upper()}_" in line
        assert "another-one" not in line


def test_missing_credentials_are_an_error_of_settings_that_names_them(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    for provider, arguments in ASK.items():
        ended = receiver.command(*arguments)
        assert 3 == ended.returncode
        assert f"receiver: {provider}: set RECEIVER_{provider.upper()}_" in ended.stderr
    ended = receiver.command("sweep")
    assert 3 == ended.returncode
    assert "no provider's API credentials are set" in ended.stderr


def test_an_audit_names_what_the_provider_did_and_the_archive_lacks(desk: Desk) -> None:
    api, receiver = desk.dataforseo, desk.receiver
    path = receiver.path("dataforseo", "{}", "?id=$id&tag=$tag")
    # All of it waits in the spool at first.
    receiver.environ["RECEIVER_BATCH_SECONDS"] = "600"
    receiver.start()
    came, lost, told, foreign, empty, waiting = api.post(
        ORGANIC,
        _task("came", postback_url=receiver.url + path.format("postback")),
        _task("lost", postback_url="http://127.0.0.1:1" + path.format("postback")),
        _task("told", pingback_url="http://127.0.0.1:1" + path.format("pingback")),
        _task("foreign", postback_url="http://127.0.0.1:1/elsewhere?id=$id"),
        _task("empty", postback_url="http://127.0.0.1:1" + path.format("postback")),
        _task("waiting", postback_url=receiver.url + path.format("postback")),
    )
    for task_id in (came, lost, told, foreign, empty):
        api.finish(task_id)
    api.wait_idle()
    # Whoever knows the URL can do this; it brings no result.
    posted = receiver.request("POST", path.format("postback").replace("$id", empty))
    assert 200 == posted.status
    missing = desk.rows("audit", "dataforseo", "--api", "serp", "--hours-late", "0", status=1)
    lacking = {(lost, "postback_url"), (told, "pingback_url"), (empty, "postback_url")}
    assert lacking == {(row["id"], row["lacks"]) for row in missing}
    assert {"lost", "told", "empty"} == {row["tag"] for row in missing}
    assert [] == desk.rows("audit", "dataforseo", "--api", "serp", "--hours-late", "2")
    receiver.terminate()
    # Archived is as good as spooled, and a result as good as a callback.
    archived = desk.rows("audit", "dataforseo", "--api", "serp", "--hours-late", "0", status=1)
    assert lacking == {(row["id"], row["lacks"]) for row in archived}
    assert 0 == desk.type("sweep", "dataforseo", RECEIVER_SWEEP_GRACE_SECONDS="0").returncode
    assert [] == desk.rows("audit", "dataforseo", "--api", "serp", "--hours-late", "0")
    assert waiting not in {row["id"] for row in missing}


def _task(tag: str, **urls: str) -> dict[str, Any]:
    more = {"postback_data": "advanced"} if "postback_url" in urls else {}
    return {"keyword": "garden hose", "tag": tag, **urls, **more}

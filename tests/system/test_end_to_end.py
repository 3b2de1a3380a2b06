"""Registered at a provider: what it could not deliver is fetched, and nothing is missing.

The simulated provider gets work with the URLs that `receiver urls` prints, and delivers while the
receiver is killed, full, slow and gone for part of the time.  Then sweeps run, one of them killed
in its middle, then two instances at a time.  Then the archive holds all of it.
"""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.dataforseo import Settings as DataForSeoSettings
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.server import Simulator
from tests.tools.support.balancer import Port
from tests.tools.support.lease import wait_until_free
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.relay import Relay
from tests.tools.support.server import Life, Receiver
from tests.tools.support.wait import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

# What the provider waits for an answer, in place of ten seconds.
DEADLINE_SECONDS = 0.5
LEASE_SECONDS = 5
SECRET = "canary-secret-5b1f0c9a7e21"


class Registered:
    """A receiver behind a relay, which is where its URLs lead, and another one to help it."""

    def __init__(self, root: Path, settings: Mapping[str, str]) -> None:
        # One for all lives: nobody takes it while the receiver is gone.
        self._port = Port()
        self.relay = Relay(("127.0.0.1", self._port.number))
        self._archive = root / "archive"
        shared = {
            "RECEIVER_ARCHIVE": str(self._archive),
            "RECEIVER_PUBLIC_URL": self.relay.url,
            "RECEIVER_PORT": str(self._port.number),
        }
        self._sweeps = {
            "RECEIVER_SWEEP_GRACE_SECONDS": "0",
            "RECEIVER_LEASE_SECONDS": str(LEASE_SECONDS),
            **settings,
        }
        self.here = Receiver(root / "here", shared | own(root, "here"))
        self.there = Receiver(root / "there", shared | own(root, "there"))
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> "Registered":
        return self

    def __exit__(self, *raised: object) -> None:
        self.here.close()
        self.there.close()
        self.relay.close()
        self._port.close()

    def urls(self, provider: str) -> dict[str, str]:
        """Return the URLs to register, by the provider's name for them."""
        ended = self.here.command("urls", "--output", "json")
        assert 0 == ended.returncode, ended.stderr
        rows = [orjson.loads(line) for line in ended.stdout.splitlines()]
        return {row["parameter"]: row["url"] for row in rows if row["provider"] == provider}

    @contextmanager
    def serving(self, **settings: str) -> Iterator[None]:
        """Serve without credentials, so that only the sweeps of this test are run."""
        self.here.environ |= settings
        self.here.start()
        yield
        self.here.kill_all()
        for name in settings:
            del self.here.environ[name]

    def days(self, finish: Callable[[int], None], idle: Callable[[], None], pieces: int) -> None:
        """Let the work be done in pieces, through good days and bad ones; end up shipped."""
        bad = iter(range(pieces))
        with self.serving():
            finish(next(bad))
            idle()
        # Killed while deliveries come in, and gone for a while.
        self.here.start()
        finish(next(bad))
        self.here.kill_all()
        idle()
        finish(next(bad))
        idle()
        # Full.
        with self.serving(RECEIVER_SPOOL_BYTES_MAX="1"):
            finish(next(bad))
            idle()
        with self.serving():
            # Slow: the answer comes too late, or never.
            self.relay.behave("hang")
            finish(next(bad))
            idle()
            # Taken, and the answer is lost: the provider does not know that it was delivered.
            self.relay.behave("fail_after")
            finish(next(bad))
            idle()
            self.relay.behave("pass")
        for number in bad:
            with self.serving():
                finish(number)
                idle()
        assert 0 == self.here.command("ship").returncode
        assert [] == self.here.spooled()

    def sweeping(self, receiver: Receiver, provider: str) -> Life:
        command = [sys.executable, "-m", "receiver", "sweep", provider, "--output", "json"]
        return Life(command, cwd=receiver.root, environ=receiver.environ | self._sweeps)

    def ended(self, life: Life) -> dict[str, Any] | None:
        """Wait for a sweep; return its summary, or None if another instance was at it."""
        life.wait_for_all()
        try:
            if "another instance is sweeping" in life.text():
                return None
            assert "Traceback" not in life.text(), life.text()
            summary: dict[str, Any] = orjson.loads(life.output[-1])
            assert "summary" == summary["type"], life.text()
            self.outcomes.update(summary["outcomes"])
            return summary
        finally:
            life.close()

    def sweep_until_done(self, provider: str, simulator: Simulator, *, family: str) -> None:
        """Sweep until nothing is left: one is killed, then two compete, then each once more."""
        simulator.latency_seconds = 0.05
        killed = self.sweeping(self.here, provider)
        before = simulator.ledger.count(family)
        wait_for(lambda: simulator.ledger.count(family) >= before + 10, "a part was fetched")
        killed.signal_all(signal.SIGKILL)
        killed.wait_for_all()
        killed.close()
        self.compete(provider)
        assert 0 == self.here.command("ship").returncode
        last = None
        for _ in range(3):
            last = [self.ended(self.sweeping(one, provider)) for one in (self.here, self.there)]
            if not any(summary is None or summary["outcomes"] for summary in last):
                return
        raise AssertionError(f"still something to do: {last}")

    def compete(self, provider: str) -> None:
        """Let two instances sweep at a time, until one of them got the lease of the dead one."""
        before = self.at_once(provider)
        if not any(before):
            wait_until_free(self._archive, f"sweep-{provider}")
            assert any(self.at_once(provider)), "the lease of a dead process is never free"

    def at_once(self, provider: str) -> list[dict[str, Any] | None]:
        lives = [self.sweeping(one, provider) for one in (self.here, self.there)]
        return [self.ended(life) for life in lives]

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(DirectoryArchive(self._archive))

    def check_for_secrets(self) -> None:
        """No token and no key is in a report, an index or a list of what is unfinished."""
        archive = DirectoryArchive(self._archive)
        for key in archive.keys():
            if not key.startswith("callbacks/"):
                content = archive.get(key)
                assert self.here.token.encode() not in content
                assert SECRET.encode() not in content


def own(root: Path, name: str) -> dict[str, str]:
    return {"RECEIVER_INSTANCE": name, "RECEIVER_CATALOG": str(root / name / "catalog")}


def in_pieces(work: Sequence[str], pieces: int) -> list[list[str]]:
    return [list(work[number::pieces]) for number in range(pieces)]


def test_a_thousand_tasks_of_a_thousand_are_archived(tmp_path: Path) -> None:
    archive_all_tasks(tmp_path, "dataforseo", 1000)


def test_every_task_of_the_other_brand_is_archived(tmp_path: Path) -> None:
    archive_all_tasks(tmp_path, "dataforapps", 140)


def archive_all_tasks(root: Path, brand: Any, tasks: int) -> None:
    """Post tasks, let the provider deliver and the receiver sweep; compare both in the end."""
    account = DataForSeoSettings(
        login="me", password=SECRET, deadline_seconds=DEADLINE_SECONDS, deliveries_at_once=20
    )
    account.errors_seconds = 86_400.0 * (7 if brand == "dataforseo" else 1)
    function = "serp/google/organic" if brand == "dataforseo" else "app_data/google/app_info"
    with DataForSeo(brand, settings=account) as simulator:
        name = f"RECEIVER_{brand.upper()}"
        settings = {
            f"{name}_URL": simulator.url,
            f"{name}_LOGIN": "me",
            f"{name}_PASSWORD": SECRET,
            f"{name}_FAMILIES": function.partition("/")[0],
            f"{name}_TAGS": "acme|*",
        }
        with Registered(root, settings) as registered:
            urls = registered.urls(brand)
            ids = post(simulator, function, urls, tasks)
            others = simulator.add_ready(function, 20, tag="another-program")
            pieces = in_pieces(ids, 7)
            registered.days(
                lambda number: simulator.finish(pieces[number]), simulator.wait_idle, len(pieces)
            )
            delivered = Counter(one.http_code for one in simulator.deliveries())
            registered.sweep_until_done(brand, simulator, family="task_get")
            lines = registered.lines()
            registered.check_for_secrets()
        compare(simulator, ids, lines)
        # A postback that was taken, and whose answer was lost, needs no collecting.
        posted_back = {line["task_id"] for line in lines if line["kind"] == "postback"}
        assert set(others) <= set(simulator.uncollected()) <= {*others, *posted_back}
        assert {200, 503, 0} <= set(delivered)
        assert 20 >= simulator.ledger.maximum_per_minute("tasks_ready")
        assert 10 >= simulator.ledger.maximum_per_minute("status")
        assert 30 >= simulator.ledger.simultaneous_max()
        kinds = Counter((line["kind"], line["origin"]) for line in lines)
        print(f"{brand}: deliveries {dict(delivered)}, archive {dict(kinds)},", end=" ")
        print(f"sweeps after the killed one {dict(registered.outcomes)}")


def post(simulator: DataForSeo, function: str, urls: Mapping[str, str], tasks: int) -> list[str]:
    """Post tasks with a postback, with a pingback, and with both."""
    fields = {"keyword": "garden hose", "app_id": "x"}
    postback = {"postback_url": urls["postback_url"]}
    pingback = {"pingback_url": urls["pingback_url"]}
    ids = []
    for number in range(tasks):
        chosen = (postback, pingback, postback | pingback)[number % 3]
        datatype = "html" if number % 10 == 0 else "advanced"
        extra = {"postback_data": datatype} if "postback_url" in chosen else {}
        tag = {"tag": f"acme|run {number} & caf\u00e9"}
        ids += simulator.post(function, fields | chosen | extra | tag)
    return ids


def compare(simulator: DataForSeo, ids: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Every task is there, with the payload that the provider holds and the tag it was given."""
    payloads: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        assert line["invalid"] is None
        if line["kind"] in ("postback", "result"):
            payloads.setdefault(line["task_id"], []).append(line)
        assert ("sweep" if line["kind"] == "result" else "callback") == line["origin"]
    missing = set(ids) - set(payloads)
    print(f"{len(ids) - len(missing)} of {len(ids)} by task_id")
    assert set(ids) == set(payloads)
    for task_id, found in payloads.items():
        task = simulator.task(task_id)
        for line in found:
            (read,) = orjson.loads(line["body"])["tasks"]
            assert task_id == read["id"]
            assert simulator.result(task_id, task.postback_datatype) == read["result"]
            assert task.tag == line["tag"]
        assert 1 == len({line["key"] for line in found}) or "postback_url" not in task.posted


def test_fifty_jobs_of_fifty_have_a_notification(tmp_path: Path) -> None:
    with Diffbot() as simulator:
        simulator.settings.tokens = (SECRET,)
        simulator.settings.notify_seconds = DEADLINE_SECONDS
        settings = {"RECEIVER_DIFFBOT_URL": simulator.url, "RECEIVER_DIFFBOT_TOKEN": SECRET}
        with Registered(tmp_path, settings) as registered:
            webhook = registered.urls("diffbot")["notifyWebhook"]
            names = [f"shop-{number}" for number in range(50)]
            for name in names:
                simulator.create(name, seeds="https://example.org", notifyWebhook=webhook)
            pieces = in_pieces(names, 7)

            def complete(number: int) -> None:
                for name in pieces[number]:
                    simulator.complete(name)

            registered.days(complete, simulator.wait_idle, len(pieces))
            sweep_diffbot(registered, simulator)
            lines = registered.lines()
            registered.check_for_secrets()
    by_name: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        assert ("notification", None, "9") == (line["kind"], line["invalid"], line["status"])
        by_name.setdefault(line["task_id"], []).append(line)
    assert set(names) == set(by_name)
    for name, found in by_name.items():
        assert 1 == len({line["key"] for line in found})
        for line in found:
            assert steady(simulator.job(name)) == steady(orjson.loads(line["body"]))
    counts = Counter(line["origin"] for line in lines)
    assert counts["callback"] >= 7
    assert counts["sweep"] >= 20
    print(f"diffbot: {len(by_name)} of 50, archive {dict(counts)}", dict(registered.outcomes))


def steady(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a job is the same in its notification and in every list."""
    passing = {"currentTime", "currentTimeUTC", "sentJobDoneNotification"}
    return {name: value for name, value in job.items() if name not in passing}


def sweep_diffbot(registered: Registered, simulator: Diffbot) -> None:
    """As `sweep_until_done`; the killed one makes a single call, and is hit some time after it."""
    killed = registered.sweeping(registered.here, "diffbot")
    wait_for(lambda: simulator.ledger.count("crawl"), "the jobs are listed")
    killed.signal_all(signal.SIGKILL)
    killed.wait_for_all()
    killed.close()
    assert 0 == registered.here.command("ship").returncode
    registered.compete("diffbot")
    summary = registered.ended(registered.sweeping(registered.here, "diffbot"))
    assert summary is not None
    assert ({}, 50) == (summary["outcomes"], summary["held"])


def test_fifty_requests_of_fifty_have_a_result(tmp_path: Path) -> None:
    with Outscraper() as simulator:
        simulator.settings.api_keys = (SECRET,)
        simulator.settings.webhook_seconds = DEADLINE_SECONDS
        settings = {
            "RECEIVER_OUTSCRAPER_URL": simulator.url,
            "RECEIVER_OUTSCRAPER_API_KEYS": SECRET,
        }
        with Registered(tmp_path, settings) as registered:
            webhook = registered.urls("outscraper")["webhook"]
            ids = [simulator.submit(f"bars {number}", webhook=webhook) for number in range(35)]
            ids += [simulator.create_task(webhook=webhook) for _ in range(15)]
            pieces = in_pieces(ids, 7)

            def finish(number: int) -> None:
                for work_id in pieces[number]:
                    simulator.finish(work_id)

            registered.days(finish, simulator.wait_idle, len(pieces))
            registered.sweep_until_done("outscraper", simulator, family="request")
            lines = registered.lines()
            registered.check_for_secrets()
    results = {line["task_id"]: line for line in lines if line["kind"] == "result"}
    assert set(ids) == set(results)
    for work_id, line in results.items():
        assert ("sweep", None) == (line["origin"], line["invalid"])
        body = orjson.loads(line["body"])
        if work_id in simulator.task_ids():
            assert simulator.task(work_id) == body
        else:
            assert simulator.data(work_id) == body["data"]
    told = {line["task_id"] for line in lines if line["kind"] == "webhook"}
    assert told < set(ids)
    assert len(told) >= 7
    assert 0 == simulator.ledger.count_http(429)
    print(f"outscraper: {len(results)} of 50, told of {len(told)}", dict(registered.outcomes))

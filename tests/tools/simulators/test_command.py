import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Run the command; yield the URL it prints first, and what it prints after that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tools.simulators", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" on ")[1].strip()
        lines: list[str] = []
        try:
            while "serving until interrupted" not in (line := process.stdout.readline()):
                assert line, "the command has ended"
                lines.append(line.strip())
            yield url, lines
        finally:
            process.send_signal(signal.SIGINT)
            assert 0 == process.wait(30)


@pytest.mark.parametrize("brand", ["dataforseo", "dataforapps"])
def test_dataforseo_is_served_with_tasks_an_error_and_a_status(brand: str) -> None:
    with running(brand, "--login", "me", "--password", "mine", "--tasks", "2") as (url, lines):
        with httpx2.Client(base_url=url, auth=("me", "mine")) as client:
            ready = client.get("/v3/app_data/tasks_ready").json()["tasks"][0]["result"]
            (error,) = client.post("/v3/app_data/errors", json=[{}]).json()["tasks"][0]["result"]
    assert [True] * 3 == [entry["id"] in lines for entry in ready]
    assert "postback_url" == error["function"]


def test_diffbot_is_served_with_jobs() -> None:
    with running("diffbot", "--token", "secret", "--tasks", "2") as (url, lines):
        jobs = httpx2.get(f"{url}/v3/crawl?token=secret").json()["jobs"]
    assert ["shop-0", "shop-1", "news-daily", "pages"] == [job["name"] for job in jobs]
    assert [True] * 4 == [job["name"] in lines for job in jobs]


def test_outscraper_is_served_with_tasks_and_failed_calls() -> None:
    with running("outscraper", "--api-key", "secret", "--tasks", "2") as (url, lines):
        with httpx2.Client(base_url=url, headers={"X-API-KEY": "secret"}) as client:
            tasks = client.get("/tasks").json()["tasks"]
            calls = client.get("/webhook-calls").json()
    assert [True, True] == [task["id"] in lines for task in tasks]
    assert 4 == len(calls)

import hashlib
import hmac
import re
from collections.abc import Iterator

import httpx2
import orjson
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import START
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.sink import Sink

HOUR = 3600


@pytest.fixture
def client(outscraper: Outscraper) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=outscraper.url, headers={"X-API-KEY": "key"}) as running:
        yield running


def test_an_asynchronous_request_is_accepted_done_and_pending_again_after_four_hours(
    client: httpx2.Client, outscraper: Outscraper, clock: Clock
) -> None:
    outscraper.settings.finish_after_seconds = 60
    answer = client.get("/maps/search-v3", params={"query": ["bars", "cafes"], "async": "true"})
    accepted = answer.json()
    path = f"/requests/{accepted['id']}"
    assert (202, "Pending", f"{outscraper.url}{path}") == (
        answer.status_code,
        accepted["status"],
        accepted["results_location"],
    )
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", accepted["id"])
    statuses = []
    for seconds in (0, 60, 4 * HOUR, 1):
        clock.advance(seconds)
        statuses.append(client.get(path).json()["status"])
    assert ["Pending", "Success", "Success", "Pending"] == statuses
    assert ["data" in client.get(path).json()] == [False]


def test_a_result_has_an_array_for_each_query_or_one_for_all(
    client: httpx2.Client, outscraper: Outscraper
) -> None:
    request_id = outscraper.submit("bars", "cafes")
    outscraper.finish(request_id)
    nested = client.get(f"/requests/{request_id}").json()["data"]
    flat = client.get(f"/requests/{request_id}?flat=true").json()["data"]
    assert outscraper.data(request_id) == nested
    assert ([3, 3], nested[0] + nested[1]) == ([len(rows) for rows in nested], flat)


def test_a_failure_is_an_empty_204_or_said_in_200(
    client: httpx2.Client, outscraper: Outscraper
) -> None:
    request_id = outscraper.submit()
    outscraper.finish(request_id, "Failure")
    empty = client.get(f"/requests/{request_id}")
    outscraper.settings.failure_form = "200"
    said = client.get(f"/requests/{request_id}")
    assert (204, b"") == (empty.status_code, empty.content)
    assert (200, {"id": request_id, "status": "Failure"}) == (said.status_code, said.json())


def test_a_webhook_is_a_signed_notification(outscraper: Outscraper, sink: Sink) -> None:
    outscraper.settings.webhook = f"{sink.url}/account"
    request_id = outscraper.submit("bars", webhook=f"{sink.url}/request")
    outscraper.finish(request_id)
    (arrival,) = sink.arrivals(1)
    expected = hmac.new(b"key", arrival.body, hashlib.sha256).hexdigest()
    assert ("POST", "/request", "application/json", f"sha256={expected}") == (
        arrival.method,
        arrival.target,
        arrival.header("Content-Type"),
        arrival.header("X-Hub-Signature-256"),
    )
    assert {
        "id": request_id,
        "user_id": "65f0c1b2a7",
        "status": "SUCCESS",
        "api_task": True,
        "results_location": f"{outscraper.url}/requests/{request_id}",
        "quota_usage": [{"product_name": "Google Maps Data", "quantity": 3}],
    } == orjson.loads(arrival.body)


def test_a_webhook_can_be_unsigned_the_accounts_and_about_a_failed_task(
    outscraper: Outscraper, sink: Sink
) -> None:
    outscraper.settings.webhook = f"{sink.url}/account"
    outscraper.settings.signed = False
    outscraper.settings.results_base = "http://evil.example"
    task_id = outscraper.create_task()
    outscraper.finish(task_id, "Failure")
    (arrival,) = sink.arrivals(1)
    body = orjson.loads(arrival.body)
    assert ("/account", None) == (arrival.target, arrival.header("X-Hub-Signature-256"))
    assert (task_id, "FAILURE", False, f"http://evil.example/tasks/{task_id}") == (
        body["id"],
        body["status"],
        body["api_task"],
        body["results_location"],
    )


def test_failed_webhook_calls_are_listed_for_a_day_without_saying_which(
    client: httpx2.Client, outscraper: Outscraper, sink: Sink, clock: Clock
) -> None:
    outscraper.settings.webhook = sink.url
    sink.status = 404
    outscraper.finish(outscraper.submit())
    outscraper.wait_idle()
    sink.status = 200
    outscraper.finish(outscraper.submit())
    outscraper.wait_idle()
    outscraper.settings.webhook = "http://127.0.0.1:1/"
    clock.advance(HOUR)
    outscraper.finish(outscraper.submit())
    outscraper.wait_idle()
    assert [
        {"date": int(START) + HOUR, "status": "Error: connection"},
        {"date": int(START), "status": "Status code: 404"},
    ] == client.get("/webhook-calls").json()
    clock.advance(24 * HOUR)
    assert ["Error: connection"] == [one["status"] for one in client.get("/webhook-calls").json()]
    clock.advance(1)
    assert [] == client.get("/webhook-calls").json()


def test_requests_are_listed_by_kind_in_pages_for_a_day(
    client: httpx2.Client, outscraper: Outscraper, clock: Clock
) -> None:
    running = outscraper.submit()
    finished = [outscraper.submit() for _ in range(120)]
    for request_id in finished:
        outscraper.finish(request_id)
    query: dict[str, str | int] = {"type": "finished", "pageSize": 60}
    pages = [client.get("/requests", params=query | {"skip": skip}).json() for skip in (0, 60, 120)]
    assert [{"id": running, "usage": "0"}] == client.get("/requests?type=running").json()
    assert [60, 40, 0] == [len(page) for page in pages]
    assert {"id": finished[-1], "usage": "3"} == pages[0][0]
    clock.advance(24 * HOUR + 1)
    assert [] == client.get("/requests?type=finished").json()
    latest = outscraper.submit()
    assert [{"id": latest, "usage": "0"}] == client.get("/requests?type=running").json()


def test_a_request_can_be_terminated(client: httpx2.Client, outscraper: Outscraper) -> None:
    request_id = outscraper.submit()
    answer = client.delete(f"/requests/{request_id}")
    assert f"Request {request_id} terminated" == answer.json()
    assert 404 == client.get(f"/requests/{request_id}").status_code


def test_tasks_are_listed_newest_first_behind_a_cursor_that_outlives_them(
    client: httpx2.Client, outscraper: Outscraper
) -> None:
    ids = [outscraper.create_task(tags=["even"] if number % 2 == 0 else []) for number in range(25)]
    seen: list[str] = []
    more, last = True, None
    while more:
        query = {"pageSize": "10"} | ({"lastId": last} if last else {})
        page = client.get("/tasks", params=query).json()
        seen += [task["id"] for task in page["tasks"]]
        more, last = page["has_more"], seen[-1]
        if len(seen) == 10:
            client.delete(f"/tasks/{last}")
    tagged = client.get("/tasks?query=even&pageSize=100").json()
    assert ids[::-1] == seen
    assert re.fullmatch(r"20260814100000[0-9a-f]{4}", seen[0])
    assert (set(ids[::2]) - {seen[9]}, False) == (
        {task["id"] for task in tagged["tasks"]},
        tagged["has_more"],
    )


def test_a_task_is_posted_read_restarted_and_removed(
    client: httpx2.Client, outscraper: Outscraper, clock: Clock
) -> None:
    posted = {"service_name": "google_maps_service_v2", "queries": ["bars"], "tags": "demo"}
    task_id = client.post("/tasks", json=posted).json()["id"]
    clock.advance(60)
    outscraper.finish(task_id)
    task = client.get(f"/tasks/{task_id}").json()
    assert ("SUCCESS", "2026-08-14T10:00:00.000000", "2026-08-14T10:01:00.000000") == (
        task["status"],
        task["created"],
        task["updated"],
    )
    assert {"service_name": "google_maps_service_v2", "queries": ["bars"]} == task["metadata"]
    assert [True, False] == ["file_url" in result for result in task["results"]]
    assert 200 == httpx2.get(task["results"][0]["file_url"]).status_code
    assert "Task restarted" == client.put(f"/tasks/{task_id}").json()
    assert ("PENDING", []) == (
        outscraper.task(task_id)["status"],
        outscraper.task(task_id)["results"],
    )
    assert "Task removed" == client.delete(f"/tasks/{task_id}").json()
    assert (404, []) == (client.get(f"/tasks/{task_id}").status_code, outscraper.task_ids())


@pytest.mark.parametrize("query", ["ui=true", "format=xlsx"])
def test_a_request_for_files_becomes_a_task(
    client: httpx2.Client, outscraper: Outscraper, query: str
) -> None:
    task_id = client.get(f"/maps/search-v3?query=bars&{query}").json()["id"]
    assert [task_id] == outscraper.task_ids()


def test_a_synchronous_request_answers_at_once(client: httpx2.Client) -> None:
    answer = client.get("/maps/search-v3?query=bars&async=false")
    assert (200, "Success") == (answer.status_code, answer.json()["status"])


def test_a_wrong_key_is_401_and_a_right_one_may_stand_in_the_query(outscraper: Outscraper) -> None:
    url = f"{outscraper.url}/tasks"
    wrong = httpx2.get(url, headers={"X-API-KEY": "wrong"})
    none = httpx2.get(url)
    assert [401, 401] == [wrong.status_code, none.status_code]
    assert wrong.json()["error"] is True
    assert wrong.json()["errorMessage"].startswith("401 Unauthorized: ")
    assert 200 == httpx2.get(url, params={"apiKey": "key"}).status_code


def test_an_unpaid_account_is_402(client: httpx2.Client, outscraper: Outscraper) -> None:
    outscraper.settings.payment_required = True
    answer = client.get("/tasks")
    assert (402, True) == (answer.status_code, answer.json()["error"])


def test_twenty_requests_a_second_are_answered_and_no_more(
    client: httpx2.Client, outscraper: Outscraper, clock: Clock
) -> None:
    codes = [client.get("/webhook-calls").status_code for _ in range(21)]
    clock.advance(1)
    assert [*[200] * 20, 429, 200] == [*codes, client.get("/webhook-calls").status_code]
    assert 21 == outscraper.ledger.maximum_within(1.0, "webhook-calls")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/tasks"), ("GET", "/requests?type=all"), ("GET", "/tasks?lastId=x")],
)
def test_what_is_not_understood_is_422(client: httpx2.Client, method: str, path: str) -> None:
    answer = client.request(method, path, content=b"{}" if method == "POST" else None)
    assert (422, True) == (answer.status_code, answer.json()["error"])

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import START
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.sink import Sink

DAY = 86_400


@pytest.fixture
def client(diffbot: Diffbot) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=diffbot.url) as running:
        yield running


def job(client: httpx2.Client, name: str, **query: int) -> Any:
    answer = client.get("/v3/crawl", params={"token": "token", "name": name, **query})
    (shown,) = answer.json()["jobs"]
    return shown


def test_both_kinds_are_made_by_a_form_and_listed_at_either_endpoint(
    client: httpx2.Client, sink: Sink
) -> None:
    form = {"token": "token", "apiUrl": "https://api.diffbot.com/v3/analyze"}
    crawl = {"name": "shop", "seeds": "https://shop.example.org", "notifyWebhook": sink.url}
    client.post("/v3/crawl", data=form | crawl)
    client.post("/v3/bulk", data=form | {"name": "pages", "urls": "https://example.org/1"})
    lists = [client.get(f"/v3/{kind}?token=token").json() for kind in ("crawl", "bulk")]
    shop, pages = lists[0]["jobs"]
    assert lists[0] == lists[1]
    assert ("shop", "crawl", 7, sink.url) == (
        shop["name"],
        shop["type"],
        shop["jobStatus"]["status"],
        shop["notifyWebhook"],
    )
    assert ("pages", "bulk") == (pages["name"], pages["type"])
    assert {"maxToCrawl", "maxToProcess", "onlyProcessIfNew", "seeds"} == set(shop) - set(pages)


def test_posting_again_under_the_same_name_changes_the_job(
    client: httpx2.Client, diffbot: Diffbot, clock: Clock
) -> None:
    diffbot.create("shop", seeds="https://a.example.org")
    clock.advance(60)
    client.post("/v3/crawl", data={"token": "token", "name": "shop", "maxToCrawl": "5"})
    (shown,) = client.get("/v3/crawl?token=token").json()["jobs"]
    assert (5, int(START)) == (shown["maxToCrawl"], shown["jobCreationTimeUTC"])


def test_a_notification_is_written_as_the_engine_writes_it(diffbot: Diffbot, sink: Sink) -> None:
    diffbot.create("acme-shop", seeds="https://s", notifyWebhook=f"{sink.url}/hook/TOKEN?a=b")
    diffbot.complete("acme-shop")
    (arrival,) = sink.arrivals(1)
    diffbot.wait_idle()
    assert ("POST", "/hook/TOKEN?a=b", "HTTP/1.0") == (
        arrival.method,
        arrival.target,
        arrival.version,
    )
    assert (
        ("User-Agent", "Crawlbot/2.0"),
        ("Accept", "*/*"),
        ("Host", "127.0.0.1"),
        ("X-Crawl-Name", "acme-shop"),
        ("X-Crawl-Status", "Job has completed and no repeat is scheduled."),
        ("Content-Length", str(len(arrival.body))),
        ("Content-Type", "application/json"),
    ) == arrival.headers
    assert arrival.body.startswith(b"\n\n{\n")
    assert arrival.body.endswith(b"}\n")
    body = orjson.loads(arrival.body)
    shown = diffbot.job("acme-shop")
    assert (0, 1) == (
        body.pop("sentJobDoneNotification"),
        shown.pop("sentJobDoneNotification"),
    )
    assert shown == body
    assert f"{diffbot.url}/v3/crawl/download/token-acme-shop_data.json" == body["downloadJson"]


def test_a_notification_that_is_refused_is_never_sent_again_and_counts_as_sent(
    diffbot: Diffbot, sink: Sink
) -> None:
    sink.status = 503
    diffbot.create("shop", seeds="https://s", notifyWebhook=sink.url)
    diffbot.complete("shop")
    diffbot.complete("shop")
    diffbot.wait_idle()
    assert [503] == [one.http_code for one in diffbot.notifications("shop")]
    assert (1, 1) == (diffbot.job("shop")["sentJobDoneNotification"], len(sink.arrivals()))


def test_a_receiver_that_is_gone_or_hangs_gets_no_second_try(diffbot: Diffbot, sink: Sink) -> None:
    sink.hold_seconds = 60
    diffbot.create("gone", seeds="https://s", notifyWebhook="http://127.0.0.1:1/")
    diffbot.create("hangs", seeds="https://s", notifyWebhook=sink.url)
    diffbot.complete("gone")
    diffbot.wait_idle()
    diffbot.settings.notify_seconds = 0.2
    diffbot.complete("hangs")
    diffbot.wait_idle()
    assert {"gone": "connection", "hangs": "timeout"} == {
        one.name: one.error for one in diffbot.notifications()
    }
    assert 1 == diffbot.job("gone")["sentJobDoneNotification"]


def test_odd_patterns_make_a_body_that_is_no_json(diffbot: Diffbot, sink: Sink) -> None:
    diffbot.create("odd", seeds="https://s", urlCrawlPattern='a"b\\d', notifyWebhook=sink.url)
    diffbot.complete("odd")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(sink.arrivals(1)[0].body)
    assert 'a"b\\d' == diffbot.job("odd")["urlCrawlPattern"]
    diffbot.settings.escape = True
    diffbot.start_round("odd")
    diffbot.complete("odd")
    assert 'a"b\\d' == orjson.loads(sink.arrivals(2)[1].body)["urlCrawlPattern"]


def test_a_repeating_job_is_notified_once_a_round_until_its_rounds_are_up(
    diffbot: Diffbot, sink: Sink, clock: Clock
) -> None:
    diffbot.settings.complete_after_seconds = 3600
    diffbot.create("news", seeds="https://s", repeat="1", maxRounds="3", notifyWebhook=sink.url)
    seen = []
    for number in range(3):
        clock.advance(3600)
        body = orjson.loads(sink.arrivals(number + 1)[number].body)
        seen.append((body["roundsCompleted"], body["jobStatus"]["status"]))
        assert 1 == diffbot.job("news")["sentJobDoneNotification"]
        clock.advance(DAY)
        assert int(number == 2) == diffbot.job("news")["sentJobDoneNotification"]
    clock.advance(10 * DAY)
    diffbot.wait_idle()
    assert [(0, 4), (1, 4), (2, 1)] == seen
    assert 3 == len(sink.arrivals())


@pytest.mark.parametrize("status", [2, 10])
def test_limits_and_failures_are_notified_with_their_status(
    diffbot: Diffbot, sink: Sink, status: int
) -> None:
    diffbot.create("shop", seeds="https://s", notifyWebhook=sink.url)
    diffbot.complete("shop", status=status)
    assert status == orjson.loads(sink.arrivals(1)[0].body)["jobStatus"]["status"]


def test_the_next_round_can_be_forced(client: httpx2.Client, diffbot: Diffbot) -> None:
    diffbot.create("shop", seeds="https://s")
    diffbot.complete("shop")
    shown = job(client, "shop", roundStart=1)
    assert (7, 1) == (shown["jobStatus"]["status"], shown["roundsCompleted"])


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (
            "/v3/crawl?token=wrong",
            401,
            {"errorCode": 401, "error": "Not authorized API token."},
        ),
        ("/v3/bulk", 401, {"errorCode": 401, "error": "Not authorized API token."}),
        (
            "/v3/crawl?token=token&name=x",
            500,
            {"errorCode": "500", "error": "no collection record."},
        ),
        (
            "/v3/crawl/data?token=token&name=x",
            400,
            {"errorCode": 400, "error": "No collection record"},
        ),
    ],
)
def test_errors_are_the_providers_own(
    client: httpx2.Client, path: str, status: int, body: dict[str, object]
) -> None:
    answer = client.get(path)
    assert (status, body) == (answer.status_code, answer.json())


def test_a_token_sees_its_own_jobs_only_and_can_have_too_many(
    client: httpx2.Client, diffbot: Diffbot
) -> None:
    diffbot.settings.tokens = ("token", "other")
    diffbot.settings.jobs_max = 1
    diffbot.create("shop", seeds="https://s", token="other")
    assert {"jobs": []} == client.get("/v3/crawl?token=token").json()
    form = {"token": "other", "name": "second", "seeds": "https://s"}
    answer = client.post("/v3/crawl", data=form)
    assert (505, {"errorCode": 505, "error": "Too many collections for token"}) == (
        answer.status_code,
        answer.json(),
    )


def test_the_data_of_a_job_is_read_and_downloaded_with_the_token_in_it(
    client: httpx2.Client, diffbot: Diffbot
) -> None:
    diffbot.create("shop", seeds="https://s")
    diffbot.complete("shop")
    query = {"token": "token", "name": "shop"}
    everything = client.get("/v3/crawl/data", params=query).json()
    newest = client.get("/v3/crawl/data", params=query | {"num": 2}).json()
    downloaded = client.get(diffbot.job("shop")["downloadJson"]).json()
    urls = client.get(diffbot.job("shop")["downloadUrls"]).text
    assert (10, everything[-2:], everything) == (len(everything), newest, downloaded)
    assert {"token"} == {record["token"] for record in everything}
    assert 11 == len(urls.splitlines())


def test_a_rate_limit_can_be_set_and_is_429(client: httpx2.Client, diffbot: Diffbot) -> None:
    diffbot.settings.calls_per_minute = 2
    codes = [client.get("/v3/crawl?token=token").status_code for _ in range(3)]
    assert [200, 200, 429] == codes
    assert (3, 1) == (diffbot.ledger.maximum_per_minute("crawl"), diffbot.ledger.count(code=429))

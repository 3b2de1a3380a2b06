import gzip
import socket
from typing import Any

import orjson
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import START, Api
from tests.tools.simulators.dataforseo import DataForSeo, Settings
from tests.tools.simulators.dataforseo.dates import text_of
from tests.tools.simulators.sink import Arrival, Sink

ORGANIC = "serp/google/organic"
READY = "/v3/serp/tasks_ready"
QUERY = "?id=$id&tag=$tag"


def posted(sink: Sink, *, tag: str | None = "acme|run-42", **more: str) -> dict[str, str]:
    task = {
        "keyword": "garden hose",
        "postback_data": "regular",
        "postback_url": f"{sink.url}/post/TOKEN{QUERY}",
    } | more
    return task if tag is None else task | {"tag": tag}


def body_of(arrival: Arrival) -> Any:
    return orjson.loads(gzip.decompress(arrival.body))


def test_a_postback_is_the_gzip_of_what_task_get_answers(
    api: Api, dataforseo: DataForSeo, sink: Sink
) -> None:
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    (arrival,) = sink.arrivals(1)
    collected = api.get(f"/v3/{ORGANIC}/task_get/regular/{task_id}")
    assert ("POST", "gzip", None) == (
        arrival.method,
        arrival.header("Content-Encoding"),
        arrival.header("Content-Type"),
    )
    assert f"/post/TOKEN?id={task_id}&tag=acme%7Crun-42" == arrival.target
    assert collected == body_of(arrival)
    assert dataforseo.result(task_id) == collected["tasks"][0]["result"]
    # What was posted is repeated in full, the URL with its secret and placeholders too.
    assert posted(sink)["postback_url"] == collected["tasks"][0]["data"]["postback_url"]


def test_a_postback_can_come_without_saying_that_it_is_gzip(
    dataforseo: DataForSeo, sink: Sink
) -> None:
    dataforseo.settings.content_encoding = False
    dataforseo.settings.content_type = "application/json"
    dataforseo.finish(dataforseo.post(ORGANIC, posted(sink)))
    (arrival,) = sink.arrivals(1)
    assert (None, "application/json", b"\x1f\x8b") == (
        arrival.header("Content-Encoding"),
        arrival.header("Content-Type"),
        arrival.body[:2],
    )


@pytest.mark.parametrize(
    ("tag", "filled"),
    [
        ("run-42", "run-42"),
        ("a&b=c+d e%f/g", "a%26b%3Dc%2Bd%20e%25f%2Fg"),
        ("été#夏", "%C3%A9t%C3%A9%23%E5%A4%8F"),
        (None, "%24tag"),
    ],
)
def test_placeholders_are_filled_in_and_encoded(
    dataforseo: DataForSeo, sink: Sink, tag: str | None, filled: str
) -> None:
    (task_id,) = dataforseo.post(
        ORGANIC, posted(sink, tag=tag, postback_url=f"{sink.url}/$id/a#b?tag=$tag")
    )
    dataforseo.finish(task_id)
    assert f"/{task_id}/a%23b?tag={filled}" == sink.arrivals(1)[0].target


def test_the_tag_can_come_empty_or_encoded_twice(dataforseo: DataForSeo, sink: Sink) -> None:
    dataforseo.settings.unset_tag = ""
    dataforseo.settings.encode_percent = True
    untagged = dataforseo.post(ORGANIC, posted(sink, tag=None))
    dataforseo.finish(untagged)
    assert f"/post/TOKEN?id={untagged[0]}&tag=" == sink.arrivals(1)[0].target
    tagged = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(tagged)
    assert f"/post/TOKEN?id={tagged[0]}&tag=acme%257Crun-42" == sink.arrivals(2)[1].target


def test_a_pingback_is_a_bare_get_and_its_task_is_listed_until_collected(
    api: Api, dataforseo: DataForSeo, sink: Sink
) -> None:
    (task_id,) = dataforseo.post(
        ORGANIC, {"keyword": "x", "tag": "t", "pingback_url": f"{sink.url}/ping/TOKEN{QUERY}"}
    )
    dataforseo.finish(task_id)
    (arrival,) = sink.arrivals(1)
    dataforseo.wait_idle()
    assert ("GET", f"/ping/TOKEN?id={task_id}&tag=t", b"") == (
        arrival.method,
        arrival.target,
        arrival.body,
    )
    assert [task_id] == dataforseo.uncollected()
    api.get(f"/v3/{ORGANIC}/task_get/advanced/{task_id}")
    assert [] == dataforseo.uncollected()


@pytest.mark.parametrize("status", [200, 300])
def test_a_postback_that_was_taken_is_never_listed(
    api: Api, dataforseo: DataForSeo, sink: Sink, status: int
) -> None:
    sink.status, sink.reply = status, b""
    dataforseo.finish(dataforseo.post(ORGANIC, posted(sink)))
    dataforseo.wait_idle()
    assert (None, None) == (api.result(READY), _errors(api))


@pytest.mark.parametrize("status", [301, 503])
def test_a_postback_that_was_refused_is_listed_and_explained(
    api: Api, dataforseo: DataForSeo, sink: Sink, status: int
) -> None:
    sink.status, sink.reply, sink.location = status, b'{"error": "spool_full"}', f"{sink.url}/moved"
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    (error,) = _errors(api)
    seconds = error.pop("http_time")
    assert [task_id] == [entry["id"] for entry in api.result(READY)]
    url = f"{sink.url}/post/TOKEN?id={task_id}&tag=acme%7Crun-42"
    assert {
        "id": task_id,
        "datetime": text_of(START),
        "function": "postback_url",
        "error_code": 50000,
        "error_message": url,
        "http_url": url,
        "http_method": "POST",
        "http_code": status,
        "http_response": '{"error": "spool_full"}',
    } == error
    assert 0 <= seconds < 10
    assert 1 == len(sink.arrivals()), "a redirect is not followed, a failure not retried"


def test_a_postback_that_nobody_answers_in_time_is_listed(
    api: Api, dataforseo: DataForSeo, sink: Sink
) -> None:
    sink.hold_seconds = 60
    dataforseo.settings.deadline_seconds = 0.2
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    (error,) = _errors(api)
    assert ["timeout"] == [one.error for one in dataforseo.deliveries(task_id)]
    assert (0, True) == (error["http_code"], error["http_time"] >= 0.2)
    assert [task_id] == dataforseo.uncollected()
    assert 10 == Settings().deadline_seconds


def test_the_deadline_can_be_the_clocks(dataforseo: DataForSeo, sink: Sink, clock: Clock) -> None:
    sink.hold_seconds = 60
    dataforseo.settings.deadline_on_clock = True
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    sink.arrivals(1)
    clock.advance(9.9)
    assert [] == dataforseo.deliveries()
    clock.advance(0.1)
    dataforseo.wait_idle()
    assert [task_id] == dataforseo.uncollected()


def test_a_receiver_that_is_gone_is_a_connection_error(dataforseo: DataForSeo) -> None:
    with socket.socket() as silent:
        # Bound and never listening, so that nobody else listens there.
        silent.bind(("127.0.0.1", 0))
        for url in (f"http://127.0.0.1:{silent.getsockname()[1]}/", "no url at all"):
            (task_id,) = dataforseo.post(
                ORGANIC, {"postback_data": "html", "postback_url": url, "keyword": "x"}
            )
            dataforseo.finish(task_id)
            dataforseo.wait_idle()
            assert [("connection", 0)] == [
                (one.error, one.http_code) for one in dataforseo.deliveries(task_id)
            ]
    assert 2 == len(dataforseo.uncollected())


def test_by_the_other_official_text_a_failed_postback_is_not_listed(
    api: Api, dataforseo: DataForSeo, sink: Sink
) -> None:
    sink.status = 503
    dataforseo.settings.failed_postbacks_listed = False
    dataforseo.finish(dataforseo.post(ORGANIC, posted(sink)))
    dataforseo.wait_idle()
    assert (None, 1) == (api.result(READY), len(_errors(api)))


def test_a_task_can_be_listed_in_the_gap_before_its_postback(
    dataforseo: DataForSeo, sink: Sink
) -> None:
    sink.hold_seconds = dataforseo.settings.deadline_seconds = 60
    dataforseo.settings.listed_before_delivery = True
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    sink.arrivals(1)
    before = dataforseo.uncollected()
    sink.release()
    dataforseo.wait_idle()
    assert ([task_id], []) == (before, dataforseo.uncollected())


def test_retries_are_off_and_can_be_switched_on(dataforseo: DataForSeo, sink: Sink) -> None:
    sink.status = 503
    dataforseo.settings.delivery_retries = 2
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    assert [0, 1, 2] == [one.attempt for one in dataforseo.deliveries(task_id)]
    assert [task_id] == dataforseo.uncollected()
    assert 0 == Settings().delivery_retries


def _errors(api: Api) -> Any:
    return api.post("/v3/serp/errors", [{}])["tasks"][0]["result"]

import time

import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import START, Api
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.sink import Sink
from tests.tools.simulators.test_dataforseo_delivery import ORGANIC, QUERY, posted


def test_webhooks_are_resent_to_the_url_that_was_posted(
    api: Api, dataforseo: DataForSeo, sink: Sink
) -> None:
    sink.status = 503
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    sink.status = 200
    answer = api.post("/v3/appendix/webhook_resend", [{"id": task_id}, {"id": "unknown"}])
    first, second = sink.arrivals(2)
    dataforseo.wait_idle()
    assert [20100, 40401] == [task["status_code"] for task in answer["tasks"]]
    assert ["v3", "appendix", "webhook_resend"] == answer["tasks"][0]["path"]
    assert (first.target, first.body) == (second.target, second.body)
    # Whether a resend takes it off the list is unknown: by default only task_get does.
    assert [task_id] == dataforseo.uncollected()
    dataforseo.settings.resend_unlists = True
    api.post("/v3/appendix/webhook_resend", [{"id": task_id}])
    dataforseo.wait_idle()
    assert [] == dataforseo.uncollected()


def test_a_hundred_webhooks_are_resent_in_one_call_and_no_more(
    api: Api, sink: Sink, dataforseo: DataForSeo
) -> None:
    ids = dataforseo.post(ORGANIC, *[posted(sink)] * 101)
    dataforseo.finish(ids)
    dataforseo.wait_idle()
    over = api.post("/v3/appendix/webhook_resend", [{"id": one} for one in ids])
    answer = api.post("/v3/appendix/webhook_resend", [{"id": one} for one in ids[:100]])
    dataforseo.wait_idle()
    assert (40006, 100, 0) == (over["status_code"], answer["tasks_count"], answer["tasks_error"])
    assert 100 == sum(one.resent for one in dataforseo.deliveries())


def test_what_has_expired_is_not_resent(
    api: Api, dataforseo: DataForSeo, sink: Sink, clock: Clock
) -> None:
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    pending = api.post("/v3/appendix/webhook_resend", [{"id": task_id}])
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    clock.advance(30 * 86_400 + 1)
    expired = api.post("/v3/appendix/webhook_resend", [{"id": task_id}])
    codes = [answer["tasks"][0]["status_code"] for answer in (pending, expired)]
    assert [40601, 40403] == codes
    assert 1 == len(sink.arrivals())


def test_the_webhook_delay_is_the_one_at_the_time_of_posting(
    dataforseo: DataForSeo, sink: Sink
) -> None:
    dataforseo.set_webhook_delay(200)
    slow = dataforseo.post(ORGANIC, *[posted(sink)] * 4)
    dataforseo.set_webhook_delay(0)
    fast = dataforseo.post(ORGANIC, posted(sink))
    start = time.monotonic()
    dataforseo.finish(slow + fast)
    dataforseo.wait_idle()
    assert time.monotonic() - start >= 0.6
    ended = [one.task.id for one in dataforseo.deliveries()]
    assert ended[-1] in slow, "who may go does not wait for who may not"
    for milliseconds in (49, 1001):
        with pytest.raises(ValueError, match="50 to 1000"):
            dataforseo.set_webhook_delay(milliseconds)


def test_tasks_finish_by_the_clock_and_call_back_by_themselves(
    dataforseo: DataForSeo, sink: Sink, clock: Clock
) -> None:
    dataforseo.settings.finish_after_seconds = 300
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    clock.advance(299)
    assert dataforseo.task(task_id).done_at is None
    clock.advance(1)
    assert task_id in sink.arrivals(1)[0].target
    assert START + 300 == dataforseo.task(task_id).done_at


def test_what_was_under_way_at_a_stop_is_delivered_after_the_next_start(
    dataforseo: DataForSeo, sink: Sink
) -> None:
    sink.hold_seconds = dataforseo.settings.deadline_seconds = 60
    (task_id,) = dataforseo.post(ORGANIC, posted(sink))
    dataforseo.finish(task_id)
    sink.arrivals(1)
    url = dataforseo.url
    dataforseo.stop()
    sink.release()
    dataforseo.start()
    dataforseo.wait_idle()
    assert [True] == [one.success for one in dataforseo.deliveries(task_id)]
    assert (url, 2) == (dataforseo.url, len(sink.arrivals()))


@pytest.mark.parametrize("pings", [False, True])
def test_whether_a_stopped_crawl_pings_is_a_setting(
    api: Api, dataforseo: DataForSeo, sink: Sink, pings: bool
) -> None:
    dataforseo.settings.pingback_after_force_stop = pings
    crawl = {"target": "example.org", "pingback_url": f"{sink.url}/{QUERY}"}
    (task_id,) = dataforseo.post("on_page", crawl)
    api.post("/v3/on_page/force_stop", [{"id": task_id}])
    dataforseo.wait_idle()
    assert pings is bool(sink.arrivals())
    assert [task_id] == dataforseo.uncollected()

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import START, Api
from tests.tools.simulators.dataforseo import DataForSeo, Settings
from tests.tools.simulators.dataforseo.dates import text_of

ORGANIC = "serp/google/organic"
READY = "/v3/serp/tasks_ready"
DAY = 86_400


def test_a_list_shows_a_thousand_and_the_rest_once_these_were_collected(
    api: Api, dataforseo: DataForSeo
) -> None:
    ids = dataforseo.add_ready(ORGANIC, 1100)
    page = api.result(READY)
    assert ids[:1000] == [entry["id"] for entry in page]
    assert page == api.result(READY)
    for entry in page[:100]:
        api.get(entry["endpoint_regular"])
    assert ids[100:] == [entry["id"] for entry in api.result(READY)]
    assert 1000 == dataforseo.listed("serp") == dataforseo.listed(ORGANIC)


def test_an_api_wide_list_shows_every_engine_and_a_functions_list_only_its_own(
    api: Api, dataforseo: DataForSeo
) -> None:
    (google,) = dataforseo.add_ready(ORGANIC)
    (bing,) = dataforseo.add_ready("serp/bing/organic", tag="another-program")
    (lighthouse,) = dataforseo.add_ready("on_page/lighthouse")
    assert [google, bing] == [entry["id"] for entry in api.result(READY)]
    assert [bing] == [entry["id"] for entry in api.result("/v3/serp/bing/organic/tasks_ready")]
    assert None is api.result("/v3/on_page/tasks_ready")
    assert [
        {
            "id": lighthouse,
            "tag": "",
            "endpoint_json": f"/v3/on_page/lighthouse/task_get/json/{lighthouse}",
        }
    ] == api.result("/v3/on_page/lighthouse/tasks_ready")
    assert 40402 == api.code("/v3/keywords_data/tasks_ready")


def test_what_is_not_collected_in_three_days_leaves_the_list_but_can_be_collected(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    (task_id,) = dataforseo.add_ready(ORGANIC)
    clock.advance(3 * DAY)
    assert [task_id] == [entry["id"] for entry in api.result(READY)]
    clock.advance(1)
    assert None is api.result(READY)
    assert 20000 == api.code(f"/v3/{ORGANIC}/task_get/regular/{task_id}")


def test_the_list_is_updated_with_a_small_delay(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    dataforseo.settings.list_delay_seconds = 30
    (early, late) = dataforseo.post(ORGANIC, {"keyword": "a"}, {"keyword": "b"})
    dataforseo.finish([early, late])
    assert None is api.result(READY)
    api.get(f"/v3/{ORGANIC}/task_get/regular/{early}")
    clock.advance(30)
    assert [late] == [entry["id"] for entry in api.result(READY)]


def test_the_twenty_first_list_in_a_minute_is_40202_inside_http_200(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    paths = [READY, "/v3/app_data/tasks_ready"] * 10
    assert [20000] * 20 == [api.code(path) for path in paths]
    refused = api.client.get(READY)
    assert (200, 40202, None) == (
        refused.status_code,
        refused.json()["status_code"],
        refused.json()["tasks"],
    )
    clock.advance(60)
    assert 20000 == api.code(READY)
    assert 1 == dataforseo.ledger.count(code=40202)
    assert 21 == dataforseo.ledger.maximum_per_minute("tasks_ready")


def test_the_limit_can_be_each_lists_own_and_its_refusal_can_stand_in_the_task(
    api: Api, dataforseo: DataForSeo
) -> None:
    dataforseo.settings.ready_limit_per = "list"
    dataforseo.settings.refusals_in = "task"
    assert [20000] * 20 == [api.code(READY) for _ in range(20)]
    assert 20000 == api.code("/v3/app_data/tasks_ready")
    answer = api.get(READY)
    assert (20000, 40202) == (answer["status_code"], answer["tasks"][0]["status_code"])


@pytest.mark.parametrize(("path", "calls"), [("status", 10), ("user_data", 2000)])
def test_each_family_has_a_limit_of_its_own_below_the_general_one(
    api: Api, path: str, calls: int
) -> None:
    codes = [api.code(f"/v3/appendix/{path}") for _ in range(min(calls, 30) + 1)]
    assert (40202 if calls == 10 else 20000) == codes[-1]
    assert {20000} == set(codes[:-1])


def test_the_general_limit_is_two_thousand_a_minute_and_said_in_headers(
    api: Api, dataforseo: DataForSeo
) -> None:
    dataforseo.settings.calls_per_minute = 5
    left = [
        api.client.get("/v3/appendix/user_data").headers["X-RateLimit-Remaining"] for _ in range(6)
    ]
    assert ["4", "3", "2", "1", "0", "0"] == left
    assert 40202 == api.code("/v3/appendix/user_data")
    assert 2000 == Settings().calls_per_minute


def test_errors_are_read_in_pages_within_a_window(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    ids = []
    for number in range(25):
        ids.append(f"{number:08d}-1535-0066-0000-5b1f0c9a7e21")
        dataforseo.add_error("serp", function="task_post", task_id=ids[-1])
        clock.advance(10)
    pages = [_errors(api, {"limit": 10, "offset": offset}) for offset in (0, 10, 20, 30)]
    newest_first = [entry["id"] for page in pages if page for entry in page]
    window = {"datetime_from": text_of(START + 50), "datetime_to": text_of(START + 90)}
    within = [entry["id"] for entry in _errors(api, window)]
    assert ids[::-1] == newest_first
    assert [25, 10] == [sum(len(page or []) for page in pages), len(pages[0])]
    assert ids[5:10][::-1] == within
    dataforseo.settings.errors_newest_first = False
    assert ids[20:] == [entry["id"] for entry in _errors(api, {"limit": 10, "offset": 20})]


def test_errors_are_kept_seven_days_and_by_dataforapps_one(api: Api, clock: Clock) -> None:
    def code(of: Api, days: int) -> Any:
        window = {"datetime_from": text_of(clock.time() - days * DAY)}
        return of.post("/v3/app_data/errors", [window])["tasks"][0]["status_code"]

    with DataForSeo("dataforapps", clock=clock) as apps:
        with httpx2.Client(base_url=apps.url, auth=("login", "password")) as client:
            assert [20000, 40501] == [code(Api(client), days) for days in (1, 2)]
    assert [20000, 40501] == [code(api, days) for days in (7, 8)]


@pytest.mark.parametrize("field", [{"limit": 1001}, {"offset": -1}, {"datetime_from": "yesterday"}])
def test_errors_refuses_what_is_out_of_bounds(api: Api, field: dict[str, object]) -> None:
    assert 40501 == api.post("/v3/serp/errors", [field])["tasks"][0]["status_code"]


def test_id_list_shows_done_unfinished_failed_and_live_tasks(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    posted = {"keyword": "x", "tag": "acme", "pingback_url": "http://127.0.0.1:1/$id"}
    done, failed, waiting = dataforseo.post(ORGANIC, posted, posted, posted)
    dataforseo.finish(done)
    dataforseo.finish(failed, status=40102)
    live = dataforseo.add_live(ORGANIC)
    dataforseo.add_other_clients(ORGANIC)
    listed = _id_list(api, clock, include_metadata=True)
    assert [done, failed, waiting, live] == [entry["id"] for entry in listed]
    assert ["20000", "40102", "40602", "20000"] == [entry["status"] for entry in listed]
    assert [None] == [entry["datetime_done"] for entry in listed if entry["id"] == waiting]
    assert ["v3/serp/google/organic/task_post"] * 3 == [entry["url"] for entry in listed[:3]]
    assert "v3/serp/google/organic/live/advanced" == listed[3]["url"]
    assert posted.items() <= listed[0]["metadata"].items()
    assert {None} == {entry["metadata"] for entry in _id_list(api, clock)}


def test_id_list_is_read_in_pages_both_ways(api: Api, dataforseo: DataForSeo, clock: Clock) -> None:
    ids = [dataforseo.add_ready(ORGANIC)[0] for _ in range(5)]
    assert ids[2:4] == [entry["id"] for entry in _id_list(api, clock, limit=2, offset=2)]
    assert ids[::-1] == [entry["id"] for entry in _id_list(api, clock, sort="desc")]


def test_id_list_wants_dates_within_a_month_or_half_a_year_and_ten_calls_a_minute(
    api: Api, clock: Clock
) -> None:
    def code(**posted: object) -> Any:
        answer = api.post("/v3/serp/id_list", [posted])
        return (
            answer["status_code"] if answer["tasks"] is None else answer["tasks"][0]["status_code"]
        )

    now = text_of(clock.time())
    old = text_of(clock.time() - 100 * DAY)
    assert 40501 == code(datetime_from=now)
    assert 20000 == code(datetime_from=old, datetime_to=now)
    assert 40501 == code(datetime_from=old, datetime_to=now, include_metadata=True)
    assert [20000] * 7 + [40202] == [code(datetime_from=now, datetime_to=now) for _ in range(8)]


def _errors(api: Api, posted: Mapping[str, object]) -> Any:
    return api.post("/v3/serp/errors", [posted])["tasks"][0]["result"]


def _id_list(api: Api, clock: Clock, **posted: object) -> Any:
    window = {
        "datetime_from": text_of(clock.time() - DAY),
        "datetime_to": text_of(clock.time() + DAY),
    }
    return api.post("/v3/serp/id_list", [window | posted])["tasks"][0]["result"]

import re

import httpx2
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.conftest import Api
from tests.tools.simulators.dataforseo import FUNCTIONS, READY_LISTS, DataForSeo

ORGANIC = "serp/google/organic"
DAY = 86_400


def test_there_are_seventy_functions_and_seventy_four_lists() -> None:
    # providers.md §1.4, §1.7
    assert (70, 74) == (len(FUNCTIONS), len(READY_LISTS))


def test_a_posted_task_is_created_with_an_id_of_the_providers_shape(api: Api) -> None:
    answer = api.post(
        f"/v3/{ORGANIC}/task_post", [{"keyword": "garden hose", "tag": "acme|run-42"}]
    )
    (task,) = answer["tasks"]
    assert (20000, 1, 0) == (answer["status_code"], answer["tasks_count"], answer["tasks_error"])
    assert (20100, "Task Created.", None) == (
        task["status_code"],
        task["status_message"],
        task["result"],
    )
    # Posted at 10:00 UTC in August, so at 13:00 where the ids are made.
    assert re.fullmatch(r"08141300-\d{4}-\d{4}-\d{4}-[0-9a-f]{12}", task["id"])
    assert {
        "api": "serp",
        "function": "task_post",
        "se": "google",
        "se_type": "organic",
        "keyword": "garden hose",
        "tag": "acme|run-42",
    } == task["data"]


@pytest.mark.parametrize(
    ("function", "posted", "code"),
    [
        (ORGANIC, {"postback_url": "http://x/", "keyword": "no datatype"}, 40501),
        (ORGANIC, {"postback_url": "http://x/", "postback_data": "csv"}, 40501),
        ("serp/yahoo/organic", {"postback_url": "http://x/", "postback_data": "advanced"}, 40501),
        (ORGANIC, {"tag": "x" * 256}, 40501),
        ("on_page", {"target": "example.org", "postback_url": "http://x/"}, 40506),
        ("business_data/google/reviews", {"postback_url": "http://x/"}, 20100),
        ("keywords_data/bing/audience_estimation", {"pingback_url": "http://x/"}, 40506),
        (ORGANIC, {"tag": "x" * 255, "postback_url": "http://x/", "postback_data": "html"}, 20100),
    ],
)
def test_a_task_is_taken_with_the_callbacks_that_its_function_has(
    api: Api, function: str, posted: dict[str, str], code: int
) -> None:
    answer = api.post(f"/v3/{function}/task_post", [posted])
    assert (20000, code) == (answer["status_code"], answer["tasks"][0]["status_code"])


@pytest.mark.parametrize(
    ("body", "code"), [([], 40502), ({"keyword": "x"}, 40503), ([{}] * 101, 40006), (["x"], 40503)]
)
def test_a_post_is_an_array_of_at_most_a_hundred_objects(api: Api, body: object, code: int) -> None:
    answer = api.post(f"/v3/{ORGANIC}/task_post", body)
    assert (code, None) == (answer["status_code"], answer["tasks"])


def test_wrong_credentials_are_401_with_40100(dataforseo: DataForSeo) -> None:
    for auth in (("login", "wrong"), ("", ""), None):
        answer = httpx2.get(f"{dataforseo.url}/v3/appendix/user_data", auth=auth)
        assert (401, 40100) == (answer.status_code, answer.json()["status_code"])


def test_a_task_is_handed_then_in_the_queue_then_done(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    dataforseo.settings.finish_after_seconds = 300
    (task_id,) = dataforseo.post(ORGANIC, {"keyword": "x"})
    path = f"/v3/{ORGANIC}/task_get/advanced/{task_id}"
    codes = [api.code(path)]
    for seconds in (1, 298, 1):
        clock.advance(seconds)
        codes.append(api.code(path))
    assert [40601, 40602, 40602, 20000] == codes


def test_every_function_can_be_posted_listed_and_collected(
    api: Api, dataforseo: DataForSeo
) -> None:
    dataforseo.settings.ready_per_minute = None
    for function in FUNCTIONS.values():
        (task_id,) = dataforseo.add_ready(function.path, tag="t", target="example.org")
        for name in function.lists:
            (listed,) = api.result(f"/v3/{name}/tasks_ready")
            assert list(function.ready_fields) == list(listed)
            assert (task_id, "t") == (listed["id"], listed["tag"])
            endpoints = [
                value for key, value in listed.items() if key.startswith("endpoint") and value
            ]
            assert all(endpoint.endswith(f"/{task_id}") for endpoint in endpoints)
        assert 20000 == api.code(function.endpoint(function.main_datatype, task_id))
        assert [] == dataforseo.uncollected()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{ORGANIC}/task_get/advanced/08141207-1535-0066-0000-5b1f0c9a7e21", 40401),
        (f"{ORGANIC}/task_get/{{id}}", 40402),
        (f"{ORGANIC}/task_get/csv/{{id}}", 40402),
        ("serp/google/nothing/task_get/advanced/{id}", 40402),
        ("serp/bing/organic/task_get/advanced/{id}", 40002),
        ("serp/google/maps/task_get/advanced/{id}", 40003),
        ("app_data/google/app_info/task_get/advanced/{id}", 40004),
    ],
)
def test_a_result_is_found_only_where_it_is(
    api: Api, dataforseo: DataForSeo, path: str, code: int
) -> None:
    (task_id,) = dataforseo.add_ready(ORGANIC)
    assert code == api.code("/v3/" + path.format(id=task_id))
    assert [task_id] == dataforseo.uncollected()


def test_the_result_of_another_client_is_40001(api: Api, dataforseo: DataForSeo) -> None:
    task_id = dataforseo.add_other_clients(ORGANIC)
    assert 40001 == api.code(f"/v3/{ORGANIC}/task_get/advanced/{task_id}")


def test_results_are_kept_thirty_days_and_html_seven(
    api: Api, dataforseo: DataForSeo, clock: Clock
) -> None:
    (task_id,) = dataforseo.add_ready(ORGANIC)
    html = f"/v3/{ORGANIC}/task_get/html/{task_id}"
    advanced = f"/v3/{ORGANIC}/task_get/advanced/{task_id}"
    clock.advance(7 * DAY)
    assert [20000, 20000] == [api.code(html), api.code(advanced)]
    clock.advance(1)
    assert [40403, 20000] == [api.code(html), api.code(advanced)]
    clock.advance(23 * DAY)
    assert [40403, 40403] == [api.code(html), api.code(advanced)]


def test_a_result_is_the_same_each_time_it_is_read(api: Api, dataforseo: DataForSeo) -> None:
    dataforseo.settings.result_bytes = 40_000
    (task_id,) = dataforseo.add_ready(ORGANIC)
    path = f"/v3/{ORGANIC}/task_get/regular/{task_id}"
    first, second = api.client.get(path), api.client.get(path)
    assert first.content == second.content
    assert len(first.content) > 30_000
    assert dataforseo.result(task_id, "regular") == first.json()["tasks"][0]["result"]


def test_a_thousand_crawls_are_stopped_in_one_call_and_no_more(
    api: Api, dataforseo: DataForSeo
) -> None:
    ids = dataforseo.post(
        "on_page", *[{"target": f"{number}.example.org"} for number in range(1001)]
    )
    over = api.post("/v3/on_page/force_stop", [{"id": task_id} for task_id in ids])
    answer = api.post("/v3/on_page/force_stop", [{"id": task_id} for task_id in ids[:1000]])
    assert (40006, 1000, 0) == (over["status_code"], answer["tasks_count"], answer["tasks_error"])
    assert [ids[1000]] == [one for one in ids if not dataforseo.task(one).force_stopped]

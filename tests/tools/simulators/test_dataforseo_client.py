"""The official Python client against the simulator: that it is not only our own idea of the API."""

import gzip
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo import FUNCTIONS, READY_LISTS, DataForSeo
from tests.tools.simulators.dataforseo.dates import text_of
from tests.tools.simulators.sink import Sink

# What providers.md §1.7 and §1.10 have and the client (2.1.10) lacks: a function that it dropped,
# and the html of another.
DROPPED = "serp/google/events"
DROPPED_HTML = "serp/google/search_by_image"


def part(name: str) -> Any:
    """Return a module of the client: only the tests that use it pay for its import, two seconds."""
    return importlib.import_module(f"dataforseo_client.{name}")


def client_of(url: str, password: str) -> Any:
    settings = part("configuration").Configuration(host=url, username="login", password=password)
    return part("api_client").ApiClient(settings)


@pytest.fixture
def official(dataforseo: DataForSeo) -> Iterator[Any]:
    client = client_of(dataforseo.url, "password")
    yield client
    client.rest_client.pool_manager.clear()


def test_the_official_client_posts_lists_and_collects(
    official: Any, dataforseo: DataForSeo, clock: Clock
) -> None:
    dataforseo.settings.finish_after_seconds = 60
    serp = part("api.serp_api").SerpApi(official)
    wanted = part("models").SerpGoogleOrganicTaskPostRequestInfo(
        keyword="garden hose", location_code=2840, language_code="en", tag="acme|run-42"
    )
    posted = serp.google_organic_task_post([wanted, wanted])
    ids = [task.id for task in posted.tasks]
    assert [20100, 20100] == [task.status_code for task in posted.tasks]
    assert dataforseo.ids() == ids
    assert None is serp.google_organic_tasks_ready().tasks[0].result

    clock.advance(60)
    for ready in (serp.google_organic_tasks_ready(), serp.tasks_ready()):
        assert ids == [entry.id for entry in ready.tasks[0].result]
        assert {"acme|run-42"} == {entry.tag for entry in ready.tasks[0].result}

    for collect, datatype in (
        (serp.google_organic_task_get_regular, "regular"),
        (serp.google_organic_task_get_advanced, "advanced"),
        (serp.google_organic_task_get_html, "html"),
    ):
        (task,) = collect(id=ids[0]).tasks
        held = dataforseo.result(ids[0], datatype)
        assert held is not None
        assert (20000, ids[0], "garden hose") == (
            task.status_code,
            task.id,
            task.result[0].keyword,
        )
        assert held[0]["datetime"] == task.result[0].datetime
        assert len(held[0]["items"]) == len(task.result[0].items)
    assert ids[1:] == [entry.id for entry in serp.tasks_ready().tasks[0].result]


def test_the_official_client_posts_a_task_that_calls_back(
    official: Any, dataforseo: DataForSeo, sink: Sink
) -> None:
    wanted = part("models").AppDataGoogleAppInfoTaskPostRequestInfo(
        app_id="org.example",
        location_code=2840,
        language_code="en",
        tag="a b",
        postback_data="advanced",
        postback_url=f"{sink.url}/post?id=$id&tag=$tag",
    )
    posted = part("api.app_data_api").AppDataApi(official).google_app_info_task_post([wanted])
    task_id = posted.tasks[0].id
    dataforseo.finish(task_id)
    (arrival,) = sink.arrivals(1)
    assert f"/post?id={task_id}&tag=a%20b" == arrival.target
    # What is pushed is what the client itself reads as the answer of task_get.
    pushed = orjson.loads(gzip.decompress(arrival.body))
    read = part("models").AppDataGoogleAppInfoTaskGetAdvancedResponseInfo.from_dict(pushed)
    assert (task_id, 20000) == (read.tasks[0].id, read.tasks[0].status_code)


def test_the_official_client_reads_errors_and_ids_and_asks_for_webhooks_again(
    official: Any, dataforseo: DataForSeo, clock: Clock, sink: Sink
) -> None:
    sink.status = 503
    posted = {"keyword": "x", "postback_data": "html", "postback_url": f"{sink.url}/$id"}
    (task_id,) = dataforseo.post("serp/google/organic", posted)
    dataforseo.finish(task_id)
    dataforseo.wait_idle()
    serp = part("api.serp_api").SerpApi(official)
    request = part("models").SerpErrorsRequestInfo(limit=10, filtered_function="postback_url")
    (error,) = serp.errors([request]).tasks[0].result
    assert (task_id, 503, "ok") == (error.id, error.http_code, error.http_response)

    window = part("models").SerpIdListRequestInfo(
        datetime_from=text_of(clock.time() - 60),
        datetime_to=text_of(clock.time()),
        include_metadata=True,
    )
    (listed,) = serp.id_list([window]).tasks[0].result
    assert (task_id, "20000", "html") == (
        listed.id,
        listed.status,
        listed.metadata["postback_data"],
    )

    sink.status = 200
    again = part("models").AppendixWebhookResendRequestInfo(id=task_id)
    answer = part("api.appendix_api").AppendixApi(official).webhook_resend([again])
    assert [20100] == [task.status_code for task in answer.tasks]
    sink.arrivals(2)


def test_the_official_client_reads_the_appendix(official: Any, dataforseo: DataForSeo) -> None:
    appendix = part("api.appendix_api").AppendixApi(official)
    dataforseo.status.set("serp", "webhook_delay", endpoint="postback/pingback")
    status = {entry.api: entry for entry in appendix.appendix_status().tasks[0].result}
    endpoints = {one.endpoint: one.status for one in status["serp"].endpoints}
    (account,) = appendix.user_data().tasks[0].result
    codes = {entry.code for entry in appendix.errors().tasks[0].result}
    assert ("webhook_delay", None) == (
        endpoints["postback/pingback"],
        status["appendix"].endpoints,
    )
    assert ("login", 2000, 20) == (
        account.login,
        account.rates.limits.minute.total,
        account.rates.limits.minute.serp.tasks_ready,
    )
    assert {20000, 40202, 50000} <= codes


def test_the_official_client_stops_and_summarises_crawls(official: Any) -> None:
    on_page = part("api.on_page_api").OnPageApi(official)
    wanted = part("models").OnPageTaskPostRequestInfo(target="example.org", max_crawl_pages=10)
    task_id = on_page.task_post([wanted]).tasks[0].id
    (running,) = on_page.summary(id=task_id).tasks[0].result
    stop = part("models").OnPageForceStopRequestInfo(id=task_id)
    (stopped,) = on_page.force_stop([stop]).tasks
    (summary,) = on_page.summary(id=task_id).tasks[0].result
    assert ("in_progress", 20000, "finished", "force_stopped") == (
        running.crawl_progress,
        stopped.status_code,
        summary.crawl_progress,
        summary.crawl_stop_reason,
    )


def test_the_official_client_sees_wrong_credentials(dataforseo: DataForSeo) -> None:
    client = client_of(dataforseo.url, "x")
    with pytest.raises(part("exceptions").UnauthorizedException, match="40100"):
        part("api.appendix_api").AppendixApi(client).user_data()
    client.rest_client.pool_manager.clear()


def test_every_path_of_the_official_client_exists_and_only_dropped_ones_are_ours_alone() -> None:
    paths = _paths()
    posts = {path.removesuffix("/task_post") for path in paths if path.endswith("/task_post")}
    lists = {path.removesuffix("/tasks_ready") for path in paths if path.endswith("/tasks_ready")}
    gets = {path for path in paths if "/task_get/" in path}
    ours = {
        function.endpoint(datatype, "{id}").removeprefix("/v3/")
        for function in FUNCTIONS.values()
        for datatype in function.datatypes or (None,)
        if function.path != "on_page"
    }
    assert {DROPPED} == set(FUNCTIONS) - posts
    assert {DROPPED} == set(READY_LISTS) - lists
    assert {
        f"{DROPPED}/task_get/advanced/{{id}}",
        f"{DROPPED_HTML}/task_get/html/{{id}}",
    } == ours - gets
    assert (set(), set(), set()) == (
        posts - set(FUNCTIONS),
        lists - set(READY_LISTS),
        gets - ours,
    )


def test_entries_of_tasks_ready_have_the_fields_of_the_official_clients_models() -> None:
    differing = {}
    for function in FUNCTIONS.values():
        name = "".join(word.capitalize() for word in re.split(r"[/_]", function.path))
        model = getattr(part("models"), f"{name}TasksReadyResultInfo", None)
        if model is None:
            assert DROPPED == function.path
            continue
        fields = set(model.model_fields) - {"additional_properties"}
        if fields != set(function.ready_fields):
            differing[function.path] = sorted(fields ^ set(function.ready_fields))
    # providers.md §1.9 follows an older client here: this one has it like gemini's.
    chat_gpt = "ai_optimization/chat_gpt/llm_scraper"
    assert {chat_gpt: ["endpoint_regular", "function", "se_type"]} == differing


def _paths() -> set[str]:
    folder = Path(inspect.getfile(part("api.serp_api"))).parent
    text = "".join(path.read_text() for path in folder.glob("*_api.py"))
    return set(re.findall(r"resource_path='/v3/([^']+)'", text))

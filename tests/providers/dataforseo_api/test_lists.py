"""Lists: finished tasks, failed calls, all tasks of a period."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api
from receiver.providers.conversation import Call, Conversation, Reply
from receiver.providers.dataforseo_api import ReadyList, lists
from tests.providers.conversations import Api, ask, hold, reply
from tests.providers.dataforseo_api.envelopes import ID, OTHER, envelope, task


def ready_row(task_id: str = ID, **fields: Any) -> dict[str, Any]:
    base = f"/v3/serp/google/organic/task_get/{{}}/{task_id}"
    return {
        "id": task_id,
        "tag": "acme",
        "date_posted": "2026-08-14 10:07:11 +00:00",
        "endpoint_regular": base.format("regular"),
        "endpoint_advanced": base.format("advanced"),
        "endpoint_html": None,
        **fields,
    }


def listed(*rows: Any, family: str = "serp") -> ReadyList:
    found = ask(dataforseo_api.tasks_ready(family), reply(envelope(task(list(rows)))))
    assert isinstance(found, ReadyList)
    return found


def test_a_list_of_finished_tasks_is_one_call_under_a_limit_of_its_own() -> None:
    api = Api(reply(envelope(task([ready_row()]))))
    (ready,) = hold(dataforseo_api.tasks_ready("serp"), api).tasks
    assert [Call(path="/v3/serp/tasks_ready", family="tasks_ready")] == api.calls
    assert (ID, "acme", "2026-08-14 10:07:11 +00:00") == (
        ready.task_id,
        ready.tag,
        ready.posted_at,
    )
    assert {"regular", "advanced"} == set(ready.endpoints)
    assert "advanced" == ready.best()


@pytest.mark.parametrize(
    ("datatypes", "best"),
    [
        (("html", "regular"), "regular"),
        (("html",), "html"),
        (("json",), "json"),
        (("regular", "advanced", "html"), "advanced"),
    ],
)
def test_the_most_complete_datatype_is_collected(datatypes: tuple[str, ...], best: str) -> None:
    row = {"id": ID} | {f"endpoint_{name}": f"/v3/x/task_get/{name}/{ID}" for name in datatypes}
    (ready,) = listed(row).tasks
    assert best == ready.best()


def test_a_list_with_one_endpoint_has_a_task_without_a_datatype() -> None:
    row = {"id": ID, "endpoint": f"/v3/keywords_data/bing/x/task_get/{ID}"}
    (ready,) = listed(row, family="keywords_data/bing/x").tasks
    assert {"": f"/v3/keywords_data/bing/x/task_get/{ID}"} == ready.endpoints


def test_a_crawl_is_read_from_its_summary() -> None:
    row = {"id": ID, "target": "example.org", "date_posted": None, "tag": ""}
    (ready,) = listed(row, family="on_page").tasks
    assert {"summary": f"/v3/on_page/summary/{ID}"} == ready.endpoints
    assert ready.tag is None
    assert ready.posted_at is None


@pytest.mark.parametrize(
    "path",
    [
        f"https://evil.example/v3/task_get/{ID}",
        f"//evil.example/v3/{ID}",
        f"@evil.example/v3/{ID}",
        f"/v2/serp/google/organic/task_get/advanced/{ID}",
        f"/v3/serp/google/organic/task_get/advanced/{OTHER}",
        f"/v3/../admin/{ID}",
        f"/v3/serp/google/organic/task_get/advanced/x{ID}",
        7,
    ],
)
def test_an_endpoint_that_leads_elsewhere_is_not_used(path: Any) -> None:
    good = f"/v3/serp/google/organic/task_get/regular/{ID}"
    row = ready_row(endpoint_advanced=path, endpoint_regular=good)
    (ready,) = listed(row).tasks
    assert {"regular": good} == ready.endpoints


def test_a_task_all_of_whose_endpoints_lead_elsewhere_is_unreadable() -> None:
    row = ready_row(endpoint_advanced=f"/v2/{ID}", endpoint_regular=f"/v3/x/{OTHER}")
    assert ReadyList(tasks=[], unreadable=["acme"]) == listed(row)


@pytest.mark.parametrize(
    "written",
    [
        "v3/serp/google/organic/task_get/regular/{}",
        "/v3/serp/google/organic/task_get/regular/{}/",
        "https://api.dataforseo.com/v3/serp/google/organic/task_get/regular/{}",
        "https://sandbox.dataforapps.com/v3/serp/google/organic/task_get/regular/{}/",
    ],
)
def test_an_endpoint_may_be_written_in_other_ways(written: str) -> None:
    row = ready_row(endpoint_advanced=None, endpoint_regular=written.format(ID))
    (ready,) = listed(row).tasks
    assert {"regular": f"/v3/serp/google/organic/task_get/regular/{ID}"} == ready.endpoints


def test_an_unknown_datatype_is_collected_if_there_is_no_other() -> None:
    row = {"id": ID, "endpoint_new": f"/v3/x/task_get/new/{ID}", "endpoint_html": None}
    (ready,) = listed(row).tasks
    assert "new" == ready.best()


@pytest.mark.parametrize(
    ("row", "tag"),
    [
        (ready_row(id=None), "acme"),
        (ready_row(id="", tag=""), None),
        (ready_row(endpoint_advanced=None, endpoint_regular=None), "acme"),
        # Only a crawl has a summary.
        ({"id": ID, "tag": "acme"}, "acme"),
        ({}, None),
        (None, None),
        ("x", None),
    ],
)
def test_the_tag_of_an_unreadable_row_is_returned(row: Any, tag: str | None) -> None:
    found = listed(ready_row(), row)
    assert ([ID], [tag]) == ([ready.task_id for ready in found.tasks], found.unreadable)


def test_a_list_is_full_whatever_its_rows_are() -> None:
    assert not listed(*[ready_row()] * 999).is_full
    assert listed(*[ready_row()] * 999, {}).is_full


@pytest.mark.parametrize("result", [None, []])
def test_a_list_may_hold_nothing(result: Any) -> None:
    answer = reply(envelope(task(result)))
    assert ReadyList(tasks=[], unreadable=[]) == ask(dataforseo_api.tasks_ready("serp"), answer)


def test_a_list_without_tasks_holds_nothing() -> None:
    empty = {"status_code": 20000, "status_message": "Ok.", "tasks": None}
    assert ReadyList(tasks=[], unreadable=[]) == ask(
        dataforseo_api.tasks_ready("serp"), reply(empty)
    )


def errors(api: Api) -> list[Mapping[str, Any]]:
    return hold(
        dataforseo_api.errors("serp", "postback_url", since="a moment", until="another"), api
    )


def error_page(first: int, count: int) -> Reply:
    return reply(envelope(task([{"id": f"{n}"} for n in range(first, first + count)])))


@pytest.mark.parametrize("count", [0, 999, 1000, 1001, 2500])
def test_errors_are_read_page_by_page_until_one_is_not_full(count: int) -> None:
    sizes = [1000] * (count // 1000) + [count % 1000]
    api = Api(*(error_page(1000 * number, size) for number, size in enumerate(sizes)))
    assert [f"{n}" for n in range(count)] == [row["id"] for row in errors(api)]
    assert {"POST /v3/serp/errors"} == {f"{call.method} {call.path}" for call in api.calls}
    assert [
        {
            "limit": 1000,
            "offset": 1000 * number,
            "filtered_function": "postback_url",
            "datetime_from": "a moment",
            "datetime_to": "another",
        }
        for number in range(len(sizes))
    ] == [call.json[0] for call in api.calls]


PAGED: list[Callable[[], Conversation[list[Mapping[str, Any]]]]] = [
    lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
    lambda: dataforseo_api.id_list("serp", since="", until=""),
]


@pytest.mark.parametrize("conversation", PAGED)
def test_a_list_that_ignores_the_offset_ends(
    conversation: Callable[[], Conversation[list[Mapping[str, Any]]]],
) -> None:
    rows = ask(conversation(), error_page(0, 1000), error_page(0, 1000))
    assert [f"{n}" for n in range(1000)] == [row["id"] for row in rows]


@pytest.mark.parametrize("conversation", PAGED)
def test_a_list_without_an_end_is_an_error(
    conversation: Callable[[], Conversation[list[Mapping[str, Any]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "_PAGES_MAX", 3)
    with pytest.raises(ProviderError, match="more than 3 pages; ask for a shorter period"):
        ask(conversation(), *(error_page(1000 * number, 1000) for number in range(3)))

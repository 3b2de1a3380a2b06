"""Conversations with the providers' APIs, held without a network: each test is a few replies."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api, diffbot_api, outscraper_api
from receiver.providers.conversation import Call, Conversation, Manners, Reply, hold
from receiver.providers.dataforseo_api import ReadyList

ID = "08141207-1535-0066-0000-5b1f0c9a7e21"
OTHER = "08141207-1535-0066-0000-77aa01c4e5f0"


def reply(content: Any, *, status: int = 200, whole: bool = True) -> Reply:
    """Return a reply; what is not bytes yet is sent as JSON."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Reply(status=status, headers=[], wire=body, content=body, whole=whole)


def envelope(*tasks: Mapping[str, Any], code: int = 20000, message: str = "Ok.") -> dict[str, Any]:
    return {"status_code": code, "status_message": message, "tasks": list(tasks)}


def task(result: Any = None, *, code: int = 20000, **fields: Any) -> dict[str, Any]:
    return {"id": ID, "status_code": code, "status_message": "Ok.", "result": result, **fields}


class Api:
    """Answers calls from a list, and remembers them."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return self._replies.pop(0)


def ask(conversation: Conversation[Any], *replies: Reply) -> Any:
    """Hold a conversation that asks for exactly these replies."""
    api = Api(*replies)
    learned = hold(conversation, api)
    assert len(replies) == len(api.calls)
    return learned


# DataForSEO: lists.


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
def test_what_says_most_is_collected(datatypes: tuple[str, ...], best: str) -> None:
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


def test_a_task_all_of_whose_endpoints_lead_elsewhere_is_not_looked_for_where_it_is_not() -> None:
    row = ready_row(endpoint_advanced=f"/v2/{ID}", endpoint_regular=f"/v3/x/{OTHER}")
    assert ReadyList(tasks=[], strange=["acme"]) == listed(row)


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


def test_a_datatype_that_is_new_is_collected_where_there_is_no_other() -> None:
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
def test_a_row_that_is_not_understood_is_told_with_its_tag(row: Any, tag: str | None) -> None:
    found = listed(ready_row(), row)
    assert ([ID], [tag]) == ([ready.task_id for ready in found.tasks], found.strange)


def test_a_list_is_full_whatever_its_rows_are() -> None:
    assert not listed(*[ready_row()] * 999).is_full
    assert listed(*[ready_row()] * 999, {}).is_full


@pytest.mark.parametrize("result", [None, []])
def test_a_list_may_hold_nothing(result: Any) -> None:
    answer = reply(envelope(task(result)))
    assert ReadyList(tasks=[], strange=[]) == ask(dataforseo_api.tasks_ready("serp"), answer)


def test_a_list_without_tasks_holds_nothing() -> None:
    empty = {"status_code": 20000, "status_message": "Ok.", "tasks": None}
    assert ReadyList(tasks=[], strange=[]) == ask(dataforseo_api.tasks_ready("serp"), reply(empty))


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
    monkeypatch.setattr(dataforseo_api, "_PAGES_MAX", 3)
    with pytest.raises(ProviderError, match="more than 3 pages; ask for a shorter time"):
        ask(conversation(), *(error_page(1000 * number, 1000) for number in range(3)))


# DataForSEO: tasks.


def collect(answer: Any, **options: Any) -> dataforseo_api.Collected:
    path = f"/v3/serp/google/organic/task_get/advanced/{ID}"
    api = Api(reply(answer, **options))
    collected = hold(dataforseo_api.task_get(path), api)
    assert [Call(path=path)] == api.calls
    return collected


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (20000, "done"),
        (40101, "done"),
        (40102, "done"),
        (40103, "done"),
        (40601, "pending"),
        (40602, "pending"),
        (40402, "pending"),
        (40403, "lost"),
        (40401, "gone"),
        (40400, "gone"),
        (40001, "failed"),
        (40501, "failed"),
        (50000, "failed"),
    ],
)
def test_the_code_of_a_task_says_what_became_of_it(code: int, state: str) -> None:
    collected = collect(envelope(task(code=code, status_message="Said so.")))
    assert (state, f"{code} Said so.") == (collected.state, collected.detail)


def test_a_collected_task_says_what_its_postback_was_to_carry() -> None:
    assert "html" == collect(envelope(task([{}], data={"postback_data": "html"}))).wanted
    for data in (None, {}, {"postback_data": 7}, [1], "x"):
        assert collect(envelope(task([{}], data=data))).wanted is None


def test_a_result_too_large_to_be_read_whole_is_judged_by_its_beginning() -> None:
    beginning = orjson.dumps(envelope(task([{"items": ["x" * 50]}])))[:-60]
    assert "done" == collect(beginning, whole=False).state


def test_a_task_without_an_answer_is_an_error() -> None:
    with pytest.raises(ProviderError, match="without a task"):
        collect(envelope())


@pytest.mark.parametrize(
    ("conversation", "path", "most"),
    [
        (dataforseo_api.webhook_resend, "/v3/appendix/webhook_resend", dataforseo_api.RESEND_MAX),
        (dataforseo_api.force_stop, "/v3/on_page/force_stop", dataforseo_api.FORCE_STOP_MAX),
    ],
)
def test_many_ids_go_into_one_call(
    conversation: Callable[[Sequence[str]], Conversation[dict[str, str]]], path: str, most: int
) -> None:
    ids = [f"task-{n}" for n in range(most)]
    tasks = [task(id=task_id, code=20100, status_message="Task Created.") for task_id in ids]
    api = Api(reply(envelope(*tasks)))
    said = hold(conversation(ids), api)
    assert dict.fromkeys(ids, "20100 Task Created.") == said
    (call,) = api.calls
    assert ("POST", path, [{"id": task_id} for task_id in ids]) == (
        call.method,
        call.path,
        call.json,
    )
    with pytest.raises(AssertionError):
        hold(conversation([*ids, "one-too-many"]), Api())


def test_what_was_said_of_an_id_is_found_by_id_then_by_place() -> None:
    first = task(id="b", code=40401, status_message="Task Not Found.")
    second = task(id=None, code=20100, status_message="Task Created.")
    said = ask(dataforseo_api.webhook_resend(["a", "b"]), reply(envelope(second, first)))
    assert {"a": "20100 Task Created.", "b": "40401 Task Not Found."} == said


def test_an_id_that_the_answer_leaves_out_has_the_answer_of_the_whole() -> None:
    said = ask(dataforseo_api.force_stop(["a", "b"]), reply(envelope(task(id="a"))))
    assert {"a": "20000 Ok.", "b": "20000 Ok."} == said


def test_long_lists_of_ids_are_split() -> None:
    ids = [str(n) for n in range(250)]
    assert [ids[:100], ids[100:200], ids[200:]] == list(dataforseo_api.batches(ids, 100))
    assert [] == list(dataforseo_api.batches([], 100))


def test_the_status_page_has_a_limit_of_its_own() -> None:
    rows = [{"api": "serp", "status": "ok", "endpoints": None}]
    api = Api(reply(envelope(task(rows))))
    assert rows == hold(dataforseo_api.status(), api)
    assert [Call(path="/v3/appendix/status", family="status")] == api.calls


def test_the_account_is_one_row() -> None:
    rows = [{"login": "me"}]
    assert {"login": "me"} == ask(dataforseo_api.user_data(), reply(envelope(task(rows))))
    assert {} == ask(dataforseo_api.user_data(), reply(envelope(task(None))))


DATAFORSEO: list[Callable[[], Conversation[Any]]] = [
    lambda: dataforseo_api.tasks_ready("serp"),
    lambda: dataforseo_api.task_get(f"/v3/serp/google/organic/task_get/advanced/{ID}"),
    lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
    lambda: dataforseo_api.webhook_resend([ID]),
    lambda: dataforseo_api.force_stop([ID]),
    dataforseo_api.status,
    dataforseo_api.user_data,
]


@pytest.mark.parametrize("conversation", DATAFORSEO)
@pytest.mark.parametrize("code", [40100, 40200, 40202, 40402, 50000])
def test_an_envelope_that_says_no_is_an_error_that_says_why(
    conversation: Callable[[], Conversation[Any]], code: int
) -> None:
    refusal = {"status_code": code, "status_message": "Not so.", "tasks": None}
    with pytest.raises(ProviderError, match=f"{code} Not so."):
        ask(conversation(), reply(refusal))


@pytest.mark.parametrize(
    "conversation",
    [
        lambda: dataforseo_api.tasks_ready("serp"),
        lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
        dataforseo_api.status,
    ],
)
def test_a_list_whose_only_task_failed_is_an_error(
    conversation: Callable[[], Conversation[Any]],
) -> None:
    refusal = envelope(task(code=40402, status_message="Invalid Path."))
    with pytest.raises(ProviderError, match="40402 Invalid Path"):
        ask(conversation(), reply(refusal))


NONSENSE = [
    b"",
    b"<!DOCTYPE html><html><title>Maintenance</title></html>",
    b'{"status_code": 20000, "tasks": [{"id": "0814',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"null",
    b"7",
    b'"a text"',
    b"[1, 2]",
    b"{}",
    b'{"status_code": "20000", "tasks": []}',
    b'{"status_code": 20000, "tasks": 7}',
    b'{"status_code": 20000, "tasks": [7]}',
]


def shown(value: object) -> str:
    return repr(value)[:40]


@pytest.mark.parametrize("conversation", DATAFORSEO)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=shown)
def test_dataforseo_talking_nonsense_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError):
        ask(conversation(), reply(nonsense))


@pytest.mark.parametrize("result", [7, "x", True, {"a": 1}])
@pytest.mark.parametrize(
    "conversation",
    [
        lambda: dataforseo_api.tasks_ready("serp"),
        lambda: dataforseo_api.errors("serp", "postback_url", since="", until=""),
        dataforseo_api.status,
    ],
)
def test_a_list_that_is_none_is_an_error(
    conversation: Callable[[], Conversation[Any]], result: Any
) -> None:
    with pytest.raises(ProviderError):
        ask(conversation(), reply(envelope(task(result))))


# DataForSEO: manners.


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(envelope(task([]))), "stands"),
        (reply({"status_code": 40202, "tasks": None}), "busy"),
        (reply({"status_code": 40209, "tasks": None}), "busy"),
        (reply(envelope(task(code=40202))), "busy"),
        (reply(envelope(task(code=40209))), "busy"),
        (reply(b"", status=429), "busy"),
        (reply({"status_code": 50000, "tasks": None}), "failed"),
        (reply({"status_code": 50303, "tasks": None}), "failed"),
        (reply(b"Bad Gateway", status=502), "failed"),
        (reply({"status_code": 40402, "tasks": None}), "stands"),
        (reply({"status_code": 40100, "tasks": None}, status=401), "stands"),
        (reply(b"<html>"), "stands"),
        (reply(b'{"half": '), "stands"),
        (reply(envelope(task(code=40601))), "stands"),
        (reply(envelope(task(code=40403))), "stands"),
        # A text that looks like a code of the envelope is none.
        (reply(envelope(task([{"text": '"status_code": 40202'}]))), "stands"),
    ],
)
def test_dataforseo_says_later_inside_http_200(answer: Reply, verdict: str) -> None:
    assert verdict == dataforseo_api.ApiManners().judge(answer)


def test_one_busy_task_of_many_does_not_make_all_of_them_wait() -> None:
    answer = reply(envelope(task(id="a"), task(id="b", code=40202)))
    assert "stands" == dataforseo_api.ApiManners().judge(answer)


def test_manners_keep_within_the_documented_limits() -> None:
    manners: Manners = dataforseo_api.ApiManners()
    assert manners.calls_per_minute["tasks_ready"] <= 20
    assert manners.calls_per_minute["status"] <= 10
    assert manners.calls_per_minute["general"] <= 2000
    assert manners.simultaneous <= 30
    assert outscraper_api.ApiManners().calls_per_minute["general"] <= 20 * 60


# Diffbot.

JOB = {"name": "shop", "type": "crawl", "jobStatus": {"status": 9}}


def test_all_jobs_of_a_token_are_one_call() -> None:
    api = Api(reply({"jobs": [JOB, JOB | {"type": "bulk"}]}))
    assert ["crawl", "bulk"] == [job["type"] for job in hold(diffbot_api.jobs(), api)]
    assert [Call(path="/v3/crawl")] == api.calls


@pytest.mark.parametrize("answer", [{"jobs": []}, {"jobs": None}, {"jobs": [None, 7]}])
def test_a_token_may_have_no_jobs(answer: Any) -> None:
    assert [] == ask(diffbot_api.jobs(), reply(answer))


@pytest.mark.parametrize(
    ("action", "query"),
    [
        (None, {}),
        (diffbot_api.PAUSE, {"pause": "1"}),
        (diffbot_api.RESUME, {"pause": "0"}),
        (diffbot_api.RESTART, {"restart": "1"}),
        (diffbot_api.ROUND_START, {"roundStart": "1"}),
    ],
)
def test_a_job_is_asked_for_by_name(action: Mapping[str, str] | None, query: Any) -> None:
    api = Api(reply({"jobs": [JOB]}))
    assert JOB == hold(diffbot_api.job("shop", action=action), api)
    once = not {"restart", "roundStart"}.isdisjoint(query)
    assert [Call(path="/v3/crawl", query={"name": "shop", **query}, once=once)] == api.calls


def test_a_job_that_is_deleted_is_not_shown() -> None:
    answer = {"response": "Successfully deleted job."}
    assert answer == ask(diffbot_api.job("shop", action=diffbot_api.DELETE), reply(answer))


def test_a_job_is_not_taken_for_another() -> None:
    with pytest.raises(ProviderError, match="no job 'news'"):
        ask(diffbot_api.job("news"), reply({"jobs": [JOB]}))


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"errorCode": 401, "error": "Not authorized API token."}, 401, "401: Not authorized"),
        ({"errorCode": "500", "error": "no collection record."}, 500, "500: no collection"),
        ({"errorCode": 400, "error": "No collection record"}, 200, "400: No collection"),
        ({"requestId": "7", "code": 404, "message": "No such route"}, 404, "404: No such route"),
        ({}, 404, "404: no reason given"),
    ],
)
def test_diffbot_says_why_it_refuses(answer: Any, status: int, said: str) -> None:
    for conversation in (diffbot_api.jobs(), diffbot_api.job("shop")):
        with pytest.raises(ProviderError, match=said):
            ask(conversation, reply(answer, status=status))


def test_a_job_that_is_unknown_is_no_fault_of_the_server() -> None:
    judge = diffbot_api.ApiManners().judge
    unknown = {"errorCode": "500", "error": "no collection record."}
    assert "stands" == judge(reply(unknown, status=500))
    assert "failed" == judge(reply(b"Internal Server Error", status=500))
    assert "busy" == judge(reply(b"", status=429))
    assert "stands" == judge(reply({"jobs": []}))


@pytest.mark.parametrize(
    "nonsense",
    [*(body for body in NONSENSE if not body.startswith(b"{")), b'{"jobs": 7}', b'{"jobs": "x"}'],
    ids=shown,
)
def test_diffbot_talking_nonsense_is_an_error(nonsense: bytes) -> None:
    for conversation in (diffbot_api.jobs(), diffbot_api.job("shop")):
        with pytest.raises(ProviderError):
            ask(conversation, reply(nonsense))


# Outscraper.


def request_page(first: int, count: int) -> Reply:
    return reply([{"id": f"{n}", "usage": "3"} for n in range(first, first + count)])


def test_finished_requests_are_read_until_a_page_is_not_full() -> None:
    api = Api(request_page(0, 100), request_page(100, 20))
    assert [f"{n}" for n in range(120)] == hold(outscraper_api.finished_requests(), api)
    assert [
        Call(path="/requests", query={"type": "finished", "skip": skip, "pageSize": "100"})
        for skip in ("0", "100")
    ] == api.calls


def test_a_list_of_requests_that_does_not_move_on_ends() -> None:
    found = ask(outscraper_api.finished_requests(), request_page(0, 100), request_page(0, 100))
    assert 100 == len(found)


def test_a_list_of_requests_may_stand_in_an_object() -> None:
    answer = {"requests": [{"id": "a"}, {"id": 7}, None]}
    assert ["a"] == ask(outscraper_api.finished_requests(), reply(answer))


@pytest.mark.parametrize("status", ["Success", "Pending", "Failure"])
def test_a_request_has_one_of_three_states(status: str) -> None:
    api = Api(reply({"id": "a", "status": status}))
    assert status == hold(outscraper_api.request("a/../b"), api).status
    assert ["/requests/a%2F..%2Fb"] == [call.path for call in api.calls]


def test_a_request_that_failed_may_have_no_body() -> None:
    assert "Failure" == ask(outscraper_api.request("a"), reply(b"", status=204)).status


@pytest.mark.parametrize("answer", [{"status": "Odd"}, {"id": "a"}, {"status": None}, [1]])
def test_a_request_of_another_state_is_an_error(answer: Any) -> None:
    with pytest.raises(ProviderError, match="unknown status"):
        ask(outscraper_api.request("a"), reply(answer))


def task_page(first: int, count: int, *, more: bool) -> Reply:
    rows = [{"id": f"{n}"} for n in range(first, first + count)]
    return reply({"tasks": rows, "has_more": more})


def test_tasks_are_read_page_by_page_behind_the_last_one_seen() -> None:
    api = Api(
        task_page(0, 100, more=True), task_page(100, 100, more=True), task_page(200, 5, more=False)
    )
    found = hold(outscraper_api.tasks(most=500), api)
    assert [f"{n}" for n in range(205)] == [row["id"] for row in found]
    assert [
        {"pageSize": "100"},
        {"pageSize": "100", "lastId": "99"},
        {"pageSize": "100", "lastId": "199"},
    ] == [call.query for call in api.calls]


def test_no_more_tasks_are_read_than_are_wanted() -> None:
    api = Api(task_page(0, 30, more=True))
    assert 30 == len(hold(outscraper_api.tasks(most=30, query="tag"), api))
    assert [{"pageSize": "30", "query": "tag"}] == [call.query for call in api.calls]
    assert 130 == len(
        ask(
            outscraper_api.tasks(most=130),
            task_page(0, 100, more=True),
            task_page(100, 100, more=True),
        )
    )


def test_a_list_of_tasks_that_does_not_move_on_ends() -> None:
    same = task_page(0, 100, more=True)
    assert 200 == len(ask(outscraper_api.tasks(most=500), same, same))


@pytest.mark.parametrize(
    ("conversation", "method"),
    [
        (outscraper_api.task, "GET"),
        (outscraper_api.restart, "PUT"),
        (outscraper_api.terminate, "DELETE"),
    ],
)
def test_a_task_is_read_restarted_and_removed(
    conversation: Callable[[str], Conversation[Reply]], method: str
) -> None:
    api = Api(reply("Done"))
    assert b'"Done"' == hold(conversation("2026 8/1"), api).content
    once = method != "GET"
    assert [Call(path="/tasks/2026%208%2F1", method=method, once=once)] == api.calls


def test_failed_webhook_calls_are_listed() -> None:
    rows = [{"date": 1786700581, "status": "Status code: 404"}]
    assert rows == ask(outscraper_api.webhook_calls(), reply([*rows, None]))
    assert rows == ask(outscraper_api.webhook_calls(), reply({"data": rows}))


OUTSCRAPER: list[Callable[[], Conversation[Any]]] = [
    outscraper_api.finished_requests,
    lambda: outscraper_api.request("a"),
    lambda: outscraper_api.tasks(most=10),
    lambda: outscraper_api.task("a"),
    lambda: outscraper_api.restart("a"),
    lambda: outscraper_api.terminate("a"),
    outscraper_api.webhook_calls,
]


@pytest.mark.parametrize("conversation", OUTSCRAPER)
@pytest.mark.parametrize("status", [200, 401, 402, 422])
def test_outscraper_says_why_it_refuses_with_any_status(
    conversation: Callable[[], Conversation[Any]], status: int
) -> None:
    refusal = {"error": True, "errorMessage": "Past due."}
    with pytest.raises(ProviderError, match=f"HTTP {status}: Past due."):
        ask(conversation(), reply(refusal, status=status))


@pytest.mark.parametrize("conversation", OUTSCRAPER)
@pytest.mark.parametrize("nonsense", NONSENSE[:5], ids=shown)
def test_outscraper_talking_nonsense_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError, match="not JSON"):
        ask(conversation(), reply(nonsense))


@pytest.mark.parametrize(
    "conversation",
    [
        outscraper_api.finished_requests,
        lambda: outscraper_api.tasks(most=10),
        outscraper_api.webhook_calls,
    ],
)
@pytest.mark.parametrize("nonsense", [b"7", b'"x"', b"null", b"{}", b'{"tasks": 7}'], ids=shown)
def test_a_list_of_outscraper_that_is_none_is_an_error(
    conversation: Callable[[], Conversation[Any]], nonsense: bytes
) -> None:
    with pytest.raises(ProviderError, match="shape"):
        ask(conversation(), reply(nonsense))


def test_outscraper_says_later_with_429() -> None:
    judge = outscraper_api.ApiManners().judge
    assert "busy" == judge(reply(b"", status=429))
    assert "failed" == judge(reply(b"", status=503))
    assert "stands" == judge(reply([], status=404))

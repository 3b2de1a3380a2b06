"""The envelope of every answer and every postback (providers.md §1.1 [D]), and its codes."""

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from tests.tools.simulators.server import CODE, Json

VERSION = "0.1.20260801"

# providers.md §1.16 [D]; messages are the documented ones where they are known.
MESSAGES = {
    20000: "Ok.",
    20100: "Task Created.",
    40000: "You can set only one task at a time.",
    40001: "The task belongs to another client.",
    40002: "The task belongs to another search engine.",
    40003: "The task belongs to another type.",
    40004: "The task belongs to another function.",
    40006: "You can set no more than 100 tasks in a POST request.",
    40100: "You are not Authorized to Access this Resource.",
    40101: "Internal SE Server Error.",
    40102: "No Search Results.",
    40103: "Task Execution Failed.",
    40104: "Please verify your account.",
    40200: "Payment Required.",
    40201: "Account Paused.",
    40202: "Rate limit per minute exceeded.",
    40203: "Daily cost limit exceeded.",
    40204: "Access Denied. Subscription missing.",
    40205: "Duplicate task limit per hour exceeded.",
    40206: "Duplicate task limit per day exceeded.",
    40207: "Access Denied. Your IP is not whitelisted.",
    40209: "Too many simultaneous requests.",
    40210: "Insufficient Funds.",
    40400: "Not Found.",
    40401: "Task Not Found.",
    40402: "Invalid Path.",
    40403: "Results Expired.",
    40404: "No prepared sandbox data.",
    40501: "Invalid Field.",
    40502: "POST Data Is Empty.",
    40503: "POST Data Is Invalid.",
    40506: "Unknown Fields in POST Data.",
    40601: "Task Handed.",
    40602: "Task in Queue.",
    50000: "Internal Error.",
    50001: "Balance Check Error.",
    50100: "Not Implemented.",
    50301: "3rd Party API Service Unavailable.",
    50303: "Update in Progress.",
    50304: "Temporarily Unavailable.",
    50401: "Internal Timeout.",
    50402: "Target Page Too Slow.",
}
# providers.md §1.1 [D]: HTTP is 200 for nearly everything; only these differ.
HTTP_STATUS = {40100: 401, 40200: 402, 40400: 404}


class Refusal(Exception):
    """A call that is refused as a whole, with a code."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def message(code: int, detail: str = "") -> str:
    """Return the message of a code."""
    text = MESSAGES.get(code, "Error.")
    return f"{text[:-1]}: {detail}." if detail else text


def entry(
    task_id: str,
    *,
    path: Sequence[str],
    posted: Json,
    code: int = 20000,
    detail: str = "",
    result: Sequence[Any] | None = None,
    cost: float = 0,
) -> Json:
    """Return one element of `tasks`; `result` is an array or null, never empty."""
    return {
        "id": task_id,
        "status_code": code,
        "status_message": message(code, detail),
        "time": "0.0529 sec.",
        "cost": cost,
        "result_count": len(result) if result else 0,
        "path": list(path),
        "data": posted,
        "result": list(result) if result else None,
    }


def envelope(entries: Sequence[Json]) -> Json:
    """Return the envelope around some tasks."""
    return {
        "version": VERSION,
        "status_code": 20000,
        "status_message": MESSAGES[20000],
        "time": "0.0713 sec.",
        "cost": sum(task["cost"] for task in entries),
        "tasks_count": len(entries),
        # §1.1 [D]: HTTP 200 and 20000 at the top can carry tasks that failed; anything but
        # 200xx counts, as the documented sample of 40102 shows (§1.3).
        "tasks_error": sum(1 for task in entries if task["status_code"] // 100 not in (200, 201)),
        "tasks": list(entries),
    }


def refused(code: int, detail: str = "") -> Json:
    """Return the envelope of a call that was refused; §1.1 [C]: its `tasks` is null."""
    return {
        "version": VERSION,
        "status_code": code,
        "status_message": message(code, detail),
        "time": "0 sec.",
        "cost": 0,
        "tasks_count": 0,
        "tasks_error": 0,
        "tasks": None,
    }


def response(request: web.Request, body: Json) -> web.Response:
    """Return an envelope as an HTTP answer, and note its code for the ledger."""
    tasks = body["tasks"]
    code: int = body["status_code"]
    if code == 20000 and tasks and len(tasks) == 1:
        code = tasks[0]["status_code"]
    request[CODE] = code
    status = HTTP_STATUS.get(body["status_code"], 200)
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

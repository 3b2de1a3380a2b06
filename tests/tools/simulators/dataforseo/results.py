"""The results of tasks: made from the task alone, so they need no room and never vary."""

from typing import Any

from tests.tools.simulators.dataforseo.dates import text_of
from tests.tools.simulators.dataforseo.tasks import Task
from tests.tools.simulators.server import Json

# Some of it is not ASCII, so that characters and bytes differ.
_SENTENCE = "Water runs downhill; \u00e9t\u00e9, \u590f, \u043b\u0435\u0442\u043e: hoses. "


def result_of(task: Task, datatype: str | None, *, result_bytes: int) -> list[Any] | None:
    """Return `result` of a finished task; null where the task failed or found nothing."""
    if task.status != 20000:
        return None
    if datatype in task.results:
        return task.results[datatype]
    if None in task.results:
        return task.results[None]
    if task.function.path == "on_page":
        return [summary_of(task)]
    if datatype == "html":
        return [_html(task, result_bytes)]
    if task.function.api == "serp":
        return [_serp(task, result_bytes)]
    return [_plain(task, result_bytes)]


def summary_of(task: Task) -> Json:
    """Return the summary of a crawl, running or finished."""
    # providers.md §1.10 [D]
    pages = task.posted.get("max_crawl_pages", 100)
    finished = task.done_at is not None
    crawled = pages if finished and not task.force_stopped else pages // 2
    reason = "force_stopped" if task.force_stopped else "limit_exceeded"
    return {
        "crawl_progress": "finished" if finished else "in_progress",
        "crawl_status": {
            "max_crawl_pages": pages,
            "pages_in_queue": 0 if finished else pages - crawled,
            "pages_crawled": crawled,
        },
        "crawl_gateway_address": "94.130.93.30",
        "crawl_stop_reason": reason if finished else None,
        "domain_info": None,
        "page_metrics": None,
    }


def _serp(task: Task, result_bytes: int) -> Json:
    keyword = str(task.posted.get("keyword", ""))
    items = []
    for rank in range(1, max(1, result_bytes // 600) + 1):
        items.append(
            {
                "type": "organic",
                "rank_group": rank,
                "rank_absolute": rank,
                "domain": f"{rank}.example.org",
                "title": f"{keyword} {task.id}",
                "description": _SENTENCE * 4,
                "url": f"https://{rank}.example.org/{task.id}",
                "breadcrumb": f"https://{rank}.example.org",
            }
        )
    return {
        "keyword": keyword,
        "type": task.function.se_type,
        "se_domain": f"{task.function.se}.com",
        "location_code": task.posted.get("location_code", 2840),
        "language_code": task.posted.get("language_code", "en"),
        "check_url": f"https://www.google.com/search?q={task.id}",
        "datetime": text_of(task.done_at or 0),
        "spell": None,
        "item_types": ["organic"],
        "se_results_count": 51_200_000,
        "items_count": len(items),
        "items": items,
    }


def _html(task: Task, result_bytes: int) -> Json:
    page = (
        f"<html><body><h1>{task.id}</h1><p>{_SENTENCE * (result_bytes // 60 + 1)}</p></body></html>"
    )
    return {
        "keyword": task.posted.get("keyword"),
        "type": task.function.se_type,
        "se_domain": f"{task.function.se}.com",
        "location_code": 2840,
        "language_code": "en",
        "datetime": text_of(task.done_at or 0),
        "items_count": 1,
        "items": [{"page": 1, "date": text_of(task.done_at or 0), "html": page}],
    }


def _plain(task: Task, result_bytes: int) -> Json:
    return {
        "datetime": text_of(task.done_at or 0),
        "check_url": f"https://example.org/{task.id}",
        "items_count": 1,
        "items": [{"title": task.id, "text": _SENTENCE * (result_bytes // 60 + 1)}],
    }

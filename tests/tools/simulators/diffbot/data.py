"""The data of a job: what it extracted, and which URLs it read (providers.md §2.5)."""

from collections.abc import Iterable

import orjson
from aiohttp import web

from tests.tools.simulators.diffbot.jobs import Job
from tests.tools.simulators.server import Json


def answer(job: Job, given: dict[str, str]) -> web.Response:
    """Answer ``/v3/crawl/data`` and ``/v3/bulk/data``."""
    if given.get("type") == "urls":
        return _csv(_urls(job))
    records = _records(job)
    if "num" in given:
        records = records[-int(given["num"]) :]  # §2.5 [D]: the newest
    if given.get("format") == "csv":
        return _csv([["type", "pageUrl"], *([one["type"], one["pageUrl"]] for one in records)])
    return web.Response(body=orjson.dumps(records), content_type="application/json")


def download(jobs: Iterable[Job], name: str) -> web.Response:
    """Answer a download URL of a job object, where the token is a part of the file's name."""
    for job in jobs:
        stem = f"{job.token}-{job.name}"
        if name == f"{stem}_data.json":
            return web.Response(body=orjson.dumps(_records(job)), content_type="application/json")
        if name == f"{stem}_urls.csv":
            return _csv(_urls(job))
    return web.Response(status=404, text="Not found")


def _records(job: Job) -> list[Json]:
    return [
        {
            "parentUrl": "https://shop.example.org",
            "pageUrl": f"https://shop.example.org/{number}",
            "id": number,
            "type": "product",
            "token": job.token,  # §2.5 [D]: the token leaks here, too
            "timestamp": "Fri, 14 Aug 2026 10:00:00 GMT",
            "title": f"{job.name} {number}",
        }
        for number in range(job.counters["objectsFound"])
    ]


def _urls(job: Job) -> list[list[str]]:
    read = range(job.counters["pageCrawlAttempts"])
    return [["URL", "Status"], *([f"https://shop.example.org/{one}", "Success"] for one in read)]


def _csv(rows: list[list[str]]) -> web.Response:
    text = "".join(",".join(row) + "\n" for row in rows)
    return web.Response(text=text, content_type="text/csv")

"""Conversations with Diffbot's crawl and bulk API (docs.diffbot.com, "Manage Crawl Job").

One list has all jobs of a token, crawl and bulk.  Errors carry their code as a number or a string,
and an unknown name is HTTP 500 "no collection record.", which is not a fault of the server.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from receiver.errors import ProviderError
from receiver.providers.conversation import Call, CallPolicy, Conversation, Reply, Verdict
from receiver.providers.lenient_rows import Rows, read_rows

# The states in which a job has called its webhook, or should have
# (docs.diffbot.com, "jobStatus").
NOTIFIED = frozenset({1, 2, 3, 4, 5, 9, 10, 11})


def _judge(reply: Reply) -> Verdict:
    """Judge a reply; an unknown job is an answer, not a fault of the server."""
    if reply.status == 429:
        return "busy"
    if reply.status >= 500 and b"no collection record" not in reply.content.lower():
        return "failed"
    return "final"


# No limit is documented, so these are ours.
POLICY = CallPolicy(
    calls_per_minute={"general": 120}, simultaneous=4, busy_seconds=15.0, judge=_judge
)


def jobs() -> Conversation[Rows]:
    """List all crawl and bulk jobs."""
    reply = yield Call(path="/v3/crawl")
    return _jobs(reply)


def job(name: str, *, action: Mapping[str, str] | None = None) -> Conversation[dict[str, Any]]:
    """Return one job, after an action on it: pause, resume, restart, delete, start a round."""
    query = {"name": name, **(action or {})}
    reply = yield Call(path="/v3/crawl", query=query, once=not _HARMLESS.issuperset(action or ()))
    answer = _answer(reply)
    if "jobs" in answer:
        named: list[dict[str, Any]] = [job for job in _jobs(reply) if job.get("name") == name]
        if not named:
            raise ProviderError(f"diffbot has no job {name!r}")
        return named[0]
    return answer


PAUSE = {"pause": "1"}
RESUME = {"pause": "0"}
RESTART = {"restart": "1"}
DELETE = {"delete": "1"}
ROUND_START = {"roundStart": "1"}
_HARMLESS = frozenset({"pause"})


def _jobs(reply: Reply) -> Rows:
    """Return the jobs of a list; one by one where a strict parser refuses it."""
    rows = None
    if reply.status < 400 and not _is_json(reply.content):
        rows = read_rows(reply.content, "jobs")
    if rows is not None:
        return Rows((job for job in rows if isinstance(job, dict)), rows.odd)
    found = _answer(reply).get("jobs") or []
    if not isinstance(found, list):
        raise ProviderError("diffbot answered JSON of an unknown shape")
    return Rows(job for job in found if isinstance(job, dict))


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _answer(reply: Reply) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProviderError(
            f"diffbot answered HTTP {reply.status} with something that is not JSON"
        ) from exc
    if not isinstance(answer, dict):
        raise ProviderError("diffbot answered JSON of an unknown shape")
    error = answer.get("error") or answer.get("message")
    if reply.status >= 400 or answer.get("errorCode"):
        code = answer.get("errorCode") or answer.get("code") or reply.status
        raise ProviderError(f"diffbot answered {code}: {error or 'no reason given'}")
    return answer

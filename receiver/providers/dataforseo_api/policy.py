"""The limits on calls (docs.dataforseo.com/v3, "Rate limits", and the page of each list)."""

from receiver.providers.conversation import CallPolicy, Reply, Verdict
from receiver.providers.dataforseo_api.answer import read_codes

# Too many calls per minute; too many concurrent calls.
_BUSY = (40202, 40209)


def _judge(reply: Reply) -> Verdict:
    """Judge a reply by the code of its envelope; one without a code is final."""
    if reply.status == 429:
        return "busy"
    if reply.status >= 500:
        return "failed"
    code, of_tasks = read_codes(reply)
    # Either may say so: the envelope, or its only task.
    if code in _BUSY or (len(of_tasks) == 1 and of_tasks[0] in _BUSY):
        return "busy"
    return "failed" if code is not None and 50000 <= code < 60000 else "final"


POLICY = CallPolicy(
    calls_per_minute={"general": 1900, "tasks_ready": 20, "status": 10, "id_list": 10},
    # 30 are allowed; the rest is left for the user's own programs.
    simultaneous=20,
    # The limits are counted by the minute.
    busy_seconds=60.0,
    judge=_judge,
)

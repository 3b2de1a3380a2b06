"""Operations that take more calls than one: long lists of ids, in batches."""

from collections.abc import AsyncIterator, Sequence

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api as api
from receiver.reconciler.caller import Caller


async def webhook_resend(caller: Caller, ids: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """Request webhooks again, a hundred tasks per call; yield each call's answers by id."""
    for batch in api.batches(ids, api.RESEND_MAX):
        yield await caller.hold(api.webhook_resend(batch))


async def force_stop(caller: Caller, ids: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """Stop OnPage crawls, a thousand per call; yield each call's answers by id."""
    for batch in api.batches(ids, api.FORCE_STOP_MAX):
        yield await caller.hold(api.force_stop(batch))


async def find_path(caller: Caller, families: Sequence[str], task_id: str) -> str:
    """Return the path to collect a task at, from the lists of finished tasks.

    Raises `ProviderError` if no list has the task.
    """
    for family in families:
        for ready in (await caller.hold(api.tasks_ready(family))).tasks:
            if ready.task_id == task_id:
                return ready.endpoints[ready.best()]
    raise ProviderError(
        f"{caller.provider}: {task_id} is not in any list of finished tasks",
        hint="name its function with --function, such as serp/google/organic",
    )

"""Operations that go beyond one call: long lists of ids, split to what one call takes."""

from collections.abc import AsyncIterator, Sequence

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api as api
from receiver.reconciler.caller import Caller


async def webhook_resend(caller: Caller, ids: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """Ask for webhooks again, a hundred tasks a call; yield what was said of each task."""
    for batch in api.batches(ids, api.RESEND_MAX):
        yield await caller.hold(api.webhook_resend(batch))


async def force_stop(caller: Caller, ids: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """Stop OnPage crawls, a thousand a call; yield what was said of each task."""
    for batch in api.batches(ids, api.FORCE_STOP_MAX):
        yield await caller.hold(api.force_stop(batch))


async def find_path(caller: Caller, families: Sequence[str], task_id: str) -> str:
    """Return where a task can be collected, by the lists of finished tasks.

    Raises `ProviderError` if no list has it.
    """
    for family in families:
        for ready in (await caller.hold(api.tasks_ready(family))).tasks:
            if ready.task_id == task_id:
                return ready.endpoints[ready.best()]
    raise ProviderError(
        f"{caller.provider}: {task_id} is on no list of finished tasks; "
        "say where it belongs with --function, such as serp/google/organic"
    )

"""Operations that go beyond one call."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from receiver.errors import ProviderError
from receiver.providers.dataforseo_api import POLICY
from receiver.reconciler import operations
from receiver.reconciler.caller import Caller
from tests.tools.simulators.dataforseo import DataForSeo

Operation = Callable[[Caller, Sequence[str]], AsyncIterator[dict[str, str]]]


@pytest.fixture
def simulator() -> Iterator[DataForSeo]:
    with DataForSeo() as running:
        yield running


def caller_of(simulator: DataForSeo) -> Caller:
    pair = base64.b64encode(b"login:password").decode()
    return Caller(
        provider="dataforseo",
        base_url=simulator.url,
        policy=POLICY,
        headers={"Authorization": f"Basic {pair}"},
    )


def run(simulator: DataForSeo, operation: Operation, ids: Sequence[str]) -> list[dict[str, str]]:
    async def once() -> list[dict[str, str]]:
        async with caller_of(simulator) as caller:
            return [said async for said in operation(caller, ids)]

    return asyncio.run(once())


def test_two_hundred_and_fifty_webhooks_are_requested_in_three_calls(
    simulator: DataForSeo,
) -> None:
    ids = simulator.add_ready("serp/google/organic", 250, pingback_url="http://127.0.0.1:1/$id")
    batches = run(simulator, operations.webhook_resend, ids)
    assert [100, 100, 50] == [len(batch) for batch in batches]
    said = {task_id: answer for batch in batches for task_id, answer in batch.items()}
    assert dict.fromkeys(ids, "20100 Task Created.") == said
    assert 3 == simulator.ledger.count("webhook_resend")
    simulator.wait_idle()
    assert set(ids) == {delivered.task.id for delivered in simulator.deliveries()}


def test_fifteen_hundred_crawls_are_stopped_in_two_calls(simulator: DataForSeo) -> None:
    ids = simulator.post("on_page", *({"target": f"{n}.example.org"} for n in range(1499)))
    batches = run(simulator, operations.force_stop, [*ids, "unknown"])
    assert [1000, 500] == [len(batch) for batch in batches]
    assert "40401 Task Not Found." == batches[1]["unknown"]
    assert 2 == simulator.ledger.count("force_stop")
    assert all(simulator.task(task_id).force_stopped for task_id in ids)


def test_a_task_is_found_by_the_lists_of_finished_tasks(simulator: DataForSeo) -> None:
    simulator.add_ready("serp/google/organic", 3)
    (task_id,) = simulator.add_ready("app_data/google/app_info")

    async def find(wanted: str) -> str:
        async with caller_of(simulator) as caller:
            return await operations.find_path(caller, ["serp", "app_data", "merchant"], wanted)

    path = f"/v3/app_data/google/app_info/task_get/advanced/{task_id}"
    assert path == asyncio.run(find(task_id))
    assert 2 == simulator.ledger.count("tasks_ready")
    with pytest.raises(ProviderError, match="name its function with --function"):
        asyncio.run(find("08141207-1535-0066-0000-5b1f0c9a7e21"))

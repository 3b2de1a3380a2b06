"""The two kinds of work: API requests and platform tasks (providers.md §3.2, §3.4, §3.5)."""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tests.tools.simulators.server import Json

Outcome = Literal["Pending", "Success", "Failure"]
PRODUCT = "Google Maps Data"


@dataclass(slots=True, eq=False)
class Request:
    """An API request: a UUID, and results inline for four hours."""

    id: str
    queries: list[str]
    created_at: float
    webhook: str | None
    outcome: Outcome = "Pending"
    done_at: float | None = None
    data: list[list[Any]] = field(default_factory=list)
    usage: int = 0

    def finish(self, now: float, outcome: Outcome) -> None:
        """End it; there is one inner array per query (§3.4 [D])."""
        self.outcome, self.done_at = outcome, now
        if outcome == "Success":
            self.data = [
                [{"query": query, "name": f"Bar {number} {self.id}"} for number in range(3)]
                for query in self.queries
            ]
            self.usage = sum(len(rows) for rows in self.data)


@dataclass(slots=True, eq=False)
class PlatformTask:
    """A platform (UI) task: results are files."""

    id: str
    number: int
    created_at: float
    updated_at: float
    metadata: Json
    tags: list[str]
    webhook: str | None
    queue_task_id: str
    status: str = "PENDING"  # the spelling of an unfinished one was not seen [?]
    restarts: int = 0

    def shown(self, *, user_id: str, file_base: str) -> Json:
        """Return the task object (§3.5 [D] S002)."""
        results: list[Json] = []
        if self.status == "SUCCESS":
            file_url = f"{file_base}/files/{self.id}.json"
            results = [
                {"product_name": PRODUCT, "file_url": file_url, "quantity": 509},
                {"product_name": "Domains", "quantity": 509},  # enrichment rows have no file
            ]
        return {
            "id": self.id,
            "user_id": user_id,
            "status": self.status,
            "created": _local(self.created_at),
            "updated": _local(self.updated_at),
            "queue_task_id": self.queue_task_id,
            "metadata": self.metadata,
            "results": results,
        }


class Ids:
    """Makes ids of the provider's shapes (§3.2)."""

    def __init__(self) -> None:
        self._random = random.Random()
        self._number = 0

    def request_id(self) -> str:
        """Return a UUID."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def task_id(self, now: float) -> tuple[str, int]:
        """Return yyyymmddhhmmss and 4 hex digits, and the running number that it has."""
        self._number += 1
        moment = datetime.fromtimestamp(now, UTC)
        return f"{moment:%Y%m%d%H%M%S}{self._number % 0x10000:04x}", self._number


def _local(at: float) -> str:
    # §3.5: without a zone.
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")

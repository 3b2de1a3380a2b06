"""Tasks as the provider keeps them, from task_post until their results expire."""

import random
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.tools.simulators.dataforseo.catalogue import Function
from tests.tools.simulators.server import Json


@dataclass(slots=True, eq=False)
class Task:
    """One task."""

    id: str
    function: Function
    # What was posted, without what the provider adds.
    posted: Json
    posted_at: float
    # Whose it is; the ids of other clients are answered 40001.
    ours: bool = True
    # The path it was posted to ends in ``live``: never listed, never delivered, not stored.
    live: bool = False
    webhook_delay_ms: int = 0
    done_at: float | None = None
    status: int = 20000
    # What a test wants as the result, by datatype; otherwise it is made from the id.
    results: dict[str | None, list[Any]] = field(default_factory=dict)
    force_stopped: bool = False
    # How often task_get has been called for it.
    asked: int = 0
    collected_at: float | None = None
    cost: float = 0.0006

    @property
    def tag(self) -> str | None:
        """The user's tag."""
        tag = self.posted.get("tag")
        return tag if isinstance(tag, str) else None

    @property
    def postback_datatype(self) -> str | None:
        """The datatype that a postback carries."""
        chosen = self.posted.get("postback_data")
        return chosen if isinstance(chosen, str) else self.function.main_datatype

    def data(self, function: str) -> Json:
        """Return `data`: what was posted, callback URLs included, and what it was posted to."""
        # providers.md §1.1, §1.3 [D]/[C]
        head: Json = {"api": self.function.api, "function": function}
        if self.function.se:
            head |= {"se": self.function.se, "se_type": self.function.se_type}
        return head | self.posted


class Tasks:
    """All tasks by id, and per API in the order in which they were posted."""

    def __init__(self) -> None:
        self._by_id: dict[str, Task] = {}
        self._by_api: dict[str, list[Task]] = {}
        self._random = random.Random()
        self._number = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, task_id: str) -> Task | None:
        """Return a task."""
        return self._by_id.get(task_id)

    def all(self) -> list[Task]:
        """Return every task, in the order in which they were posted."""
        return list(self._by_id.values())

    def add(self, task: Task) -> None:
        """Keep a task; another client's is found by its id only."""
        self._by_id[task.id] = task
        if not task.ours:
            return
        posted = self._by_api.setdefault(task.function.api, [])
        if posted and posted[-1].posted_at > task.posted_at:
            posted.insert(bisect_left(posted, task.posted_at, key=_posted_at), task)
        else:
            posted.append(task)

    def between(self, api: str, start: float, end: float) -> list[Task]:
        """Return the tasks of an API that were posted in a span of time, both ends included."""
        posted = self._by_api.get(api, [])
        first = bisect_left(posted, start, key=_posted_at)
        last = bisect_left(posted, end + 1e-6, key=_posted_at)
        return posted[first:last]

    def new_id(self, at: float) -> str:
        """Return an id of the provider's shape: four groups of digits, a tail of hex."""
        # providers.md §1.1: 8-4-4-4-12; the first group is the time in a +02/+03 zone [I].
        moment = datetime.fromtimestamp(at, UTC)
        moment += timedelta(hours=3 if 4 <= moment.month <= 10 else 2)
        self._number += 1
        tail = f"{self._random.getrandbits(28):07x}{self._number % 0xFFFFF:05x}"
        return f"{moment:%m%d%H%M}-1535-{self._random.randrange(60, 700):04d}-0000-{tail}"


def _posted_at(task: Task) -> float:
    return task.posted_at

"""The journal of a sweep: tasks are recorded in the bucket before they are fetched.

    sweeps/unfinished/<provider>/<id of the sweep>-<n>.json     {"tasks": [{"task_id": …, …}]}

Each object holds a list of tasks.  Collecting a task can take it off the provider's own list; a
recorded task outlives the process that was to fetch it, and a later sweep on any instance fetches
what the archive still lacks.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated

import msgspec

from receiver import clock
from receiver.errors import Damaged
from receiver.store import Store

# Providers keep results for at most thirty days, so nothing older can be fetched.
DAYS_BACK = 31
_NAME = re.compile(rf"{clock.ID}-[0-9]+\.json")


class MissingTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task whose result is missing: where to fetch it, and what the report says about it."""

    task_id: str
    path: str
    tag: str | None = None
    why: str | None = None
    # The paths of all its datatypes, by datatype.
    endpoints: Mapping[str, str] | None = None
    # Since when it has been missing, in microseconds.
    since_us: Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)] | None = None
    # Its notification came, so only the result is missing; stored under its former name.
    notified: bool = msgspec.field(default=False, name="told")

    @property
    def missing_seconds(self) -> float | None:
        """How long it has been missing."""
        if self.since_us is None:
            return None
        return round((clock.now_us() - self.since_us) / 1e6, 1)


class _TaskList(msgspec.Struct):
    tasks: list[MissingTask]


_LIST = msgspec.json.Decoder(_TaskList)


class Journal:
    """The recorded tasks of one provider: those of this sweep, and those that earlier sweeps left.

    Methods block, and raise `StoreError`.
    """

    def __init__(
        self, store: Store, *, provider: str, sweep: str, hide: Callable[[str], str]
    ) -> None:
        self._store = store
        self._prefix = f"sweeps/unfinished/{provider}/"
        self._sweep = sweep
        # What a provider says of a failed delivery can repeat the URL, and with it a token.
        self._hide = hide
        self._recorded: dict[str, list[MissingTask]] = {}

    def record(self, tasks: Sequence[MissingTask]) -> None:
        """Write a list of tasks; it is in the bucket on return."""
        key = f"{self._prefix}{self._sweep}-{len(self._recorded)}.json"
        self._recorded[key] = list(tasks)
        self._store.put(key, self._content(tasks))

    def keys(self) -> tuple[list[str], frozenset[str]]:
        """Return the keys of all lists, and the keys of other objects under the prefix."""
        found = [listed.key for listed in self._store.list(self._prefix)]
        lists = [key for key in found if _NAME.fullmatch(key.removeprefix(self._prefix))]
        return lists, frozenset(found).difference(lists)

    def read(self, key: str) -> list[MissingTask]:
        """Return the tasks of a list.

        Raises `Damaged` if it cannot be read, and `NotFound` if another sweep has removed it, which
        a dry run can meet.
        """
        try:
            return _LIST.decode(self._store.get(key)).tasks
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise Damaged(f"{key} cannot be read and is left in place") from exc

    def adopt(self, key: str, tasks: list[MissingTask]) -> None:
        """Make this sweep responsible for these tasks of an earlier sweep's list."""
        self._recorded[key] = tasks

    def remove(self, key: str) -> None:
        """Remove a list, because none of its tasks is missing any more."""
        self._store.delete(key)

    def drop(self, lost: Collection[str]) -> None:
        """Remove lost tasks from the lists that this sweep is responsible for."""
        for key, tasks in self._recorded.items():
            remaining = [task for task in tasks if task.task_id not in lost]
            if not remaining:
                self.remove(key)
            elif len(remaining) < len(tasks):
                self._store.put(key, self._content(remaining))

    def _content(self, tasks: Sequence[MissingTask]) -> bytes:
        """Return a list without secrets, even if an earlier sweep wrote some into it."""
        hidden = [
            msgspec.structs.replace(task, why=task.why and self._hide(task.why)) for task in tasks
        ]
        return msgspec.json.encode(_TaskList(hidden))


def is_too_old(key: str) -> bool:
    """Return whether a list is so old that no provider has its results any more."""
    made_us = clock.id_time_us(key.rpartition("/")[2])
    return clock.now_us() - made_us > DAYS_BACK * 86_400_000_000

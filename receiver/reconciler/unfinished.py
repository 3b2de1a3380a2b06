"""What is about to be fetched, written down in the bucket, so that it outlives its sweep."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import msgspec
import orjson

from receiver import clock
from receiver.errors import Damaged
from receiver.store import Store

# Results are kept for thirty days at the most, so nothing older can be missing and be had.
DAYS_BACK = 31
# The id of a sweep, and a number.
_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]+\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A task to fetch, with what its report will say."""

    task_id: str
    path: str
    tag: str | None = None
    why: str | None = None
    # Paths of its other datatypes, by datatype.
    endpoints: Mapping[str, str] | None = None
    # Since when it has been missing, in microseconds.
    since_us: int | None = None
    # Its callback came; only its result was not fetched yet.
    told: bool = False

    @property
    def missing_seconds(self) -> float | None:
        """How long it has been missing."""
        if self.since_us is None:
            return None
        return round((clock.now_us() - self.since_us) / 1e6, 1)


class _Tasks(msgspec.Struct):
    tasks: list[Wanted]


_TASKS = msgspec.json.Decoder(_Tasks)


class Unfinished:
    """A provider's lists of what sweeps, this one and earlier ones, have not fetched yet."""

    def __init__(
        self, store: Store, *, provider: str, sweep: str, hide: Callable[[str], str]
    ) -> None:
        self._store = store
        self._prefix = f"sweeps/unfinished/{provider}/"
        self._sweep = sweep
        # What a provider says of a delivery that failed can repeat the URL, and with it a token.
        self._hide = hide
        self._lists: dict[str, list[Wanted]] = {}

    def remember(self, wanted: Sequence[Wanted]) -> None:
        """Write a list of this sweep; it is in the bucket on return."""
        key = f"{self._prefix}{self._sweep}-{len(self._lists)}.json"
        self._lists[key] = list(wanted)
        self._store.put(key, self._content(wanted))

    def keys(self) -> tuple[list[str], frozenset[str]]:
        """Return the keys of all lists, and those of what else lies there."""
        keys = [found.key for found in self._store.list(self._prefix)]
        lists = [key for key in keys if _NAME.fullmatch(key.removeprefix(self._prefix))]
        return lists, frozenset(keys).difference(lists)

    def read(self, key: str) -> list[Wanted]:
        """Return the tasks of a list.

        Raises `Damaged` if it cannot be read, and `NotFound`: a dry run looks on while a sweep
        of another's ends.
        """
        try:
            return _TASKS.decode(self._store.get(key)).tasks
        except msgspec.MsgspecError as exc:
            raise Damaged(f"{key} cannot be read, and is left as it is") from exc

    def take_over(self, key: str, tasks: list[Wanted]) -> None:
        """Make this sweep answer for those tasks of an earlier one's list."""
        self._lists[key] = tasks

    def remove(self, key: str) -> None:
        """Remove a list of which nothing is lacking."""
        self._store.delete(key)

    def forget(self, lost: Collection[str]) -> None:
        """Take tasks off the lists that this sweep answers for."""
        for key, tasks in self._lists.items():
            remaining = [task for task in tasks if task.task_id not in lost]
            if not remaining:
                self.remove(key)
            elif len(remaining) < len(tasks):
                self._store.put(key, self._content(remaining))

    def _content(self, tasks: Sequence[Wanted]) -> bytes:
        """Return a list without secrets, also if an earlier sweep wrote some into it."""
        hidden = [replace(task, why=task.why and self._hide(task.why)) for task in tasks]
        return orjson.dumps({"tasks": [asdict(task) for task in hidden]})


def is_too_old(key: str) -> bool:
    """Say whether no provider has the results of a list any more."""
    made_us = clock.id_time_us(key.rpartition("/")[2])
    return clock.now_us() - made_us > DAYS_BACK * 86_400_000_000

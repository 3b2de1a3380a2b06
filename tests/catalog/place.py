"""Index objects as the shipper writes them, and a store that counts requests."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from receiver import clock
from receiver.archive import callbacks_key, index_key, members
from receiver.catalog.filters import microseconds
from receiver.store import DirectoryStore, Listed, Store

TODAY = datetime.now(UTC)
SINCE = TODAY - timedelta(days=31)


class CountingStore(DirectoryStore):
    """Counts what is read and listed, and does not wait for the disk."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._place = root
        self.gets: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self._guard = threading.Lock()

    def put(self, key: str, content: bytes) -> None:
        path = self._place / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._guard:
            self.gets[key] += 1
        return super().get(key, start=start, length=length)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        with self._guard:
            self.lists[prefix] += 1
        return super().list(prefix, after=after)


def index_line(
    segment: str, position: int, task_id: str | None, **fields: object
) -> dict[str, object]:
    """Return an entry whose place in the archive is made up."""
    line: dict[str, object] = {
        "delivery_id": clock.new_id(),
        "provider": "dataforseo",
        "kind": "postback",
        "origin": "callback",
        "task_id": task_id,
        "tag": None,
        "key": f"{task_id}:advanced",
        "status": "20000",
        "received_at": clock.rfc3339(clock.now_us()),
        "body_bytes": 7,
        "invalid": None,
        "segment": segment,
        "position": position,
        "of": 0,
        "member_offset": 0,
        "member_bytes": 10,
        "line_offset": position * 6,
        "line_bytes": 5,
        **fields,
    }
    line["object"] = callbacks_key(
        segment,
        received_at_us=clock.read_rfc3339(str(line["received_at"])),
        provider=str(line["provider"]),
        kind=str(line["kind"]),
        suffix=".jsonl.gz",
    )
    return line


def put_lines(
    store: Store, lines: list[dict[str, object]], segment: str, day: datetime = TODAY
) -> str:
    """Write an index object and return its key."""
    key = index_key(segment, first_at_us=microseconds(day))
    for line in lines:
        line["of"] = len(lines)
    content = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    store.put(key, members.INDEX.member(content))
    return key


def put_index(
    store: Store,
    tasks: Iterable[str | None],
    *,
    day: datetime = TODAY,
    number: int = 0,
    **fields: object,
) -> str:
    """Write an index object of a process of its own, and return its key."""
    segment = f"{clock.new_id()}-{number}"
    lines = [index_line(segment, position, task, **fields) for position, task in enumerate(tasks)]
    return put_lines(store, lines, segment, day)

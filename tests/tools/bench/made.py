"""An index of any size that is computed when it is asked for: the same at every run.

500 entries to an object, as many objects to a day as 10 million entries in 30 days are.  Most are
DataForSEO's, whose ids begin with the time; one in twenty has an id like Outscraper's, which says
nothing.  One in ten has the same tag, half have one of 20,000 others' tag, the rest have none.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from receiver import clock
from receiver.archive import callbacks_key, index_key, keys, members
from receiver.errors import NotFound
from receiver.store import DirectoryStore, Listed

OBJECT_ENTRIES = 500
TAG_OF_MANY = "acme|nightly"
RARE_STATUS = "40102"
_BEGIN_US = clock.read_rfc3339("2026-11-01T00:00:00.000000Z")
_STEP_US = 259_200
_PROCESS = "019a3c7e-6c00-7000-8000-000000000000"
_LINE = (
    b'{"delivery_id":"%b","provider":"%b","kind":"%b","origin":"callback","task_id":"%b",'
    b'"tag":%b,"key":"%b","status":"%b","received_at":"%b","body_bytes":%d,"invalid":%b,'
    b'"segment":"%b","position":%d,"of":500,"object":"%b","member_offset":%d,"member_bytes":61440,'
    b'"line_offset":%d,"line_bytes":%d}\n'
)


@dataclass(frozen=True, slots=True)
class Made:
    """What can be known of the entry of a number."""

    number: int

    @property
    def at_us(self) -> int:
        """When it came."""
        return _BEGIN_US + self.number * _STEP_US

    @property
    def delivery_id(self) -> str:
        """Ours."""
        return clock.new_id(self.at_us, noise=lambda bits: _scrambled(self.number) % (1 << bits))

    @property
    def task_id(self) -> str:
        """The provider's."""
        noise = f"{_scrambled(self.number):016x}"
        if self.provider == "outscraper":
            return f"{noise[:8]}-{noise[8:12]}-4{noise[12:15]}-8{noise[:3]}-{noise[3:15]}"
        return f"{_minute(self.at_us // 60_000_000)}-1535-0066-0000-{noise[:12]}"

    @property
    def provider(self) -> str:
        """Whose it is."""
        return "outscraper" if self.number % 20 == 19 else "dataforseo"

    @property
    def key(self) -> str:
        """What it is deduplicated by."""
        return self.task_id if self.provider == "outscraper" else f"{self.task_id}:advanced"

    @property
    def tag(self) -> str | None:
        """The user's."""
        if self.number % 10 == 0:
            return TAG_OF_MANY
        return f"acme|run-{self.number // 20_000}" if self.number % 10 < 6 else None

    def line(self, segment: str) -> bytes:
        """Return its line of the index."""
        at_us, task_id = self.at_us, self.task_id
        outscraper = self.provider == "outscraper"
        kind = "webhook" if outscraper else "postback"
        status = "Success" if outscraper else "20000"
        key = callbacks_key(
            segment,
            received_at_us=at_us,
            provider=self.provider,
            kind=kind,
            suffix=members.GZIP.suffix,
        )
        position = self.number % OBJECT_ENTRIES
        return _LINE % (
            self.delivery_id.encode(),
            self.provider.encode(),
            kind.encode(),
            task_id.encode(),
            b"null" if self.tag is None else f'"{self.tag}"'.encode(),
            (task_id if outscraper else f"{task_id}:advanced").encode(),
            (RARE_STATUS if self.number % 5000 == 7 else status).encode(),
            clock.rfc3339(at_us).encode(),
            38_000 + position,
            b'"not_json"' if self.number % 100_000 == 9 else b"null",
            segment.encode(),
            position,
            key.encode(),
            position // 6 * 61_440,
            position % 6 * 40_000,
            39_000 + position,
        )


class MadeStore(DirectoryStore):
    """A store that holds the index of so many entries, and nothing else."""

    def __init__(self, entries: int) -> None:
        super().__init__(Path("/nonexistent"))
        self.keys: dict[str, int] = {}
        self.grow(entries)

    def grow(self, entries: int) -> None:
        """Let there be more of them."""
        for number in range(len(self.keys), -(-entries // OBJECT_ENTRIES)):
            at_us = Made(number * OBJECT_ENTRIES).at_us
            self.keys[index_key(f"{_PROCESS}-{number}", first_at_us=at_us)] = number

    def folders(self, prefix: str) -> Iterator[str]:
        """Name the days."""
        yield from sorted({keys.day_prefix(prefix, keys.day_of(key)) for key in self.keys})

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """List the objects of a day."""
        yield from (
            Listed(key, 1) for key in sorted(self.keys) if key.startswith(prefix) and key > after
        )

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Make an object."""
        if key not in self.keys:
            raise NotFound(key)
        segment = f"{_PROCESS}-{self.keys[key]}"
        first = self.keys[key] * OBJECT_ENTRIES
        lines = (Made(number).line(segment) for number in range(first, first + OBJECT_ENTRIES))
        return members.INDEX.member(b"".join(lines))


def write(root: Path, entries: int) -> None:
    """Write the index of so many entries into a directory."""
    store = MadeStore(entries)
    for key in store.keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(key))


def _scrambled(number: int) -> int:
    """Return 60 bits that look like noise, others for each number."""
    return (number * 0x9E3779B97F4A7C15 + 0x1234567) % (1 << 64) >> 4


@functools.lru_cache(maxsize=64)
def _minute(minutes: int) -> str:
    text = clock.rfc3339(minutes * 60_000_000)
    return text[5:7] + text[8:10] + text[11:13] + text[14:16]

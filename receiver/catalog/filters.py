"""Filters: which callbacks a command is about; the same everywhere.

Times are half-open intervals in UTC: from ``since``, included, to ``until``, excluded.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_RELATIVE = re.compile(r"(\d+)([smhdw])\Z")
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Conditions that a callback must meet; None lets all pass."""

    since_us: int | None = None
    until_us: int | None = None
    provider: str | None = None
    kind: str | None = None
    origin: str | None = None
    task_id: str | None = None
    tag: str | None = None
    key: str | None = None
    status: str | None = None
    # A reason; "" for callbacks that are not invalid, "*" for any reason.
    invalid: str | None = None

    def equal(self) -> dict[str, str]:
        """Return the columns that must have a given value, and those values."""
        names = ("provider", "kind", "origin", "task_id", "tag", "key", "status")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def match(self, row: Mapping[str, Any], received_at_us: int) -> bool:
        """Say whether a row with these columns passes."""
        if self.since_us is not None and received_at_us < self.since_us:
            return False
        if self.until_us is not None and received_at_us >= self.until_us:
            return False
        if any(row[name] != value for name, value in self.equal().items()):
            return False
        if self.invalid is None:
            return True
        if self.invalid == "*":
            return row["invalid"] is not None
        return (row["invalid"] or "") == self.invalid


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``of`` parts, counted from 0; each key is in exactly one of them."""

    index: int
    of: int

    def holds(self, provider: str, key: str) -> bool:
        """Say whether a provider's key is in this part; the same on every machine."""
        return zlib.crc32(f"{provider}\0{key}".encode()) % self.of == self.index


def read_shard(text: str) -> Shard:
    """Read `I/N`.  Raises `ValueError` that says what is expected."""
    match = _SHARD.match(text)
    if match and int(match[1]) < int(match[2]):
        return Shard(int(match[1]), int(match[2]))
    raise ValueError(
        f"{text!r} is not a shard: give I/N, with I from 0 to N-1 (0/4, 1/4, 2/4, 3/4)"
    )


def read_moment(text: str, *, now: datetime) -> int:
    """Read RFC 3339, a date, or an age such as `2h`; return microseconds since 1970.

    Without a zone it is UTC.  Raises `ValueError` that says what is expected.
    """
    relative = _RELATIVE.match(text)
    try:
        if relative:
            ago = timedelta(**{_UNITS[relative[2]]: int(relative[1])})
            return microseconds(now - ago)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as exc:
        raise ValueError(
            f"{text!r} is not a time: give RFC 3339 (2026-11-21T19:00:00Z), a date or an age (2h)"
        ) from exc
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970."""
    since_1970 = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since_1970 // timedelta(microseconds=1)

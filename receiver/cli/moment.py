"""Times, as users write them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from receiver.catalog.filters import read_moment


@dataclass(frozen=True, slots=True)
class Instant:
    """A time, in microseconds since 1970, and how the user wrote it."""

    us: int
    text: str


class Moment(click.ParamType[Instant]):
    """A time as a user writes it."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Instant:
        """Parse a time, or fail with a message that says what is expected."""
        if isinstance(value, Instant):
            return value
        try:
            return Instant(read_moment(str(value), now=_now(ctx)), str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def _now(ctx: click.Context | None) -> datetime:
    """Return the time of the command, from which all of its ages are counted."""
    now = datetime.now(UTC)
    return now if ctx is None else ctx.meta.setdefault("receiver.now", now)


def check_period(since: Instant | None, until: Instant | None) -> None:
    """Raise `click.UsageError` if a period does not begin before it ends."""
    if since is not None and until is not None and since.us >= until.us:
        raise click.UsageError(f"--since {since.text} is not before --until {until.text}")


def as_datetime(microseconds: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

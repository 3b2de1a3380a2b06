"""Times as users write them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from receiver.filters import read_moment


class Moment(click.ParamType[int]):
    """A time as a user writes it, in microseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say what would be right."""
        if isinstance(value, int):
            return value
        try:
            return read_moment(str(value), now=datetime.now(UTC))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def as_datetime(microseconds: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

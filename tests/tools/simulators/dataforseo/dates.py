"""Dates as DataForSEO writes them: ``2026-08-14 10:07:11 +00:00``."""

from datetime import UTC, datetime

_FORM = "%Y-%m-%d %H:%M:%S"


def text_of(moment: float) -> str:
    """Return a moment as the provider writes it; fractions of a second are dropped."""
    return f"{datetime.fromtimestamp(int(moment), UTC):{_FORM}} +00:00"


def moment_of(text: object) -> float:
    """Return the moment of a date; raises `ValueError` for any other text."""
    if not isinstance(text, str):
        raise ValueError(f"not a date: {text!r}")
    return datetime.strptime(text, f"{_FORM} %z").timestamp()

"""Failed deliveries of DataForSEO and DataForApps, as their `/errors` list them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api as api
from receiver.reconciler.sweep_run import SweepRun

# DataForSEO keeps errors for seven days; DataForApps, and older pages, say one.
_DAYS = (7, 1)
# The clocks differ, and the provider refuses a period that begins before what it keeps.
_AHEAD = timedelta(minutes=5)

# Rows of the list by task.
Failures = Mapping[str, Mapping[str, Any]]


async def failed_deliveries(
    run: SweepRun, families: Sequence[str], own_urls: Sequence[str]
) -> Failures:
    """Return the newest failed delivery of each task to one of our URLs.

    A failed postback takes precedence over a failed pingback, because it carried the result.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name in dict.fromkeys(family.partition("/")[0] for family in families):
        for function in ("postback_url", "pingback_url"):
            for row in await _errors(run, name, function):
                task_id, url = row.get("id"), str(row.get("http_url") or "")
                if isinstance(task_id, str) and any(own in url for own in own_urls):
                    known = found.get(task_id)
                    if known is None or _takes_precedence(row, known):
                        found[task_id] = row
    return found


async def _errors(run: SweepRun, name: str, function: str) -> Sequence[Mapping[str, Any]]:
    """Return an API's failed deliveries; none, with an alarm, where it does not list them."""
    now = datetime.now(UTC)
    until = api.write_time(now + _AHEAD)
    refusal: ProviderError | None = None
    for days in _DAYS:
        since = api.write_time(now - timedelta(days=days) + _AHEAD)
        try:
            rows = await run.caller.hold(api.errors(name, function, since=since, until=until))
        except ProviderError as exc:
            refusal = exc
        else:
            run.report.alarms.extend(f"{name}: errors: {alarm}" for alarm in rows.alarms)
            return rows
    run.report.alarms.append(f"{name}: the list of errors cannot be read: {refusal}")
    return ()


def _takes_precedence(row: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    if row.get("function") != known.get("function"):
        return row.get("function") == "postback_url"
    return str(row.get("datetime")) > str(known.get("datetime"))


def reason(failure: Mapping[str, Any] | None) -> str | None:
    """Return what the provider saw, without the URL, which holds our token."""
    if failure is None:
        return None
    code, seconds = failure.get("http_code"), failure.get("http_time")
    return f"{failure.get('function')}: HTTP {code} after {seconds} s at {failure.get('datetime')}"

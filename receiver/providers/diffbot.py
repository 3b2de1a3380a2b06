"""Diffbot: the notification of a crawl or bulk job (docs.diffbot.com, "notifyWebhook").

A POST of the job's metadata, one object.  The engine speaks HTTP/1.0, begins the body with blank
lines and leaves some strings unescaped, so a body may not be JSON at all while a header still names
the job (`PingServer.cpp` of Gigablast, the engine that ran the service).
"""

from urllib.parse import quote

import msgspec

from receiver.providers.base import Entrance, Recognised, header_text, read_fields, text_of
from receiver.providers.envelope import Envelope
from receiver.providers.fields import ODD_TEXT


class _JobStatus(msgspec.Struct):
    status: int | str | float | None = None


class _Notification(msgspec.Struct):
    # Wider than documented, so that a value of another type is seen and not taken for none.
    name: str | None = None
    type: str | None = None
    jobCreationTimeUTC: int | str | float | None = None
    jobCompletionTimeUTC: int | str | float | None = None
    roundsCompleted: int | str | float | None = None
    jobStatus: _JobStatus | str | None = None
    jobs: "list[_Notification] | None" = None


_BODY = msgspec.json.Decoder(_Notification)


class Diffbot:
    """The adapter of crawl and bulk notifications."""

    name = "diffbot"
    entrances = (Entrance(kind="notification", method="POST", parameter="notifyWebhook"),)

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Return the job, and which of its rounds, that a notification is about."""
        name = header_text(envelope.header("x-crawl-name"))
        job, invalid = read_fields(body, _BODY, whole=whole)
        if job.jobs:
            job = job.jobs[0]  # the shape of the API's list, in case it is ever sent
        complete = invalid in (None, ODD_TEXT)
        if complete and job.name is None and job.jobStatus is None:
            return Recognised(task_id=name, invalid="unknown_kind")
        name = job.name or name
        status = text_of(job.jobStatus.status if isinstance(job.jobStatus, _JobStatus) else None)
        if not _is_documented(job):
            return Recognised(task_id=name, status=status, invalid=invalid or "unknown_kind")
        return Recognised(
            task_id=name,
            key=_key(job, name, status) if name and (complete or _has_key(job)) else None,
            status=status,
            invalid=invalid or (None if name else "missing_id"),
        )


def _is_documented(job: _Notification) -> bool:
    """Return whether what the key is made of has the types that are documented."""
    numbers = (job.jobCreationTimeUTC, job.jobCompletionTimeUTC, job.roundsCompleted)
    return not isinstance(job.jobStatus, str) and all(
        number is None or (not isinstance(number, str) and number == number // 1)
        for number in numbers
    )


def _has_key(job: _Notification) -> bool:
    """Return whether everything that the key is made of was read."""
    parts = (job.type, job.name, job.jobCreationTimeUTC, job.roundsCompleted)
    return None not in (*parts, job.jobStatus, job.jobCompletionTimeUTC)


def _key(job: _Notification, name: str, status: str | None) -> str:
    """Return a key that tells rounds, restarts and jobs of one name apart.

    A notification has no id of its own.  `currentTime` and the counters change from call to call,
    so they are not part of it.
    """
    parts = (
        job.type,
        quote(name, safe=""),
        text_of(job.jobCreationTimeUTC),
        text_of(job.roundsCompleted),
        status,
        text_of(job.jobCompletionTimeUTC),
    )
    return ":".join(part or "" for part in parts)

"""Diffbot: the notification of a crawl or bulk job (docs.diffbot.com, "notifyWebhook").

A POST of the job's metadata, one object.  The engine speaks HTTP/1.0, begins the body with blank
lines and leaves some strings unescaped, so a body may not be JSON at all while a header still names
the job (`PingServer.cpp` of Gigablast, the engine that ran the service).
"""

from urllib.parse import quote

import msgspec

from receiver.providers.base import Entrance, Recognised, UnreadableBody, header_text, read_json
from receiver.providers.envelope import Envelope


class _JobStatus(msgspec.Struct):
    status: int | str | None = None


class _Notification(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    jobCreationTimeUTC: int | None = None
    jobCompletionTimeUTC: int | None = None
    roundsCompleted: int | None = None
    jobStatus: _JobStatus | None = None
    jobs: "list[_Notification] | None" = None


_BODY = msgspec.json.Decoder(_Notification)


class Diffbot:
    """The adapter of crawl and bulk notifications."""

    name = "diffbot"
    entrances = (Entrance(kind="notification", method="POST", parameter="notifyWebhook"),)

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Return the job, and which of its rounds, that a notification is about."""
        name = header_text(envelope.header("x-crawl-name"))
        try:
            job = read_json(body, _BODY)
        except UnreadableBody as exc:
            return Recognised(task_id=name, invalid=str(exc))
        if job.jobs:
            job = job.jobs[0]  # the shape of the API's list, in case it is ever sent
        if job.name is None and job.jobStatus is None:
            return Recognised(task_id=name, invalid="unknown_kind")
        name = job.name or name
        status = job.jobStatus.status if job.jobStatus else None
        return Recognised(
            task_id=name,
            key=_key(job, name, status) if name else None,
            status=None if status in (None, "") else str(status),
            invalid=None if name else "missing_id",
        )


def _key(job: _Notification, name: str, status: int | str | None) -> str:
    """Return a key that tells rounds, restarts and jobs of one name apart.

    A notification has no id of its own.  `currentTime` and the counters change from call to call,
    so they are not part of it.
    """
    parts = (
        job.type,
        quote(name, safe=""),
        job.jobCreationTimeUTC,
        job.roundsCompleted,
        status,
        job.jobCompletionTimeUTC,
    )
    return ":".join("" if part is None else str(part) for part in parts)

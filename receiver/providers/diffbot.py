"""Diffbot: the notification of a crawl or bulk job (docs.diffbot.com, "notifyWebhook").

A POST of the job's metadata, one object; the engine speaks HTTP/1.0 and begins the body with
blank lines, and some of its strings are not escaped, so a body may be no JSON at all while its
header still names the job (`PingServer.cpp` of Gigablast, the engine that ran the service).
"""

from urllib.parse import quote

import msgspec

from receiver.providers.base import Entrance, Recognised, UnreadableBody, header_text, read_json
from receiver.providers.envelope import Envelope


class _Status(msgspec.Struct):
    status: int | str | None = None


class _Job(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    jobCreationTimeUTC: int | None = None
    jobCompletionTimeUTC: int | None = None
    roundsCompleted: int | None = None
    jobStatus: _Status | None = None
    jobs: "list[_Job] | None" = None


_BODY = msgspec.json.Decoder(_Job)


class Diffbot:
    """The adapter of crawl and bulk notifications."""

    name = "diffbot"
    entrances = (Entrance(kind="notification", method="POST", parameter="notifyWebhook"),)

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Say which job, and which of its rounds, a notification is about."""
        name = header_text(envelope.header("x-crawl-name"))
        try:
            job = read_json(body, _BODY)
        except UnreadableBody as exc:
            return Recognised(task_id=name, invalid=str(exc))
        if job.jobs:
            job = job.jobs[0]  # the shape of the list call, should it ever be sent
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


def _key(job: _Job, name: str, status: int | str | None) -> str:
    """Tell rounds, restarts and namesakes apart; a notification has no id of its own.

    `currentTime` and the counters change from call to call, so they stay out.
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

"""Outscraper: the webhook of a finished request or task.

A POST of a notification, not of the data: id, status, and where to fetch the data.  It may be
signed with `X-Hub-Signature-256`, an HMAC-SHA256 of the raw body with the account's API key
(outscraper.com, "How to verify webhook request", 2026-04-08).
"""

from urllib.parse import unquote

import msgspec

from receiver.providers.base import Entrance, Recognised, UnreadableBody, read_json
from receiver.providers.envelope import Envelope


class _Webhook(msgspec.Struct):
    id: str | int | None = None
    status: str | int | None = None


_WEBHOOK = msgspec.json.Decoder(_Webhook)


class Outscraper:
    """The adapter of request and task webhooks."""

    name = "outscraper"
    entrances = (
        Entrance(
            kind="webhook",
            method="POST",
            parameter="webhook",
            signature_header=b"x-hub-signature-256",
        ),
    )

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Return the request or task that a webhook is about."""
        if envelope.kind == "result":
            return _result(envelope.target, body)
        try:
            read = read_json(body, _WEBHOOK)
        except UnreadableBody as exc:
            return Recognised(invalid=str(exc))
        status = None if read.status in (None, "") else str(read.status)
        if read.id in (None, ""):
            invalid = "unknown_kind" if status is None else "missing_id"
            return Recognised(status=status, invalid=invalid)
        task_id = str(read.id)
        return Recognised(task_id=task_id, key=task_id, status=status)


def _result(target: str, body: bytes | None) -> Recognised:
    """Recognise a result that was fetched at ``target``; a failure may have no body."""
    task_id = unquote(target.rpartition("/")[2])
    # The notification and the result that it announces are different things.
    key = f"{task_id}:result"
    if body == b"":
        return Recognised(task_id=task_id, key=key, status="Failure")
    try:
        read = read_json(body, _WEBHOOK)
    except UnreadableBody as exc:
        return Recognised(task_id=task_id, key=key, invalid=str(exc))
    status = None if read.status is None else str(read.status)
    return Recognised(task_id=task_id, key=key, status=status)

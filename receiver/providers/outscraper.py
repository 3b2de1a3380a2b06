"""Outscraper: the webhook of a finished request or task.

A POST of a notification, not of the data: id, status, and where to fetch the data.  It may be
signed with `X-Hub-Signature-256`, an HMAC-SHA256 of the raw body with the account's API key
(outscraper.com, "How to verify webhook request", 2026-04-08).
"""

from urllib.parse import unquote

import msgspec

from receiver.providers.base import Entrance, Recognised, read_fields, text_of
from receiver.providers.envelope import Envelope
from receiver.providers.fields import ODD_TEXT


class _Webhook(msgspec.Struct):
    id: str | int | float | None = None
    status: str | int | float | None = None


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
        read, invalid = read_fields(body, _WEBHOOK, whole=whole)
        if envelope.kind == "result":
            return _result(envelope.target, body, read, invalid)
        task_id, status = text_of(read.id), text_of(read.status)
        if task_id is None and invalid in (None, ODD_TEXT):
            invalid = "unknown_kind" if status is None else "missing_id"
        return Recognised(task_id=task_id, key=task_id, status=status, invalid=invalid)


def _result(target: str, body: bytes | None, read: _Webhook, invalid: str | None) -> Recognised:
    """Recognise a result that was fetched at ``target``; a failure may have no body."""
    task_id = unquote(target.rpartition("/")[2])
    # The notification and the result that it announces are different things.
    key = f"{task_id}:result"
    if body == b"":
        return Recognised(task_id=task_id, key=key, status="Failure")
    found, status = text_of(read.id), text_of(read.status)
    if found is not None and found != task_id:
        invalid = "other_task"
    elif found is None and status is None and invalid in (None, ODD_TEXT):
        invalid = "unknown_kind"
    return Recognised(task_id=task_id, key=key, status=status, invalid=invalid)

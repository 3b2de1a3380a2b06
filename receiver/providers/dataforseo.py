"""DataForSEO and DataForApps: postbacks and pingbacks of API v3.

Both brands share paths, envelope and behaviour (docs.dataforseo.com/v3, docs.dataforapps.com).  A
postback is a POST of the task's result, gzip, in the envelope of the matching task_get; a pingback
is a GET that says only that a task is done.
"""

import re
from dataclasses import replace
from urllib.parse import unquote

import msgspec

from receiver.providers.base import (
    Entrance,
    Recognised,
    placeholder,
    query_of,
    read_fields,
    text_of,
    undo_second_encoding,
)
from receiver.providers.envelope import Envelope
from receiver.providers.fields import ODD_TEXT

_QUERY = "?id=$id&tag=$tag"


class _PostedData(msgspec.Struct):
    tag: str | int | float | None = None
    postback_data: str | None = None


class _PostbackTask(msgspec.Struct):
    id: str | int | float | None = None
    status_code: int | str | float | None = None
    data: _PostedData | None = None


class _Postback(msgspec.Struct):
    status_code: int | str | float | None = None
    tasks: list[_PostbackTask] | None = None


_POSTBACK = msgspec.json.Decoder(_Postback)

# A collected result's path names its datatype; OnPage has a summary.
_DATATYPE = re.compile(r"/(?:task_get/)?(regular|advanced|html|json|summary)/[^/]+\Z")


class DataForSeo:
    """The adapter of both brands, which differ only in name."""

    entrances = (
        Entrance(kind="postback", method="POST", parameter="postback_url", query=_QUERY),
        Entrance(
            kind="pingback",
            method="GET",
            parameter="pingback_url",
            query=_QUERY,
            path_follows=True,
            needs_id=True,
        ),
    )

    def __init__(self, name: str) -> None:
        self.name = name

    def recognise(self, envelope: Envelope, body: bytes | None, *, whole: bool) -> Recognised:
        """Return the task that a postback or pingback is about.

        The id and tag in the body take precedence over those in the query, which were encoded once
        or twice.
        """
        if envelope.kind == "result":
            return _collected(envelope.target, body, whole=whole)
        query = query_of(envelope.target)
        task_id = placeholder(query.get("id"), "$id")
        tag = placeholder(query.get("tag"), "$tag")
        if tag is not None:
            tag = undo_second_encoding(tag)
        if envelope.kind == "pingback":
            key = f"{task_id}:pingback" if task_id else None
            return Recognised(task_id=task_id, tag=tag, key=key)
        return _postback(*read_fields(body, _POSTBACK, whole=whole), task_id, tag)


def _collected(target: str, body: bytes | None, *, whole: bool) -> Recognised:
    """Recognise a result that was collected at ``target``; its key is that of the postback."""
    task_id = unquote(target.rpartition("/")[2])
    datatype = _DATATYPE.search(target)
    key = f"{task_id}:{datatype[1]}" if datatype else task_id
    found = _postback(*read_fields(body, _POSTBACK, whole=whole), task_id, None)
    if found.task_id != task_id:
        return replace(found, task_id=task_id, key=key, invalid="other_task")
    return replace(found, key=key)


def _postback(
    read: _Postback, invalid: str | None, task_id: str | None, tag: str | None
) -> Recognised:
    """Return what an envelope says; ``task_id`` and ``tag`` where it does not say them."""
    complete = invalid in (None, ODD_TEXT)
    if not read.tasks:
        if complete:
            # An error of the whole provider has `tasks: null`; anything else is not its envelope.
            invalid = "unknown_kind" if read.status_code is None else "no_task"
        status = text_of(read.status_code) if complete else None
        return Recognised(task_id=task_id, tag=tag, key=task_id, status=status, invalid=invalid)
    task = read.tasks[0]
    data = task.data or _PostedData()
    task_id = text_of(task.id) or task_id
    # The datatype is part of the key: one task can be delivered as regular, advanced and html.
    key = f"{task_id}:{data.postback_data}" if task_id and data.postback_data else task_id
    return Recognised(
        task_id=task_id,
        tag=text_of(data.tag) or tag,
        key=key,
        status=text_of(task.status_code),
        invalid=invalid or (None if task_id else "missing_id"),
    )

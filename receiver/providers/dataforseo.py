"""DataForSEO and DataForApps: postbacks and pingbacks of API v3.

Both brands share paths, envelope and behaviour (docs.dataforseo.com/v3, docs.dataforapps.com).  A
postback is a POST of the task's result, gzip, in the envelope of the matching task_get; a pingback
is a GET that says only that a task is done.
"""

import re
from dataclasses import replace

import msgspec

from receiver.providers.base import (
    Entrance,
    Recognised,
    UnreadableBody,
    placeholder,
    query_of,
    read_json,
    undo_second_encoding,
)
from receiver.providers.dataforseo_api.answer import before_result
from receiver.providers.envelope import Envelope

_QUERY = "?id=$id&tag=$tag"


class _PostedData(msgspec.Struct):
    tag: str | int | None = None
    postback_data: str | None = None


class _PostbackTask(msgspec.Struct):
    id: str | int | None = None
    status_code: int | str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Postback(msgspec.Struct):
    status_code: int | str | None = None
    tasks: list[_PostbackTask] | None = None


_POSTBACK = msgspec.json.Decoder(_Postback)
_DATA = msgspec.json.Decoder(_PostedData)

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
        try:
            read = _read(body, whole=whole)
        except UnreadableBody as exc:
            return Recognised(task_id=task_id, tag=tag, key=task_id, invalid=str(exc))
        return _postback(read, task_id, tag)


def _collected(target: str, body: bytes | None, *, whole: bool) -> Recognised:
    """Recognise a result that was collected at ``target``; its key is that of the postback."""
    task_id = target.rpartition("/")[2]
    datatype = _DATATYPE.search(target)
    key = f"{task_id}:{datatype[1]}" if datatype else task_id
    try:
        read = _read(body, whole=whole)
    except UnreadableBody as exc:
        return Recognised(task_id=task_id, key=key, invalid=str(exc))
    return replace(_postback(read, task_id, None), key=key)


def _read(body: bytes | None, *, whole: bool) -> _Postback:
    return read_json(body if whole or body is None else before_result(body), _POSTBACK)


def _postback(read: _Postback, task_id: str | None, tag: str | None) -> Recognised:
    if not read.tasks:
        # An error of the whole provider has `tasks: null`; anything else is not its envelope.
        invalid = "unknown_kind" if read.status_code is None else "no_task"
        return Recognised(
            task_id=task_id, tag=tag, key=task_id, status=_text(read.status_code), invalid=invalid
        )
    task = read.tasks[0]
    try:
        data = _DATA.decode(task.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        data = _PostedData()  # `data` repeats what was posted, so its types are the user's
    task_id = _text(task.id) or task_id
    # The datatype is part of the key: one task can be delivered as regular, advanced and html.
    key = f"{task_id}:{data.postback_data}" if task_id and data.postback_data else task_id
    return Recognised(
        task_id=task_id,
        tag=_text(data.tag) or tag,
        key=key,
        status=_text(task.status_code),
        invalid=None if task_id else "missing_id",
    )


def _text(value: str | int | None) -> str | None:
    return None if value is None or value == "" else str(value)

"""DataForSEO and DataForApps: postbacks and pingbacks of API v3.

Both brands share hosts' paths, envelope and manners (docs.dataforseo.com/v3, docs.dataforapps.com).
A postback is a POST of the task's result, gzip, in the envelope of the matching task_get; a
pingback is a GET that says no more than that a task is done.
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
from receiver.providers.envelope import Envelope

_QUERY = "?id=$id&tag=$tag"


class _Data(msgspec.Struct):
    tag: str | int | None = None
    postback_data: str | None = None


class _Task(msgspec.Struct):
    id: str | int | None = None
    status_code: int | str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Body(msgspec.Struct):
    status_code: int | str | None = None
    tasks: list[_Task] | None = None


_BODY = msgspec.json.Decoder(_Body)
_DATA = msgspec.json.Decoder(_Data)

# Where a collected result stands in the API says what it is; OnPage has a summary.
_DATATYPE = re.compile(r"/(?:task_get/)?(regular|advanced|html|json|summary)/[^/]+\Z")

# An unescaped key, so not a text inside a string: there its quotes would be escaped.
_RESULT = re.compile(rb'(?<!\\)"result"\s*:')


class DataForSeo:
    """The adapter of both brands; they differ in name only."""

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
        """Say which task a postback or pingback is about.

        The body's own id and tag win over the query's, which went through one or two encodings.
        """
        if envelope.kind == "result":
            return _result(envelope.target, body, whole=whole)
        query = query_of(envelope.target)
        task_id = placeholder(query.get("id"), "$id")
        tag = placeholder(query.get("tag"), "$tag")
        if tag is not None:
            tag = undo_second_encoding(tag)
        if envelope.kind == "pingback":
            key = f"{task_id}:pingback" if task_id else None
            return Recognised(task_id=task_id, tag=tag, key=key)
        try:
            read = read_json(body if whole else _beginning(body), _BODY)
        except UnreadableBody as exc:
            return Recognised(task_id=task_id, tag=tag, key=task_id, invalid=str(exc))
        return _postback(read, task_id, tag)


def _result(target: str, body: bytes | None, *, whole: bool) -> Recognised:
    """Recognise what a sweep collected at ``target``, with the key that a postback has."""
    task_id = target.rpartition("/")[2]
    datatype = _DATATYPE.search(target)
    key = f"{task_id}:{datatype[1]}" if datatype else task_id
    try:
        read = read_json(body if whole else _beginning(body), _BODY)
    except UnreadableBody as exc:
        return Recognised(task_id=task_id, key=key, invalid=str(exc))
    return replace(_postback(read, task_id, None), key=key)


def _postback(read: _Body, task_id: str | None, tag: str | None) -> Recognised:
    if not read.tasks:
        # A hard error of the provider has `tasks: null`; anything else is not its envelope.
        invalid = "unknown_kind" if read.status_code is None else "no_task"
        return Recognised(
            task_id=task_id, tag=tag, key=task_id, status=_text(read.status_code), invalid=invalid
        )
    task = read.tasks[0]
    try:
        data = _DATA.decode(task.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        data = _Data()  # `data` repeats what was posted, so its types and bytes are the user's
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


def _beginning(body: bytes | None) -> bytes | None:
    """Make JSON of the beginning of a body: all that stands before the result itself."""
    found = _RESULT.search(body or b"")
    return body[: found.end()] + b"null}]}" if body and found else body


def _text(value: str | int | None) -> str | None:
    return None if value is None or value == "" else str(value)

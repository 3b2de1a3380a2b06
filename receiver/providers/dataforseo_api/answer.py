"""The envelope of every reply of API v3: a status code, and tasks with codes and results of theirs.

Raises `ProviderError` for a reply that is not such an envelope, or whose code is not a success.
"""

import re
from datetime import datetime

import msgspec

from receiver.errors import ProviderError
from receiver.providers import lenient_rows
from receiver.providers.conversation import Reply
from receiver.providers.fields import read_fields
from receiver.providers.lenient_rows import Rows

_TIME = "%Y-%m-%d %H:%M:%S +00:00"
# A key, not text inside a string: there its quotes would be escaped.
_RESULT = re.compile(rb'(?<!\\)"result"\s*:')


class ApiTask(msgspec.Struct):
    """One task of a reply; ``data`` repeats what was posted."""

    id: str | None = None
    status_code: int | None = None
    status_message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")


class ApiAnswer(msgspec.Struct):
    """A reply that was read whole."""

    status_code: int
    status_message: str | None = None
    tasks: list[ApiTask] | None = None


class _TaskCodes(msgspec.Struct):
    status_code: int | None = None


class _Codes(msgspec.Struct):
    status_code: int | None = None
    tasks: list[_TaskCodes] | None = None


_ANSWER = msgspec.json.Decoder(ApiAnswer)
_CODES = msgspec.json.Decoder(_Codes)


def read_answer(reply: Reply) -> ApiAnswer:
    """Return a reply's envelope, whose code is a success."""
    try:
        answer = _ANSWER.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProviderError(
            f"the API answered HTTP {reply.status} with something that is not its JSON envelope"
        ) from exc
    if not is_success(answer.status_code):
        raise _refusal(answer)
    return answer


def read_rows(reply: Reply) -> Rows:
    """Return the rows of all tasks' results that are objects."""
    rows = read_results(reply)
    return Rows((row for row in rows if isinstance(row, dict)), rows.odd)


def read_results(reply: Reply) -> Rows:
    """Return the rows of all tasks' results, whatever they are; a null result has none.

    Where a strict parser refuses the reply, its rows are read one by one.
    """
    try:
        answer = _ANSWER.decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _rows_one_by_one(reply)
    if not is_success(answer.status_code):
        raise _refusal(answer)
    rows = Rows()
    for task in answer.tasks or ():
        if task.status_code is not None and not is_success(task.status_code):
            raise _refusal(task)
        try:
            result = msgspec.json.decode(task.result)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _rows_one_by_one(reply)
        if not isinstance(result, list | None):
            raise ProviderError("the API answered a result of an unknown shape")
        rows.extend(result or ())
    return rows


def _rows_one_by_one(reply: Reply) -> Rows:
    code, of_tasks = read_codes(reply)
    rows = None if code is None else lenient_rows.read_rows(reply.content, "result")
    if rows is None or code is None:
        raise ProviderError(
            f"the API answered HTTP {reply.status} with something that is not its JSON envelope"
        )
    for answered in (code, *of_tasks):
        if answered is not None and not is_success(answered):
            raise ProviderError(f"the API answered {answered}")
    return rows


def read_codes(reply: Reply) -> tuple[int | None, list[int | None]]:
    """Return the codes of a reply and of its tasks, which stand before the first result.

    The reply need not be whole.  Without an envelope, there are no codes.
    """
    codes, _ = read_fields(before_result(reply.content), _CODES)
    return codes.status_code, [task.status_code for task in codes.tasks or ()]


def before_result(body: bytes) -> bytes:
    """Return what stands before the first result of an envelope, closed so that it is JSON.

    ``body`` may be only the beginning of the envelope.  A body without a result is returned as it
    is.
    """
    found = _RESULT.search(body)
    return body[: found.end()] + b"null}]}" if found else body


def is_success(code: int) -> bool:
    """Return whether a code of an envelope or a task is a success."""
    return 20000 <= code < 30000


def code_and_message(code: int | None, message: str | None) -> str:
    """Return a code and its message as one text."""
    return f"{code} {message or ''}".strip()


def _refusal(answered: ApiAnswer | ApiTask) -> ProviderError:
    code = code_and_message(answered.status_code, answered.status_message)
    return ProviderError(f"the API answered {code}")


def text_or_none(value: object) -> str | None:
    """Return a value that is non-empty text, None for any other."""
    return value if isinstance(value, str) and value else None


def write_time(moment: datetime) -> str:
    """Return a moment in UTC as the API writes it."""
    return moment.strftime(_TIME)


def read_time(text: object) -> datetime | None:
    """Return the moment that the API wrote, None if the value is not one."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None

"""What task_post accepts (providers.md §1.1, §1.4, §1.16)."""

from typing import Any

import orjson

from tests.tools.simulators.dataforseo.catalogue import Function
from tests.tools.simulators.dataforseo.envelope import Refusal
from tests.tools.simulators.server import Json

TAG_CHARACTERS_MAX = 255  # §1.2 [D]


def read_array(body: bytes, *, objects_max: int) -> list[Json]:
    """Return the objects of a POST body; raises `Refusal` for anything but an array of them."""
    if not body.strip():
        raise Refusal(40502)
    try:
        read: Any = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Refusal(40503) from exc
    # §1.1 [D]: an array.  §1.15's own samples post an object of numbered objects: {"0": {…}}.
    if isinstance(read, dict) and read and all(key.isdigit() for key in read):
        read = list(read.values())
    if not isinstance(read, list) or not all(isinstance(item, dict) for item in read):
        raise Refusal(40503, "an array of objects is expected")
    if not read:
        raise Refusal(40502)
    if len(read) > objects_max:
        raise Refusal(40006)
    # The official client writes null for every field that was not set.
    return [{name: value for name, value in item.items() if value is not None} for item in read]


def objection(function: Function, posted: Json) -> tuple[int, str] | None:
    """Return the code and field for which a task is refused, or None if it is accepted."""
    tag = posted.get("tag")
    if tag is not None and not (isinstance(tag, str) and len(tag) <= TAG_CHARACTERS_MAX):
        return 40501, "tag"
    if function.path == "on_page" and not isinstance(posted.get("target"), str):
        return 40501, "target"
    for name, taken in (
        ("postback_url", function.takes_postback),
        ("postback_data", bool(function.postback_data)),
        ("pingback_url", function.takes_pingback),
    ):
        if name in posted and not taken:
            return 40506, name  # §1.4 [D] lists no such parameter; the code is [I]
        if name in posted and not isinstance(posted[name], str):
            return 40501, name
    return _postback_data(function, posted)


def _postback_data(function: Function, posted: Json) -> tuple[int, str] | None:
    if not function.postback_data:
        return None
    # §1.3 [D]: required together with postback_url where the endpoint has it.
    required = "postback_url" in posted
    if (required or "postback_data" in posted) and (
        posted.get("postback_data") not in function.postback_data
    ):
        return 40501, "postback_data"
    return None

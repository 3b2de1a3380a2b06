"""A line of a callbacks object: flat, with columns and types that never vary.

`body` is the decoded body where it is UTF-8 text, exactly its characters; otherwise `body_base64`
holds the bytes.  One column of text keeps one schema for all providers.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from receiver import clock
from receiver.archive.body import Body
from receiver.providers import Recognised
from receiver.providers.envelope import Envelope

# Bytes of a body encoded at a time: a multiple of three, so that base64 pieces join.
_BASE64_BYTES = 192 << 10


def columns(
    envelope: Envelope, body: Body, recognised: Recognised
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns before `body` and those behind `body_base64`, in order."""
    before = {
        "delivery_id": envelope.delivery_id,
        "provider": envelope.provider,
        "kind": envelope.kind,
        "origin": envelope.origin,
        "task_id": recognised.task_id,
        "tag": recognised.tag,
        "key": recognised.key,
        "status": recognised.status,
        "received_at": clock.rfc3339(envelope.received_at_us),
        "method": envelope.method,
        "target": envelope.target,
        "headers": envelope.headers,
        "peer": envelope.peer,
        "content_type": envelope.header("content-type"),
    }
    behind = {
        "body_bytes": body.size,
        "wire_bytes": len(body.wire),
        "wire_sha256": hashlib.sha256(body.wire).hexdigest(),
        "invalid": body.invalid or recognised.invalid,
        "instance": envelope.instance,
    }
    return before, behind


def whole(before: dict[str, Any], body: Body, behind: dict[str, Any]) -> bytes:
    """Return the line of a body that is held whole, with its newline."""
    encoded = None if body.is_text else base64.b64encode(body.content).decode()
    line = before | {"body": body.text, "body_base64": encoded} | behind
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def pieces(before: dict[str, Any], body: Body, behind: dict[str, Any]) -> Iterator[bytes]:
    """Yield the same line in pieces, in memory bounded by a step of the body."""
    yield orjson.dumps(before)[:-1]
    if body.is_text:
        yield b',"body":"'
        yield from _text_pieces(body)
        yield b'","body_base64":null,'
    else:
        yield b',"body":null,"body_base64":"'
        yield from _base64_pieces(body)
        yield b'",'
    yield orjson.dumps(behind, option=orjson.OPT_APPEND_NEWLINE)[1:]


def _text_pieces(body: Body) -> Iterator[bytes]:
    rest = b""
    for step in body.steps():
        content = rest + step
        # A character may lie across two steps.
        cut = _last_whole_character(content)
        rest = content[cut:]
        yield orjson.dumps(content[:cut].decode())[1:-1]
    assert not rest, "judged to be UTF-8"


def _last_whole_character(content: bytes) -> int:
    """Return where the last character that may be incomplete begins, or the end."""
    for back in range(1, min(4, len(content)) + 1):
        byte = content[-back]
        if byte & 0xC0 == 0x80:
            continue  # within a character
        wanted = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return len(content) if wanted == back else len(content) - back
    return len(content)


def _base64_pieces(body: Body) -> Iterator[bytes]:
    rest = b""
    for step in body.steps():
        rest += step
        cut = len(rest) - len(rest) % _BASE64_BYTES
        yield base64.b64encode(rest[:cut])
        rest = rest[cut:]
    yield base64.b64encode(rest)

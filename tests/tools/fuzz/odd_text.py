"""Odd text in every string that a provider sends: bodies, queries and headers of the samples.

Each callback is sent to a real receiver.  It must be answered 200 and be in the archive byte for
byte, with a known reason, and with the task's id and tag where they stand before the oddity, or
where the query has them.
"""

import base64
import gzip
import hashlib
import random
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.tools.fuzz import requests
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.samples import API_KEY, signature
from tests.tools.support.server import Receiver

_SAMPLES = Path(__file__).parents[2] / "samples"
_REASONS = {
    *(None, "odd_text", "not_json", "unknown_kind", "missing_id", "no_task", "empty"),
    *("too_long", "undecodable", "not_gzip"),
}
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')
# Put into a string, each leaves the document such that its grammar can be followed.
_IN_STRINGS = (
    *(b"\\ud83d", b"\\udc00\\ud800", b"\xfc", b"\xed\xa0\xbd", b"\xff", b"\x00", b"\x1b[2J"),
    *(b"\n", b"\r\n", b"\t", b"\x7f", b"\\x", b"\\u12", b"\xe2\x80\xae", b"\\u0000", b"\\u009b2J"),
)
_IN_PLACE_OF_VALUES = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1" * 400, b"1e999", b"20000.0", b"01"),
    *(b'"\xef\xbb\xbf"', b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000),
)
# What leads to an id or tag; an oddity in one of them may hide it.
_NAMES = {b'"%s"' % name for name in (b"id", b"name", b"tag", b"tasks", b"data", b"jobs")}
_ODD_ESCAPES = (
    *("%ED%A0%80", "%FF", "%FC", "%00", "%0D%0A", "%E2%80%AE", "%C2%9B", "%", "%zz", "%25"),
)


@dataclass(frozen=True, slots=True)
class Odd:
    """A callback with an oddity; ``task_id`` and ``tag`` if they must be known, else None."""

    number: int
    what: str
    provider: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    wire: bytes
    content: bytes
    task_id: str | None
    tag: str | None


def make(seed: int, number: int, token: str) -> Odd:
    """Return a callback by its number."""
    random_ = random.Random(f"odd-text/{seed}/{number}")
    folder = random_.choice(_folders())
    sample = requests.load(folder, token.encode())
    expected = orjson.loads((folder / "expected.json").read_bytes())
    inflated = sample.body[:2] == b"\x1f\x8b"
    content = gzip.decompress(sample.body) if inflated else sample.body
    target = sample.target.decode("latin-1")
    ids = {"task_id": expected["task_id"], "tag": expected["tag"]}
    if content and random_.random() < 0.85:
        content, what, ids = _odd_body(random_, content, ids)
    else:
        target, what = _odd_query(random_, target)
        # The tag that the query has is odd now.
        if ids["tag"] is None or orjson.dumps(ids["tag"]) not in content:
            ids["tag"] = None
    wire = gzip.compress(content, 1) if inflated else content
    headers = _headers(sample, wire)
    provider = folder.parent.name
    method = sample.method.decode()
    return Odd(number, what, provider, method, target, headers, wire, content, **ids)


def problems(
    receiver: Receiver, *, seed: int, requests: int, number: int | None = None
) -> list[str]:
    """Send callbacks to a receiver that runs, and return what is wrong with it afterwards."""
    numbers: Iterable[int] = range(requests) if number is None else (number,)
    acknowledged: dict[str, Odd] = {}
    found = []
    for one in numbers:
        odd = make(seed, one, receiver.token)
        answer = receiver.request(odd.method, odd.target, odd.wire, odd.headers)
        if answer.status == 200:
            acknowledged[answer.headers["x-delivery-id"]] = odd
        else:
            found.append(_told(odd, seed, f"answered {answer.status} {answer.body!r}"))
    receiver.wait_until_shipped()
    return found + judge(receiver, acknowledged, seed)


def judge(receiver: Receiver, acknowledged: dict[str, Odd], seed: int) -> list[str]:
    """Return how an archive differs from what was acknowledged."""
    missing = dict(acknowledged)
    found = []
    for line in read_lines(DirectoryArchive(receiver.archive)):
        odd = missing.pop(line["delivery_id"], None)
        if odd is not None and (what := _difference(line, odd, receiver.token)):
            found.append(_told(odd, seed, what))
    found += [_told(odd, seed, "is not in the archive") for odd in missing.values()]
    life = receiver.life
    found += [f"on stderr: {line}" for line in life.errors[:3]]
    found += [f"logged: {line[-900:]}" for line in life.output if "Traceback" in line]
    return found


def _folders() -> list[Path]:
    """Return the samples of the four providers that are as they should be."""
    folders = sorted(path.parent for path in _SAMPLES.glob("*/*/expected.json"))
    return [
        folder
        for folder in folders
        if folder.parent.name != "acme"
        and orjson.loads((folder / "expected.json").read_bytes())["invalid"] is None
    ]


def _odd_body(
    random: random.Random, content: bytes, ids: dict[str, str | None]
) -> tuple[bytes, str, dict[str, str | None]]:
    """Return a body with an oddity, what that is, and what must be known all the same."""
    if random.random() < 0.15:
        changed, what = random.choice(
            ((b"\xef\xbb\xbf" + content.lstrip(), "BOM"), (content + b"\0", "NUL at the end"))
        )
        return changed, what, ids
    token = random.choice(list(_TOKEN.finditer(content)))
    is_text = token[0].startswith(b'"')
    is_name = is_text and content[token.end() :].lstrip().startswith(b":")
    readable = True
    if is_text and (is_name or random.random() < 0.7):
        at = token.start() + random.choice((1, len(token[0]) - 1))
        if random.random() < 0.15:
            odd, readable = b'"x', False
        else:
            odd = random.choice(_IN_STRINGS)
        changed, what = content[:at] + odd + content[at:], f"{odd!r} in {token[0][:40]!r}"
    else:
        odd = random.choice(_IN_PLACE_OF_VALUES)
        changed = content[: token.start()] + odd + content[token.end() :]
        what = f"{odd[:20]!r} in the place of {token[0][:40]!r}"
    known = {
        name: value if _is_known(content, token, value, readable=readable) else None
        for name, value in ids.items()
    }
    return changed, what, known


def _is_known(
    content: bytes, token: "re.Match[bytes]", value: str | None, *, readable: bool
) -> bool:
    """Return whether an id or tag stands where the oddity cannot hide it."""
    if value is None or token[0] in _NAMES or token[0].strip(b'"') == value.encode():
        return False
    encoded = orjson.dumps(value)
    place = content.find(encoded)
    return place >= 0 and (readable or place + len(encoded) < token.start())


def _odd_query(random: random.Random, target: str) -> tuple[str, str]:
    """Return a target with an oddity behind its token; the raw bytes are as HTTP allows them."""
    odd = random.choice(_ODD_ESCAPES)
    separator = "&" if "?" in target else "?"
    if "tag=" in target and random.random() < 0.7:
        return target.replace("tag=", f"tag={odd}", 1), f"{odd} in the tag"
    return f"{target}{separator}x{odd}={odd}", f"{odd} in the query"


def _headers(sample: "requests.Request", wire: bytes) -> tuple[tuple[str, str], ...]:
    dropped = (b"content-length", b"host", b"x-hub-signature-256", b"connection")
    kept = [
        (name.decode(), value.decode("latin-1"))
        for name, value in sample.headers
        if name.lower() not in dropped
    ]
    if any(name.lower() == b"x-hub-signature-256" for name, _ in sample.headers):
        kept.append(("X-Hub-Signature-256", signature(wire, API_KEY)))
    return tuple(kept)


def _difference(line: dict[str, Any], odd: Odd, token: str) -> str | None:
    """Return in what an archived line differs from what was sent."""
    body = line["body"]
    content = base64.b64decode(line["body_base64"]) if body is None else body.encode()
    if content != odd.content or line["wire_sha256"] != hashlib.sha256(odd.wire).hexdigest():
        return f"another body is archived: {content[:200]!r}"
    if line["target"] != odd.target.replace(token, "***"):
        return f"archived with the target {line['target']}"
    if line["invalid"] not in _REASONS:
        return f"an unknown reason: {line['invalid']!r}"
    for name in ("task_id", "tag"):
        wanted = getattr(odd, name)
        if wanted is not None and line[name] != wanted:
            return f"{name} is {line[name]!r}, not {wanted!r}; invalid is {line['invalid']!r}"
    return None


def _told(odd: Odd, seed: int, what: str) -> str:
    target = urllib.parse.unquote(odd.target.partition("?")[2])
    return f"odd text {odd.number} of seed {seed} ({odd.provider}, {odd.what}): {what}; {target}"

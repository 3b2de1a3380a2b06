"""Entries and lines that nobody but an attacker, or a fault, puts into an archive."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from receiver.archive.members import ZSTD, of

Row = dict[str, Any]

ENTRIES: dict[str, Row] = {
    "object outside": {"object": "../../x"},
    "object of nobody": {"object": "callbacks/../../../etc/passwd.jsonl.gz"},
    "empty object": {"object": ""},
    "segment of another name": {"segment": "019ab0ab-7d66-7f00-8000-000000000001-0"},
    "segment outside": {"segment": "../../x"},
    "id with CRLF": {"delivery_id": "a\r\nx-injected: 1"},
    "id outside": {"delivery_id": "../../../x"},
    "no id": {"delivery_id": None},
    "provider outside": {"provider": "../.."},
    "provider with CRLF": {"provider": "a\r\nb"},
    "kind outside": {"kind": "a/../b"},
    "origin with NUL": {"origin": "callback\0"},
    "reason with CRLF": {"invalid": "a\r\nb"},
    "member_bytes 2^62": {"member_bytes": 1 << 62},
    "member_bytes 2^70": {"member_bytes": 1 << 70},
    "member_bytes 0": {"member_bytes": 0},
    "member_offset 2^62": {"member_offset": 1 << 62},
    "member_offset -1": {"member_offset": -1},
    "line_bytes -1": {"line_bytes": -1},
    "line_bytes 2^62": {"line_bytes": 1 << 62},
    "line_offset -1": {"line_offset": -1},
    "body_bytes -1": {"body_bytes": -1},
    "position -1": {"position": -1},
    "of 2^62": {"of": 1 << 62},
    "a number that is text": {"line_bytes": "9"},
    "a time that is none": {"received_at": "yesterday"},
    "a time of another zone": {"received_at": "2026-11-21T19:59:59.500000+01:00"},
    "the year 0": {"received_at": "0000-11-21T19:59:59.500000Z"},
    "the year 1900": {"received_at": "1900-11-21T19:59:59.500000Z"},
}
# Changes to a line whose entry is sound.
LINES: dict[str, Row] = {
    "another id": {"delivery_id": "019ab0ab-7d66-7f00-8000-000000000001"},
    "id with CRLF": {"delivery_id": "a\r\nx-injected: 1"},
    "method with a space": {"method": "G ET"},
    "method with CRLF": {"method": "GET / HTTP/1.1\r\nx-injected: 1\r\n\r\n"},
    "provider with CRLF": {"provider": "a\r\nb"},
    "headers that are none": {"headers": [1, 2, 3]},
    "target that is none": {"target": None},
    "a time that is none": {"received_at": "yesterday"},
}


def rewrite_index(path: Path, change: Callable[[list[Row]], object]) -> None:
    """Change the entries of an index object."""
    entries = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    change(entries)
    # Integers beyond 64 bits are written, too.
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    path.write_bytes(gzip.compress(lines))


def add_member(archive: Path, entry: Row, member: bytes, line_bytes: int) -> None:
    """Append a member to an entry's object, and let the entry name it."""
    path = archive / entry["object"]
    content = path.read_bytes()
    path.write_bytes(content + member)
    entry |= {"member_offset": len(content), "member_bytes": len(member)}
    entry |= {"line_offset": 0, "line_bytes": line_bytes}


def change_line(archive: Path, entry: Row, changes: Row) -> None:
    """Let an entry name a line that differs from its own."""
    compression = of(entry["object"])
    start = entry["member_offset"]
    member = (archive / entry["object"]).read_bytes()[start : start + entry["member_bytes"]]
    content = compression.inflate(member)
    line = content[entry["line_offset"] :][: entry["line_bytes"]]
    changed = orjson.dumps(orjson.loads(line) | changes)
    add_member(archive, entry, compression.member(changed + b"\n"), len(changed))


def bomb(size: int, *, zstd: bool = False) -> bytes:
    """Return a small member that holds a lot."""
    if zstd:
        return b"".join(ZSTD.stream(bytes(1 << 20) for _ in range(size >> 20)))
    return gzip.compress(bytes(size), 6)

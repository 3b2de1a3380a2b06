"""`receiver spool`."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import cli
from receiver.spool import Writer, segment
from tests.cli.conftest import Command
from tests.tools.deliveries import framed, head_of, segment_file


def test_spool_ls_lists_segments_and_their_states(receiver: Command) -> None:
    root = Path("data/spool")
    for number, suffix in enumerate(segment.SUFFIXES):
        segment_file(root, [(head_of("a"), b"{}")], process="p", number=number, suffix=suffix)
    living = Writer(root)
    rows = receiver("spool", "ls", "--output", "json").rows
    assert [
        ("p-0", "open", True),
        ("p-1", "sealed", True),
        ("p-2", "torn", True),
    ] == [(row["segment"], row["state"], row["ready"]) for row in rows if row["bytes"]]
    assert [(f"{living.process}-0", False)] == [
        (row["segment"], row["ready"]) for row in rows if not row["bytes"]
    ]
    table = receiver("spool", "--spool", str(root), "ls")
    assert 5 == len(table.out.splitlines())


def test_spool_verify_ends_with_1_where_there_is_damage(receiver: Command) -> None:
    root = Path("data/spool")
    path = segment_file(root, [(head_of("a"), b"x"), (head_of("b"), b"y")], process="p")
    torn = segment_file(root, [(head_of("c"), b"z")], process="q", suffix=segment.OPEN)
    os.truncate(torn, 30)
    assert 0 == receiver("spool", "verify").status
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    outcome = receiver("spool", "verify", "--output", "json")
    assert 1 == outcome.status
    damaged = len(framed("p", [(head_of("b"), b"y")]))
    assert [
        {
            "segment": "p-0",
            "state": "sealed",
            "records": 1,
            "torn_bytes": 0,
            "damaged_parts": 1,
            "damaged_bytes": damaged,
        },
        {
            "segment": "q-0",
            "state": "open",
            "records": 0,
            "torn_bytes": 30,
            "damaged_parts": 0,
            "damaged_bytes": 0,
        },
    ] == outcome.rows


def test_spool_cat_prints_heads_and_writes_a_body_as_it_came(receiver: Command) -> None:
    body = gzip.compress(b"{}")
    headers = [("via", "a")]
    path = segment_file(
        Path("data/spool"), [(head_of("a", headers=headers), body), (head_of("b"), b"")]
    )
    for words in (["spool", "cat"], ["spool", "cat", str(path)]):
        first, second = receiver(*words).rows
        assert ("a", "dataforseo", len(body), [["via", "a"]]) == (
            first["delivery_id"],
            first["provider"],
            first["wire_bytes"],
            first["headers"],
        )
        assert ("b", "2026-11-21T19:59:59.500000Z") == (
            second["delivery_id"],
            second["received_at"],
        )
    missing = receiver("spool", "cat", "--raw", "elsewhere")
    assert (1, "receiver: elsewhere is not in the spool\n") == (missing.status, missing.err)


def test_a_raw_body_is_written_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = bytes(range(256))
    segment_file(Path("data/spool"), [(head_of("a"), body)])
    result = CliRunner().invoke(cli, ["spool", "cat", "--raw", "a"], standalone_mode=False)
    assert (None, body) == (result.exception, result.stdout_bytes)


def test_spool_cat_passes_over_what_is_no_delivery(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(b"no head", b""), (head_of("a"), b"")])
    outcome = receiver("spool", "cat")
    assert ["a"] == [row["delivery_id"] for row in outcome.rows]
    assert "the record at 0 is not a delivery" in outcome.err
    assert 0 == outcome.status


def test_a_segment_that_is_shipped_meanwhile_is_passed_over(
    receiver: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = segment_file(Path("data/spool"), [(head_of("a"), b"")], process="p")
    segment_file(Path("data/spool"), [(head_of("b"), b"")], process="q")
    real = segment.read

    def read(path: Path) -> Iterator[Any]:
        gone.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(segment, "read", read)
    assert ["b"] == [row["delivery_id"] for row in receiver("spool", "cat").rows]
    assert 0 == receiver("spool", "verify").status

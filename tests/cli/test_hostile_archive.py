"""Every command passes over hostile entries and lines, and deals with the callbacks beside them."""

from pathlib import Path

import pytest

from receiver import clock
from tests.cli.conftest import Command
from tests.tools import hostile
from tests.tools.deliveries import head_of, segment_file
from tests.tools.support.target import TargetServer

ARCHIVE = Path("data/archive")


def archived(receiver: Command) -> list[str]:
    """Archive three callbacks of one segment; return their ids."""
    at_us = clock.now_us() - 60_000_000
    ids = [clock.new_id(at_us + number) for number in range(3)]
    heads = [
        head_of(known, at_us=at_us + number, target=f"/dataforseo/postback/***?id=task-{number}")
        for number, known in enumerate(ids)
    ]
    segment_file(Path("data/spool"), [(head, b"{}") for head in heads])
    assert 0 == receiver("ship").status
    return ids


def index_object() -> Path:
    (path,) = (ARCHIVE / "index").rglob("*.jsonl.gz")
    return path


@pytest.mark.parametrize("changes", hostile.ENTRIES.values(), ids=hostile.ENTRIES)
def test_a_hostile_entry_is_passed_over(receiver: Command, changes: hostile.Row) -> None:
    first, _, third = archived(receiver)
    path = index_object()
    hostile.rewrite_index(path, lambda entries: entries[1].update(changes))
    found = receiver("find", "--output", "json")
    assert (0, {first, third}) == (found.status, {row["delivery_id"] for row in found.rows})
    assert "entries of an index object are damaged" in found.err
    exported = receiver("export")
    assert (0, [first, third]) == (exported.status, [row["delivery_id"] for row in exported.rows])
    assert 0 == receiver("show", "task-2").status
    assert 1 == receiver("show", "task-1").status
    for mode in (("--quick",), ()):
        verified = receiver("verify", *mode, "--output", "json")
        assert 1 == verified.status
        findings = [row for row in verified.rows if row["type"] == "finding"]
        key = str(path.relative_to(ARCHIVE))
        assert ("damage", key) in {(row["what"], row["where"]) for row in findings}


@pytest.mark.parametrize("changes", hostile.LINES.values(), ids=hostile.LINES)
def test_a_hostile_line_is_reported(receiver: Command, changes: hostile.Row) -> None:
    ids = archived(receiver)
    hostile.rewrite_index(
        index_object(), lambda entries: hostile.change_line(ARCHIVE, entries[1], changes)
    )
    assert 0 == receiver("show", ids[0]).status
    assert receiver("show", ids[1]).status in (0, 1, 4)
    exported = receiver("export")
    assert {ids[0], ids[2]} <= {row["delivery_id"] for row in exported.rows}
    assert 1 == receiver("verify").status


@pytest.mark.parametrize("line_bytes", [10, 16 << 20])
def test_a_bomb_in_the_place_of_a_line_is_lost(receiver: Command, line_bytes: int) -> None:
    ids = archived(receiver)
    member = hostile.bomb(64 << 20)
    hostile.rewrite_index(
        index_object(),
        lambda entries: hostile.add_member(ARCHIVE, entries[1], member, line_bytes),
    )
    exported = receiver("export")
    assert (1, [ids[0], ids[2]]) == (
        exported.status,
        [row["delivery_id"] for row in exported.rows],
    )
    assert 4 == receiver("show", ids[1]).status
    assert 1 == receiver("verify").status


@pytest.mark.integration
@pytest.mark.parametrize("changes", hostile.ENTRIES.values(), ids=hostile.ENTRIES)
def test_a_hostile_entry_is_not_sent_and_the_others_are(
    receiver: Command, changes: hostile.Row
) -> None:
    first, _, third = archived(receiver)
    hostile.rewrite_index(index_object(), lambda entries: entries[1].update(changes))
    with TargetServer() as target:
        outcome = receiver("replay", "--to", target.url, "--since", "1d")
    assert 0 == outcome.status, outcome.err
    assert {first, third} == {request.id for request in target.received}


# What must not get into a request is held by the tests of `receiver.replay.request`.
_NOT_OF_REQUESTS = [
    row for name, row in hostile.LINES.items() if "CRLF" not in name and "method" not in name
]


@pytest.mark.integration
@pytest.mark.parametrize("changes", _NOT_OF_REQUESTS)
def test_a_hostile_line_stops_no_replay(receiver: Command, changes: hostile.Row) -> None:
    first, _, third = archived(receiver)
    hostile.rewrite_index(
        index_object(), lambda entries: hostile.change_line(ARCHIVE, entries[1], changes)
    )
    with TargetServer() as target:
        receiver("replay", "--to", target.url, "--since", "1d")
    ids = {request.id for request in target.received}
    assert {first, third} <= ids

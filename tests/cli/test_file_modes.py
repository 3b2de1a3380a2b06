"""Working files are the owner's alone; an archive and exports follow the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.spool import Writer, segment
from tests.cli.conftest import Command
from tests.tools.deliveries import head_of, segment_file
from tests.tools.support.target import TargetServer


@pytest.fixture(params=[0o022, 0o000, 0o027])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(*roots: str) -> dict[str, set[int]]:
    """Return the modes of all directories and of all files at and below paths."""
    found: dict[str, set[int]] = {"directories": set(), "files": set()}
    for root in map(Path, roots):
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                kind = "directories" if path.is_dir() else "files"
                found[kind].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.integration
def test_every_file_has_the_mode_of_its_kind(receiver: Command, mask: int) -> None:
    assert 0 == receiver("check", DISK_RESERVE_BYTES="0").status
    writer = Writer(Path("data/spool"))
    writer.write([segment.frame(writer.marker, head_of(), [b"{}"]), b"{}"], records=1)
    writer.close()
    segment_file(Path("incoming"), [(head_of(), b"{}")])
    assert 0 == receiver("ship", "--spool", "incoming").status
    assert 0 == receiver("find").status
    assert 0 == receiver("export", "--to", "export.jsonl").status
    with TargetServer() as target:
        outcome = receiver("replay", "--to", target.url, "--job", "night", "--since", "2026-11-21")
    assert 0 == outcome.status, outcome.err
    private = {"directories": {0o700}, "files": {0o600}}
    assert private == modes("data/spool", "data/catalog", "data/jobs")
    shared = {"directories": {0o777 & ~mask}, "files": {0o666 & ~mask}}
    assert shared == modes("data/archive")
    assert {0o777 & ~mask} == {stat.S_IMODE(Path("data").stat().st_mode)}
    assert {0o666 & ~mask} == modes("export.jsonl")["files"]

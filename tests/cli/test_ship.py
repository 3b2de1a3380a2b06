"""`receiver ship` and `receiver drain`."""

import gzip
from pathlib import Path

import orjson
import pytest

from receiver.spool import Writer, segment
from tests.cli.conftest import Command
from tests.tools.deliveries import head_of, segment_file


def archived() -> list[str]:
    return sorted(
        orjson.loads(line)["delivery_id"]
        for path in Path("data/archive/callbacks").rglob("*.jsonl.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines()
    )


def test_ship_ships_once_and_says_what_it_did(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(head_of("a"), b"{}"), (head_of("b"), b"{}")])
    outcome = receiver("ship")
    assert (0, "") == (outcome.status, outcome.err)
    assert outcome.out.startswith("shipped 2 callbacks in 1 segment, ")
    assert outcome.out.endswith(" bytes; 0 damaged parts quarantined, 0 segments failed\n")
    assert ["a", "b"] == archived()
    (row,) = receiver("ship", "--output", "json").rows
    assert {"segments": 0, "records": 0, "bytes": 0, "quarantined": 0, "failed": 0} == row


def test_ship_takes_another_spool(receiver: Command) -> None:
    segment_file(Path("old/spool"), [(head_of("a"), b"{}")])
    (row,) = receiver("ship", "--spool", "old/spool", "--output", "json").rows
    assert 1 == row["records"]
    assert ["a"] == archived()


def test_ship_ends_with_1_where_a_segment_could_not_be_read(receiver: Command) -> None:
    Path("data/spool/p/p-0.seg").mkdir(parents=True)
    segment_file(Path("data/spool"), [(head_of("a"), b"{}")])
    assert 1 == receiver("ship").status
    assert ["a"] == archived()


@pytest.mark.parametrize("suffix", segment.SUFFIXES)
@pytest.mark.parametrize("single", [False, True])
def test_drain_empties_a_spool_or_the_directory_of_a_process(
    receiver: Command, suffix: str, single: bool
) -> None:
    path = segment_file(Path("old/spool"), [(head_of("a"), b"{}")], suffix=suffix)
    target = path.parent if single else Path("old/spool")
    outcome = receiver("drain", "--spool", str(target))
    assert (0, "") == (outcome.status, outcome.err)
    assert outcome.out.endswith("; the spool is empty\n")
    assert ["a"] == archived()
    assert not path.exists()


def test_drain_never_follows_a_symbolic_link(receiver: Command, tmp_path: Path) -> None:
    path = segment_file(Path("old/spool"), [(head_of("a"), b"{}")])
    secret = tmp_path / "secret"
    secret.write_text("a private key")
    link = path.parent / "p-7.seg"
    link.symlink_to(secret)
    outcome = receiver("drain", "--spool", "old/spool")
    assert 1 == outcome.status
    assert outcome.out.endswith("; 1 segment left\n")
    assert str(link) in outcome.err
    assert ["a"] == archived()
    assert not list(Path("data/archive").rglob("quarantine/*"))
    assert link.is_symlink()
    assert "a private key" == secret.read_text()


def test_what_a_living_process_writes_counts_as_not_drained(receiver: Command) -> None:
    writer = Writer(Path("data/spool"))
    writer.write([segment.frame(writer.marker, head_of("a"), [b"x"]), b"x"], records=1)
    outcome = receiver("drain", "--spool", "data/spool")
    assert (1, "receiver: 1 segment is not drained\n") == (outcome.status, outcome.err)
    assert outcome.out.endswith("; 1 segment left\n")
    (row,) = receiver("drain", "--output", "json").rows
    assert 1 == row["left"]
    writer.close()
    (row,) = receiver("drain", "--output", "json").rows
    assert (1, 0) == (row["segments"], row["left"])


def test_no_time_is_less_than_none(receiver: Command) -> None:
    outcome = receiver("drain", "--wait", "-1")
    assert (2, True) == (outcome.status, "'--wait': -1.0 is not in the range" in outcome.err)

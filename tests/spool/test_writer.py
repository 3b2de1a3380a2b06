"""The writer of one spool directory: records stay durable, whatever fails after the write."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from receiver import disk
from receiver.spool import Writer, directory, segment
from receiver.spool.segment import Record
from tests.tools.deliveries import framed

Buffers = Sequence[bytes]


def write(writer: Writer, *bodies: bytes) -> None:
    """Append records with these bodies, in one group."""
    buffers = []
    for body in bodies:
        buffers += [segment.frame(writer.marker, b"head", [body]), body]
    writer.write(buffers, records=len(bodies))


def names(writer: Writer) -> list[str]:
    """Return the directory's files without the process id, sorted."""
    found = (path.name.removeprefix(writer.process + "-") for path in writer.directory.iterdir())
    return sorted(found)


def bodies(writer: Writer, name: str) -> list[bytes]:
    """Return the bodies in a segment, which must hold nothing but records."""
    parts = list(segment.read(writer.directory / f"{writer.process}-{name}"))
    found = [part.body for part in parts if isinstance(part, Record)]
    assert len(found) == len(parts)
    return found


def fail_once(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, *, before: Callable[..., None] = print
) -> None:
    """Make the next call of a function of `os` fail; ``before`` is called first."""
    real = getattr(os, name)

    def fail(*given: object, **named: object) -> None:
        monkeypatch.setattr(os, name, real)
        if before is not print:
            before(*given)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def write_half(fd: int, buffers: Buffers) -> None:
    """Write the first half of the buffers, as a disk does that becomes full."""
    content = b"".join(buffers)
    os.write(fd, content[: len(content) // 2])


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def test_a_writer_makes_and_locks_a_directory_of_its_own(writer: Writer, tmp_path: Path) -> None:
    assert tmp_path / writer.process == writer.directory
    assert ["0.open", "lock"] == names(writer)
    other = Writer(tmp_path)
    assert writer.directory != other.directory


def test_records_are_read_through_another_handle(writer: Writer) -> None:
    write(writer, b"one", b"two")
    write(writer, b"")
    assert [b"one", b"two", b""] == bodies(writer, "0.open")
    assert 3 == writer.records
    assert (writer.directory / f"{writer.process}-0.open").stat().st_size == writer.bytes


def test_a_name_is_durable_before_the_first_record_and_data_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def call(fd: int, *rest: object) -> object:
            steps.append((name, Path(f"/proc/self/fd/{fd}").readlink().name))
            return real(fd, *rest)

        monkeypatch.setattr(os, name, call)

    for name in ("writev", "fdatasync", "fsync"):
        note(name)
    writer = Writer(tmp_path / "spool")
    write(writer, b"one")
    writer.seal()
    write(writer, b"two")
    file = f"{writer.process}-{{}}.open".format
    assert [
        ("fsync", tmp_path.name),  # the spool's name
        ("fsync", "spool"),  # the process directory's
        ("fsync", writer.process),  # the first segment's
        ("writev", file(0)),
        ("fdatasync", file(0)),
        ("fsync", writer.process),  # the sealed segment's name, and the next one's
        ("writev", file(1)),
        ("fdatasync", file(1)),
    ] == steps


def test_sealing_renames_and_begins_the_next_number(writer: Writer) -> None:
    write(writer, b"one")
    writer.seal()
    write(writer, b"two")
    writer.seal()
    assert ["0.seg", "1.seg", "2.open", "lock"] == names(writer)
    assert [b"one"] == bodies(writer, "0.seg")
    assert [b"two"] == bodies(writer, "1.seg")
    assert (0, 0) == (writer.records, writer.bytes)


def test_a_segment_without_a_record_is_not_sealed(writer: Writer) -> None:
    writer.seal()
    write(writer, b"one")
    writer.seal()
    writer.seal()
    assert ["0.seg", "1.open", "lock"] == names(writer)


def test_the_age_counts_from_the_first_record(writer: Writer) -> None:
    assert 0 == writer.age_seconds
    write(writer, b"one")
    first = writer.age_seconds
    write(writer, b"two")
    assert 0 < first < writer.age_seconds
    writer.seal()
    assert 0 == writer.age_seconds


def test_closing_seals_and_releases_the_lock(writer: Writer) -> None:
    write(writer, b"one")
    writer.close()
    assert ["0.seg", "lock"] == names(writer)


def test_closing_leaves_no_empty_segment(writer: Writer) -> None:
    writer.close()
    assert ["lock"] == names(writer)


def test_a_failed_write_is_cut_back_and_the_file_goes_on(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, b"one")
    fail_once(monkeypatch, "writev", errno.ENOSPC, before=write_half)
    with pytest.raises(OSError, match="No space left"):
        write(writer, b"never" * 100)
    assert [b"one"] == bodies(writer, "0.open")
    write(writer, b"two")
    assert ["0.open", "lock"] == names(writer)
    assert [b"one", b"two"] == bodies(writer, "0.open")


def test_a_failed_write_that_cannot_be_cut_back_is_set_aside(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, b"one")
    fail_once(monkeypatch, "writev", errno.EIO, before=write_half)
    fail_once(monkeypatch, "ftruncate", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write(writer, b"never" * 100)
    write(writer, b"two")
    assert ["0.torn", "1.open", "lock"] == names(writer)
    whole, torn = segment.read(writer.directory / f"{writer.process}-0.torn")
    assert isinstance(whole, Record)
    assert b"one" == whole.body
    assert isinstance(torn, segment.Torn)
    assert [b"two"] == bodies(writer, "1.open")


def test_a_failed_sync_is_final_for_its_file(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = disk.sync_data

    def sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    monkeypatch.setattr(disk, "sync_data", sync)
    write(writer, b"one")
    fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write(writer, b"perhaps")
    write(writer, b"two")
    assert ["0.torn", "1.open", "lock"] == names(writer)
    assert b"one" == bodies(writer, "0.torn")[0]
    assert [b"two"] == bodies(writer, "1.open")
    assert ["0.open", "0.open", "1.open"] == [
        name.removeprefix(f"{writer.process}-") for name in synced
    ]


def test_a_first_sync_that_fails_leaves_no_gap_in_the_numbers(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write(writer, b"perhaps")
    write(writer, b"one")
    assert ["0.torn", "1.open", "lock"] == names(writer)


@pytest.mark.parametrize("name", ["open", "fsync"])
def test_a_segment_that_cannot_be_begun_is_begun_at_the_next_write(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(writer, b"one")
    fail_once(monkeypatch, name, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        writer.seal()
    fail_once(monkeypatch, name, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        write(writer, b"never")
    writer.seal()
    write(writer, b"two")
    writer.seal()
    assert ["0.seg", "1.seg", "2.open", "lock"] == names(writer)
    assert [b"two"] == bodies(writer, "1.seg")


def test_a_seal_that_fails_loses_nothing_and_is_tried_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, b"one")
    fail_once(monkeypatch, "rename", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        writer.seal()
    write(writer, b"two")
    writer.seal()
    assert ["0.seg", "1.open", "lock"] == names(writer)
    assert [b"one", b"two"] == bodies(writer, "0.seg")


def test_a_file_that_can_neither_be_synced_nor_renamed_is_not_written_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, b"one")
    fail_once(monkeypatch, "fdatasync", errno.EIO)
    fail_once(monkeypatch, "rename", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write(writer, b"perhaps")
    write(writer, b"two")
    assert ["0.open", "1.open", "lock"] == names(writer)
    assert b"one" == bodies(writer, "0.open")[0]
    assert [b"two"] == bodies(writer, "1.open")


def test_a_probe_leaves_nothing(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.probe()
    fail_once(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        writer.probe()
    assert ["0.open", "lock"] == names(writer)


def test_a_writers_records_have_its_marker_and_no_other(writer: Writer, tmp_path: Path) -> None:
    other = Writer(tmp_path)
    write(writer, framed(other.process, [(b"head", b"imitated")]))
    assert 1 == len(bodies(writer, "0.open"))
    assert writer.marker != other.marker


# The lock or the open segment is removed.


def removed_lock(writer: Writer) -> None:
    (writer.directory / "lock").unlink()


def removed_segment(writer: Writer) -> None:
    (writer.directory / f"{writer.segment}.open").unlink()


@pytest.mark.parametrize("remove", [removed_lock, removed_segment])
def test_nothing_is_durable_once_the_lock_or_the_segment_was_removed(
    writer: Writer, remove: Callable[[Writer], None]
) -> None:
    write(writer, b"one")
    remove(writer)
    with pytest.raises(OSError, match="lock or the open segment was removed"):
        write(writer, b"two")
    writer.give_up()


def test_records_that_were_durable_before_the_lock_was_removed_are_ready_to_ship(
    writer: Writer, tmp_path: Path
) -> None:
    write(writer, b"one")
    removed_lock(writer)
    writer.give_up()
    (found,) = directory.files(tmp_path)
    assert found.ready
    assert b"one" in bodies(writer, "0.seg")


def test_a_close_that_fails_releases_the_lock_all_the_same(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, b"one")

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            writer.close()
    assert not directory.writer_lives(writer.directory)
    assert [b"one"] == bodies(writer, "0.open")

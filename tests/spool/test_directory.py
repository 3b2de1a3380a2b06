"""The directories of a spool: which files are ready to ship, and what is removed."""

import errno
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver import clock, disk, spool
from receiver.spool import Writer, segment
from tests.tools.deliveries import AT_US, head_of, segment_file
from tests.tools.support.server import open_files

RECORD = [(head_of(), b"body")]


def ready(root: Path) -> dict[str, bool]:
    return {found.path.name: found.ready for found in spool.files(root)}


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that has sealed one segment, written to the next, and is alive."""
    program = (
        "import sys, pathlib\n"
        "from receiver.spool import Writer, segment\n"
        "writer = Writer(pathlib.Path(sys.argv[1]))\n"
        "for sealed in (True, False):\n"
        "    writer.write([segment.frame(writer.marker, b'head', [b'body']), b'body'], records=1)\n"
        "    if sealed:\n"
        "        writer.seal()\n"
        "print(writer.process, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.integration
def test_an_open_segment_is_ready_once_its_writer_is_dead(
    tmp_path: Path, other_process: "subprocess.Popen[str]"
) -> None:
    assert other_process.stdout
    name = other_process.stdout.readline().strip()
    assert spool.directory.writer_lives(tmp_path / name)
    assert {f"{name}-0.seg": True, f"{name}-1.open": False} == ready(tmp_path)
    spool.bury(tmp_path)
    assert {f"{name}-0.seg": True, f"{name}-1.open": False} == ready(tmp_path)
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert not spool.directory.writer_lives(tmp_path / name)
    assert {f"{name}-0.seg": True, f"{name}-1.open": True} == ready(tmp_path)


def test_the_id_that_markers_are_derived_from_is_hard_to_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def randbits(count: int) -> int:
        asked.append(count)
        return (1 << count) - 1

    monkeypatch.setattr(secrets, "randbits", randbits)
    process = Writer(tmp_path).process
    assert [62] == asked
    assert process.endswith("-bfff-ffffffffffff")


def test_a_lock_is_kept_from_others_of_the_same_process_too(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    assert {f"{writer.process}-0.open": False} == ready(tmp_path)
    writer.close()
    assert {} == ready(tmp_path)


def test_files_come_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    first, second = clock.new_id(AT_US), clock.new_id(AT_US + 1)
    for process, number, suffix in [
        (second, 0, segment.OPEN),
        (first, 10, segment.SEALED),
        (first, 9, segment.TORN),
        (first, 11, segment.OPEN),
    ]:
        segment_file(tmp_path, RECORD, process=process, number=number, suffix=suffix)
    found = list(spool.files(tmp_path))
    assert [f"{first}-9", f"{first}-10", f"{first}-11", f"{second}-0"] == [
        file.name for file in found
    ]
    assert {found[0].path.stat().st_size} == {file.bytes for file in found}


def test_other_files_are_not_segments(tmp_path: Path) -> None:
    path = segment_file(tmp_path, RECORD)
    for name in ("lock", "probe", ".probe.17-ab.tmp", "notes.txt"):
        (path.parent / name).touch()
    (tmp_path / "token").write_text("a token")
    assert [path] == [found.path for found in spool.files(tmp_path)]


@pytest.mark.parametrize("suffix", segment.SUFFIXES)
def test_the_directory_of_one_process_is_a_spool_too(tmp_path: Path, suffix: str) -> None:
    path = segment_file(tmp_path, RECORD, suffix=suffix)
    assert [path] == [found.path for found in spool.files(path.parent)]
    assert [path] == [found.path for found in spool.files(tmp_path)]


def test_a_spool_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert [] == list(spool.files(tmp_path / "nowhere"))
    assert [] == spool.directories(tmp_path / "nowhere")


def test_a_directory_that_is_being_made_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / f".new-{clock.new_id()}").mkdir()
    assert [] == spool.directories(tmp_path)


def test_what_a_file_system_puts_into_its_root_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    path = segment_file(tmp_path, RECORD)
    assert [path] == [found.path for found in spool.files(tmp_path)]
    spool.bury(tmp_path)
    assert (tmp_path / "lost+found").is_dir()


@pytest.mark.parametrize("name", ["lock", "stray.seg", "x-0.open"])
def test_a_stray_file_in_the_root_hides_no_segment(tmp_path: Path, name: str) -> None:
    path = segment_file(tmp_path, RECORD)
    (tmp_path / name).write_bytes(b"")
    assert path in [found.path for found in spool.files(tmp_path)]


# Burying.


def test_a_dead_directory_without_segments_is_removed(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.close()
    spool.bury(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_a_living_directory_is_not_removed(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    spool.bury(tmp_path)
    assert [writer.directory] == list(tmp_path.iterdir())
    writer.write([segment.frame(writer.marker, b"", []), b""], records=1)
    assert 1 == len(list(segment.read(writer.directory / f"{writer.process}-0.open")))


@pytest.mark.parametrize("suffix", segment.SUFFIXES)
def test_a_dead_directory_with_a_segment_is_not_removed(tmp_path: Path, suffix: str) -> None:
    path = segment_file(tmp_path, RECORD, suffix=suffix)
    spool.bury(tmp_path)
    assert path.exists()


def test_the_empty_file_that_a_dead_writer_had_just_begun_is_removed(tmp_path: Path) -> None:
    segment_file(tmp_path, [], suffix=segment.OPEN)
    spool.bury(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_what_a_probe_left_in_a_dead_directory_goes_with_it(tmp_path: Path) -> None:
    # A process that is killed in the middle of a probe leaves the file, or its temporary one.
    path = segment_file(tmp_path, [], suffix=segment.OPEN)
    (path.parent / "probe").write_bytes(bytes(4096))
    (path.parent / ".probe.17-ab12.tmp").write_bytes(bytes(4096))
    spool.bury(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_files_of_somebody_else_keep_their_directory(tmp_path: Path) -> None:
    path = segment_file(tmp_path, [], suffix=segment.OPEN)
    (path.parent / "notes.txt").write_text("keep me")
    spool.bury(tmp_path)
    assert (path.parent / "notes.txt").exists()


def test_a_directory_that_was_never_born_is_removed_after_a_minute(tmp_path: Path) -> None:
    old = tmp_path / f".new-{clock.new_id(clock.now_us() - 61_000_000)}"
    young = tmp_path / f".new-{clock.new_id()}"
    for unborn in (old, young):
        unborn.mkdir()
        (unborn / "lock").touch()
    spool.bury(tmp_path)
    assert [young] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".new-", ".new-backup", ".new-0192", ".new-zzzzzzzz"])
def test_a_name_that_only_begins_like_one_of_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    spool.bury(tmp_path)
    assert (tmp_path / name).is_dir()


def test_the_directory_that_was_named_is_kept(tmp_path: Path) -> None:
    path = segment_file(tmp_path, RECORD)
    path.unlink()
    (path.parent / "lock").touch()
    spool.bury(path.parent)
    assert path.parent.is_dir()


# Making.


def test_a_directory_that_cannot_be_made_durable_costs_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    spool.Writer(tmp_path).close()
    open_before = open_files(os.getpid())
    monkeypatch.setattr(disk, "sync_directory", fail)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            spool.Writer(tmp_path)
    assert open_before == open_files(os.getpid())
    spool.bury(tmp_path)
    assert [] == list(tmp_path.iterdir())


# Symbolic links.


@pytest.mark.parametrize("target", ["/etc/hostname", "nowhere", ".."])
@pytest.mark.parametrize("suffix", segment.SUFFIXES)
def test_a_symbolic_link_is_no_segment(tmp_path: Path, target: str, suffix: str) -> None:
    path = segment_file(tmp_path, RECORD)
    link = path.parent / f"{clock.new_id()}-0{suffix}"
    link.symlink_to(target)
    passed_over: list[Path] = []
    found = list(spool.files(tmp_path, passed_over=passed_over.append))
    assert [path] == [one.path for one in found]
    assert [link] == passed_over
    spool.bury(tmp_path)
    assert link.is_symlink()


@pytest.mark.parametrize(
    "read",
    [
        lambda path: list(segment.read(path)),
        lambda path: list(segment.heads(path)),
        segment.first_head,
        lambda path: segment.read_bytes(path, segment.Damage(0, 1)),
    ],
)
def test_a_segment_is_not_read_through_a_link(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = segment_file(tmp_path, RECORD)
    link = tmp_path / path.name
    link.symlink_to(path)
    assert read(path)
    with pytest.raises(OSError, match="symbolic links"):
        read(link)

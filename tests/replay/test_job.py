"""The job file: survives its process, belongs to one process at a time, and names its faults."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.errors import SettingsError, StoreError
from receiver.replay import job
from receiver.replay.job import Counts, Job, Recorded
from tests.replay.test_sending import entry_of

ASKED = {"asked": {"tag": "run-42"}, "url_sha256": "ab", "selection": {"ids": []}}


def good(delivery_id: str) -> Recorded:
    return Recorded(delivery_id, confirmed=True, attempts=1)


def bad(delivery_id: str, why: str = "HTTP 404 Not Found") -> Recorded:
    return Recorded(delivery_id, confirmed=False, attempts=2, why=why)


def test_recorded_outcomes_are_there_when_the_job_is_opened_again(tmp_path: Path) -> None:
    ids = [clock.new_id() for _ in range(5)]
    with Job(tmp_path / "jobs", "run-42") as opened:
        assert opened.asked() is None
        opened.begin(ASKED)
        opened.record(map(good, ids[:3]))
        opened.record([bad(ids[4]), bad(ids[3], "")])
    with Job(tmp_path / "jobs", "run-42") as opened:
        assert ASKED == opened.asked()
        assert Counts(confirmed=3, failed=2) == opened.counts()
        assert sorted([bad(ids[3], ""), bad(ids[4])], key=lambda each: each.delivery_id) == list(
            opened.failed()
        )


def test_a_later_outcome_replaces_the_earlier(tmp_path: Path) -> None:
    one, two = clock.new_id(), clock.new_id()
    with Job(tmp_path, "a") as opened:
        opened.begin(ASKED)
        opened.record([bad(one), bad(two)])
        opened.record([good(one)])
        assert Counts(confirmed=1, failed=1) == opened.counts()
        assert [bad(two)] == list(opened.failed())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_unconfirmed_entries_are_those_of_a_dict(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, bool]]
) -> None:
    entries = [entry_of() for _ in range(10)]
    model: dict[str, bool] = {}
    with Job(tmp_path_factory.mktemp("jobs"), "a") as opened:
        opened.begin(ASKED)
        for number, confirmed in made:
            identifier = entries[number].delivery_id
            model[identifier] = confirmed
            opened.record([(good if confirmed else bad)(identifier)])
        expected = [entry for entry in entries if not model.get(entry.delivery_id)]
        assert expected == list(opened.unconfirmed(entries))
        assert sum(model.values()) == opened.counts().confirmed
        assert len(model) - sum(model.values()) == opened.counts().failed


def test_an_entry_that_is_confirmed_meanwhile_is_left_out_by_another_thread(tmp_path: Path) -> None:
    entries = [entry_of() for _ in range(3)]
    left: list[str] = []
    turn = [threading.Event() for _ in range(2)]
    with Job(tmp_path, "a") as opened:

        def iterate() -> None:
            for entry in opened.unconfirmed(entries):
                left.append(entry.delivery_id)
                turn[0].set()
                turn[1].wait(60)

        thread = threading.Thread(target=iterate)
        thread.start()
        assert turn[0].wait(60)
        opened.record([good(entries[1].delivery_id)])
        turn[1].set()
        thread.join()
    assert [entries[0].delivery_id, entries[2].delivery_id] == left


# Processes.


_RECORD = """
import os, signal, sys
from pathlib import Path
from receiver.replay.job import Job, Recorded
with Job(Path(sys.argv[1]), "a") as opened:
    opened.begin({})
    for number in range(1 << 30):
        opened.record([Recorded(f"{number:08x}-0000-7000-8000-000000000000", True, 1)])
        os.write(1, b"%d\\n" % number)
"""


def started(directory: Path, script: str = _RECORD) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE)


@pytest.mark.integration
def test_recorded_outcomes_survive_a_kill(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    with process, process.stdout as output:
        said = [output.readline() for _ in range(random.Random(7).randrange(20, 200))]
        os.kill(process.pid, signal.SIGKILL)
        # Its last line may be cut.
        said += [line for line in output if line.endswith(b"\n")]
    with Job(tmp_path, "a") as opened:
        assert opened.counts().confirmed >= len(said)


@pytest.mark.integration
def test_two_processes_cannot_run_one_job(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    with process, process.stdout as output:
        output.readline()
        with pytest.raises(SettingsError, match="job a is running in another process"):
            Job(tmp_path, "a").__enter__()
        with Job(tmp_path, "b"):
            pass
        # Looking is not running.
        assert job.look(tmp_path, "a")[1].confirmed >= 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with Job(tmp_path, "a"):
            pass


def test_one_process_cannot_run_one_job_twice(tmp_path: Path) -> None:
    with Job(tmp_path, "a"):
        with pytest.raises(SettingsError, match="running"):
            Job(tmp_path, "a").__enter__()
    with Job(tmp_path, "a"):
        pass


# Names.


@pytest.mark.parametrize("name", ["a", "run-42", "2026-11-21_x.y", "0" * 100])
def test_a_name_is_a_file(tmp_path: Path, name: str) -> None:
    with Job(tmp_path, name) as opened:
        opened.begin(ASKED)
    assert [name] == job.names(tmp_path)
    assert (ASKED, Counts(0, 0), []) == job.look(tmp_path, name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-x", ".hidden", "x" * 101, "a b", "a\n", "ü", "a\x00"]
)
def test_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="a name is 1 to 100"):
        Job(tmp_path, name)
    with pytest.raises(SettingsError, match="a name is 1 to 100"):
        job.look(tmp_path, name)


def test_names_are_those_of_the_jobs(tmp_path: Path) -> None:
    assert [] == job.names(tmp_path / "nowhere")
    for name in ("b", "a", "a.b"):
        with Job(tmp_path, name) as opened:
            opened.begin(ASKED)
    assert ["a", "a.b", "b"] == job.names(tmp_path)


def test_a_job_that_never_began_is_not_listed(tmp_path: Path) -> None:
    with Job(tmp_path, "a") as opened:
        assert ["a"] == job.names(tmp_path)
        opened.counts()
    assert [] == job.names(tmp_path)
    assert ["a.lock"] == [path.name for path in tmp_path.iterdir()]
    with Job(tmp_path, "a") as opened:
        opened.begin(ASKED)
    with Job(tmp_path, "a"):
        pass
    assert ["a"] == job.names(tmp_path)


def test_looking_does_not_make_a_job(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no job a in"):
        job.look(tmp_path, "a")
    with pytest.raises(SettingsError, match="there is no job a in"):
        job.check_exists(tmp_path, "a")
    assert [] == job.names(tmp_path)


# Damage.


def written(directory: Path) -> Path:
    """Return the file of a job with a few thousand outcomes, closed."""
    with Job(directory, "a") as opened:
        opened.begin(ASKED)
        opened.record(good(clock.new_id()) for _ in range(3000))
        opened.record(bad(clock.new_id()) for _ in range(300))
        path = opened.path
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _garbage(content: bytes) -> bytes:
    return b"this is no database" * 1000


def _no_header(content: bytes) -> bytes:
    return b"\x00" * 100 + content[100:]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _cut_to_the_first_page(content: bytes) -> bytes:
    return content[:4096]


def _holes(content: bytes) -> bytes:
    return content[:4096] + b"\xff" * (len(content) - 4096)


DAMAGES = [_garbage, _no_header, _cut, _cut_to_the_first_page, _holes]


def use(directory: Path) -> None:
    """Do all that a command does with a job."""
    with Job(directory, "a") as opened:
        opened.asked()
        opened.counts()
        list(opened.failed())
        list(opened.unconfirmed(entry_of() for _ in range(200)))
        opened.record(good(clock.new_id()) for _ in range(2000))
        if opened.asked() is None:
            opened.begin(ASKED)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_an_error_and_left_in_place(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = written(tmp_path)
    use(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(StoreError, match=r"job file .*a\.sqlite"):
        use(tmp_path)
    with pytest.raises(StoreError, match=r"job file .*a\.sqlite"):
        job.look(tmp_path, "a")
    assert path.exists()


def test_a_selection_that_is_not_json_is_damage(tmp_path: Path) -> None:
    with Job(tmp_path, "a") as opened:
        opened.begin(ASKED)
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database, database:
        database.execute("UPDATE asked SET what = 'no json'")
    with Job(tmp_path, "a") as opened, pytest.raises(StoreError, match=r"job file .* failed"):
        opened.asked()
    with pytest.raises(StoreError, match="job file"):
        job.look(tmp_path, "a")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with Job(tmp_path, "a") as opened:
        opened.begin(ASKED)
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database, database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="another version"):
        Job(tmp_path, "a").__enter__()
    # And it is not held.
    with pytest.raises(StoreError, match="another version"):
        Job(tmp_path, "a").__enter__()


def test_a_directory_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot use the job file .*; set RECEIVER_JOBS to"):
        Job(tmp_path / "file" / "jobs", "a").__enter__()


def test_a_file_that_cannot_be_opened_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").mkdir()
    with pytest.raises(SettingsError, match=r"unable to open .*; set RECEIVER_JOBS to"):
        Job(tmp_path, "a").__enter__()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with Job(tmp_path, "a") as opened:
        opened.record([good(clock.new_id())])
        opened._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StoreError, match=r"job file .*: database or disk is full"):
            opened.record(good(clock.new_id()) for _ in range(3000))
        assert 1 == opened.counts().confirmed

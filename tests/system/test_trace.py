"""What the kernel saw, by strace: first on stable storage, then acknowledged; first archived, then
removed.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.support.oracle import DirectoryArchive, Ledger, verify
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.tools import cannot, needs
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_CALLS = (
    "openat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync,"
    "write,writev,pwrite64,pwritev,sendto,sendmsg"
)
_SENDS = "write writev sendto sendmsg"
_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call, with the lines at which it began and ended."""

    name: str
    arguments: str
    result: int
    begun: int
    ended: int

    @property
    def path(self) -> str:
        """The last path among its arguments: what it makes, removes, or renames to."""
        return self.arguments.rsplit('"', 2)[1]

    @property
    def file(self) -> str:
        """The path of the descriptor that is its first argument."""
        return self.arguments.partition("<")[2].partition(">")[0]


def read_trace(path: Path) -> Iterator[Call]:
    """Yield the calls of a trace, in the order in which they ended."""
    unfinished: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        if found := _BEGUN.fullmatch(line):
            unfinished[found[1], found[2]] = found[3], number
        elif found := _RESUMED.fullmatch(line):
            arguments, begun = unfinished.pop((found[1], found[2]))
            if found[4] != "?":
                yield Call(found[2], arguments + found[3], int(found[4]), begun, number)
        elif (found := _WHOLE.fullmatch(line)) and found[4] != "?":
            yield Call(found[2], found[3], int(found[4]), number, number)


def first(calls: list[Call], names: str, *texts: str, after: int = -1) -> Call:
    """Return the first call that succeeded, says all of these texts, and began after a line."""
    for call in calls:
        if call.name in names.split() and call.result >= 0 and call.begun > after:
            said = f"{call.name}({call.arguments})"
            if all(text in said for text in texts):
                return call
    raise AssertionError(f"no {names} of {texts} after line {after}")


@pytest.fixture
def strace(tmp_path: Path) -> list[str]:
    """A command that traces what is written behind it, where that is possible."""
    program = needs("strace")
    tried = subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        cannot(f"strace is not permitted here: {tried.stderr}")
    out = str(tmp_path / "trace")
    return [program, "-f", "-y", "-s", "300", "-e", f"trace={_CALLS}", "-o", out]


def test_what_is_acknowledged_is_durable_and_what_is_removed_is_archived(
    tmp_path: Path, strace: list[str]
) -> None:
    ledger, samples = Ledger(), Samples(seed=71)
    spool = tmp_path / "machine" / "made" / "for" / "spool"
    settings = {"RECEIVER_SPOOL": str(spool), "RECEIVER_BATCH_SECONDS": "1"}
    with Receiver(tmp_path / "elsewhere", settings, before=strace) as it:
        (tmp_path / "machine").mkdir()
        it.start()

        def post(_: int) -> None:
            assert 200 == ledger.deliver(it.request, samples.next(), token=it.token).status

        post(0)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(post, range(40)))
        archive = DirectoryArchive(it.archive)
        wait_for(lambda: it.archive.is_dir() and archive.keys("index/"), "a segment is archived")
        # strace itself passes over it.
        it.life.signal_all(signal.SIGTERM)
        assert 0 == it.life.wait()
        it.life.wait_for_all()
    calls = list(read_trace(tmp_path / "trace"))
    for delivery_id in ledger.acknowledged:
        _assert_synced_before_answered(calls, delivery_id)
    _assert_names_are_durable(calls, tmp_path / "machine", spool)
    _assert_archived_before_removed(calls)
    assert 41 == verify(archive, ledger).archived


def _assert_synced_before_answered(calls: list[Call], delivery_id: str) -> None:
    written = first(calls, "write writev pwrite64 pwritev", ".open>", f'\\"{delivery_id}')
    synced = first(calls, "fdatasync", written.file, after=written.ended)
    answered = first(calls, _SENDS, "HTTP/1.1 200", f"x-delivery-id: {delivery_id}")
    assert synced.ended < answered.begun


def _assert_names_are_durable(calls: list[Call], machine: Path, spool: Path) -> None:
    """All names on the way to the first record are synced before the first 200."""
    answered = first(calls, _SENDS, "HTTP/1.1 200")
    made = [
        *(
            call
            for call in calls
            if call.name in ("mkdir", "mkdirat") and "/.new-" not in call.path
        ),
        first(calls, "openat", "-0.open", "O_CREAT"),
        first(calls, "rename renameat renameat2", "/.new-"),
    ]
    names = {call: Path(call.path) for call in made if call.result >= 0}
    within = {call: name for call, name in names.items() if machine in name.parents}
    assert {spool, spool.parent} < set(within.values())
    for call, name in within.items():
        synced = first(calls, "fsync", f"<{name.parent}>", after=call.ended)
        assert synced.ended < answered.begun, f"the name {name} was not synced before"


def _assert_archived_before_removed(calls: list[Call]) -> None:
    """Callbacks, then the index, each durable with its name; then the segment goes."""
    removed = [
        call
        for call in calls
        if call.name in ("unlink", "unlinkat") and call.result == 0 and call.path.endswith(".seg")
    ]
    assert removed
    for call in removed:
        segment = Path(call.path).stem
        renamed = [
            each
            for each in calls
            if each.name.startswith("rename") and each.path.endswith(f"/{segment}.jsonl.gz")
        ]
        *callbacks, index = [each.path for each in renamed]
        assert all("/callbacks/" in path for path in callbacks)
        assert callbacks
        assert "/index/" in index
        ends = [
            first(calls, "fsync", f"<{Path(each.path).parent}>", after=each.ended).ended
            for each in renamed
        ]
        assert max(ends[:-1]) < renamed[-1].begun
        assert ends[-1] < call.begun

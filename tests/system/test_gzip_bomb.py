"""Bodies that inflate a thousandfold cost no more memory than others, and are kept."""

import struct
import zlib
from pathlib import Path

import pytest

from tests.tools.support.oracle import DirectoryArchive, Ledger, read_lines, verify
from tests.tools.support.samples import Sample
from tests.tools.support.server import Receiver, peak_memory_bytes

pytestmark = pytest.mark.system

_MEBI = 1 << 20
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MEMORY_BYTES_MAX = 400 * _MEBI


def squeeze(beginning: bytes, mebibytes: int, end: bytes) -> tuple[bytes, int]:
    """Return gzip of a text with so many mebibytes of ``a`` in its middle, and the text's size.

    One compressed block is repeated, so that ten gigabytes are made in a moment; the checksum is
    right up to where anybody could be willing to compute it.
    """
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compressor.compress(beginning) + compressor.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush a block refers to nothing before it.
    block = compressor.compress(b"a" * _MEBI) + compressor.flush(zlib.Z_FULL_FLUSH)
    last = compressor.compress(end) + compressor.flush(zlib.Z_FINISH)
    crc = zlib.crc32(beginning)
    for _ in range(mebibytes if mebibytes <= 512 else 0):
        crc = zlib.crc32(b"a" * _MEBI, crc)
    size = len(beginning) + mebibytes * _MEBI + len(end)
    trailer = struct.pack("<II", zlib.crc32(end, crc), size & 0xFFFFFFFF)
    return _HEAD + first + block * mebibytes + last + trailer, size


def bomb(mebibytes: int, *, too_far: bool) -> Sample:
    """Return a postback that inflates to so many mebibytes."""
    task_id = f"08141207-0000-0000-0000-{mebibytes:012d}"
    beginning = (
        f'{{"status_code":20000,"tasks":[{{"id":"{task_id}","status_code":20000,'
        '"data":{"tag":"bomb","postback_data":"html"},"result":["'
    ).encode()
    end = b'"]}]}'
    wire, size = squeeze(beginning, mebibytes, end)
    assert len(wire) < size / 900
    return Sample(
        provider="dataforseo",
        kind="postback",
        method="POST",
        rest=f"?id={task_id}&tag=bomb",
        wire=wire,
        content=wire if too_far else beginning + b"a" * mebibytes * _MEBI + end,
        task_id=task_id,
        tag="bomb",
        key=task_id if too_far else f"{task_id}:html",
        status=None if too_far else "20000",
        invalid="inflates_too_far" if too_far else None,
    )


def test_bombs_are_kept_and_memory_is_bounded(tmp_path: Path) -> None:
    ledger = Ledger()
    with Receiver(tmp_path) as it:
        it.start()
        [server] = it.server_pids()
        # From 10 KB that become 10 MB to 10 MB that become 10 GB; the limit is 512 MiB.
        for mebibytes, too_far in ((10, False), (100, False), (600, True), (10_240, True)):
            sample = bomb(mebibytes, too_far=too_far)
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        it.wait_until_shipped()
        assert peak_memory_bytes(it.life.pid) < _MEMORY_BYTES_MAX
        assert peak_memory_bytes(server) < _MEMORY_BYTES_MAX
        it.terminate()
    verify(DirectoryArchive(it.archive), ledger)


def test_bombs_that_are_shipped_at_once_are_bounded_together(tmp_path: Path) -> None:
    ledger = Ledger()
    # Each body makes a segment of its own, and four are shipped at a time.
    settings = {"RECEIVER_BATCH_BYTES": "1000", "RECEIVER_INFLATED_BYTES_MAX": "40MiB"}
    with Receiver(tmp_path, settings) as it:
        it.start()
        for mebibytes in (30, 31, 32, 33, 2000, 2001, 2002, 2003):
            sample = bomb(mebibytes, too_far=mebibytes >= 2000)
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        it.wait_until_shipped()
        assert peak_memory_bytes(it.life.pid) < _MEMORY_BYTES_MAX
        it.terminate()
    archive = DirectoryArchive(it.archive)
    verify(archive, ledger)
    assert ["inflates_too_far"] * 4 == [
        line["invalid"] for line in read_lines(archive) if line["invalid"]
    ]

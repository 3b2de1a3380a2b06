"""Bodies that inflate a thousandfold are replayed and forwarded in bounded memory."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.archive import COMPRESSIONS
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.replay.place import Delivery
from tests.tools.deliveries import segment_file
from tests.tools.support.server import peak_memory_bytes
from tests.tools.support.target import Received, Reply, TargetServer

pytestmark = pytest.mark.system

_MEBI = 1 << 20
# In JSON each of these takes six characters.
_BODY_BYTES = 128 * _MEBI
# Over that of a process that sends a body of two bytes.
_EXTRA_BYTES_MAX = 100 * _MEBI
_SECRET = "whsec_" + "QUFB" * 8


class Taken(list[tuple[int, str]]):
    """Size and digest of each body that came."""

    def __call__(self, received: Received) -> Reply:
        """Take a body and confirm it."""
        self.append((len(received.body), hashlib.sha256(received.body).hexdigest()))
        return Reply()


def archive(root: Path, *bodies: bytes) -> list[str]:
    """Archive bodies under a root; return their delivery ids."""
    records = [
        Delivery(body=body, headers=[("content-encoding", "gzip")]).record() for body in bodies
    ]
    segment_file(root / "spool", [record for _, record in records])
    Shipper(
        store=DirectoryStore(root / "archive"),
        providers=PROVIDERS,
        compression=COMPRESSIONS["gzip"],
        inflated_bytes_max=512 * _MEBI,
        concurrency=2,
    ).ship(root / "spool")
    return [delivery_id for delivery_id, _ in records]


def squeezed() -> tuple[bytes, str]:
    """Return a body's gzip, and the body's digest, without holding the body."""
    compressor, digest, piece = zlib.compressobj(9, zlib.DEFLATED, 31), hashlib.sha256(), b"\x01"
    parts = []
    for _ in range(_BODY_BYTES // _MEBI):
        parts.append(compressor.compress(piece * _MEBI))
        digest.update(piece * _MEBI)
    return b"".join([*parts, compressor.flush()]), digest.hexdigest()


def peak_of(root: Path, arguments: list[str], until: Callable[[], bool], status: int) -> int:
    """Run a command until what it should do is done, and return its peak memory."""
    environ = os.environ | {
        "RECEIVER_ARCHIVE": str(root / "archive"),
        "RECEIVER_SPOOL": str(root / "spool"),
        "RECEIVER_CATALOG": str(root / "catalog"),
        "RECEIVER_JOBS": str(root / "jobs"),
        "RECEIVER_REPLAY_SECRET": _SECRET,
        "RECEIVER_TARGET_TIMEOUT_SECONDS": "120",
    }
    command = [sys.executable, "-m", "receiver", *arguments]
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak, stopped, deadline = 0, False, time.monotonic() + 200
    while process.poll() is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, AssertionError):
            peak = max(peak, peak_memory_bytes(process.pid))
        if not stopped and until():
            stopped = True
            process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert status == process.returncode
    return peak


def test_a_replay_and_a_forward_of_a_bomb_are_bounded(tmp_path: Path) -> None:
    wire, digest = squeezed()
    assert len(wire) < 200_000
    sent, taken = (_BODY_BYTES, digest), Taken()
    small, large = tmp_path / "small", tmp_path / "large"
    (plain,) = archive(small, b"{}")
    first, second = archive(large, wire, wire)
    with TargetServer() as target:
        target.keeping, target.otherwise = False, taken
        idle = peak_of(small, ["replay", "--to", target.url, plain], lambda: False, 0)
        assert 2 == taken.pop()[0]
        replayed = peak_of(large, ["replay", "--to", target.url, first, second], lambda: False, 0)
        assert [sent, sent] == taken
        assert replayed - idle < _EXTRA_BYTES_MAX

        taken.clear()
        forward = ["forward", "--since", "2h", "--to", target.url]
        forwarded = peak_of(large, forward, lambda: len(taken) == 2, 0)
        assert [sent, sent] == taken
        assert forwarded - idle < _EXTRA_BYTES_MAX

"""The commands as processes: what they print, and their exit status.

Help, usage errors and every single setting are tests/cli's and tests/config's.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.system.conftest import Place
from tests.tools.support.oracle import DirectoryArchive, Ledger, read_lines, verify
from tests.tools.support.relay import Relay
from tests.tools.support.s3 import S3Server, environ
from tests.tools.support.samples import Samples
from tests.tools.support.server import TOKEN, Life, Receiver
from tests.tools.support.tools import needs
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_ENTRANCES = [
    ("dataforseo", "postback_url", "POST", "/dataforseo/postback/{}?id=$id&tag=$tag"),
    ("dataforseo", "pingback_url", "GET", "/dataforseo/pingback/{}?id=$id&tag=$tag"),
    ("dataforapps", "postback_url", "POST", "/dataforapps/postback/{}?id=$id&tag=$tag"),
    ("dataforapps", "pingback_url", "GET", "/dataforapps/pingback/{}?id=$id&tag=$tag"),
    ("diffbot", "notifyWebhook", "POST", "/diffbot/notification/{}"),
    ("outscraper", "webhook", "POST", "/outscraper/webhook/{}"),
]


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that was not started."""
    with Receiver(tmp_path) as receiver:
        yield receiver


def rows(ran: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """Return what a command printed with `--output json`."""
    return [orjson.loads(line) for line in ran.stdout.splitlines()]


@dataclass(frozen=True, slots=True)
class Left:
    """A spool with one open segment, as a receiver that was killed leaves it."""

    spool: Path
    ledger: Ledger

    def copy_to(self, receiver: Receiver) -> Ledger:
        """Make it the spool of a receiver; return the ledger of what is in it."""
        shutil.copytree(self.spool, receiver.spool)
        return self.ledger


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Twelve callbacks in a spool whose writer is dead."""
    ledger, samples = Ledger(), Samples(seed=101)
    # So long an interval that nothing is sealed by itself.
    settings = {"RECEIVER_BATCH_SECONDS": "600"}
    with Receiver(tmp_path_factory.mktemp("left"), settings) as receiver:
        receiver.start()
        for _ in range(12):
            ledger.deliver(receiver.request, samples.postback(), token=receiver.token)
        receiver.kill_all()
        assert [".open"] == [path.suffix for path in receiver.spooled()]
    return Left(receiver.spool, ledger)


# All of them.


def test_an_unknown_setting_is_status_3(it: Receiver) -> None:
    ran = it.command("serve", RECEIVER_TOKEN="a-secret-in-the-wrong-place")
    assert (3, "") == (ran.returncode, ran.stdout)
    assert ["receiver: unknown setting RECEIVER_TOKEN"] == [
        line.partition(";")[0] for line in ran.stderr.splitlines()
    ]


def test_secrets_and_settings_can_stand_in_files(it: Receiver) -> None:
    del it.environ["RECEIVER_TOKENS"]
    (it.root / "tokens").write_text(f"{TOKEN}\n")
    (it.root / ".env").write_text("RECEIVER_TOKENS_FILE=tokens\nRECEIVER_PUBLIC_URL=https://a.b\n")
    ran = it.command("urls", "--output", "json")
    assert f"https://a.b/diffbot/notification/{TOKEN}" in [row["url"] for row in rows(ran)]


# urls


def test_urls_are_printed_as_they_are_to_be_registered(it: Receiver) -> None:
    it.environ["RECEIVER_PUBLIC_URL"] = "https://hooks.example.net/"
    wanted = [
        (provider, name, method, "https://hooks.example.net" + path.format(TOKEN))
        for provider, name, method, path in _ENTRANCES
    ]
    ran = it.command("urls", "--output", "json")
    assert (0, "") == (ran.returncode, ran.stderr)
    printed = [(row["provider"], row["parameter"], row["method"], row["url"]) for row in rows(ran)]
    assert wanted == printed
    # A table is for copying, too: no URL may be cut or broken.
    words = it.command("urls").stdout.split()
    assert {url for *_, url in wanted} <= set(words)


def test_tokens_must_be_set_where_strangers_can_call(it: Receiver) -> None:
    del it.environ["RECEIVER_TOKENS"]
    ran = it.command("serve", RECEIVER_HOST="0.0.0.0")
    assert (3, "") == (ran.returncode, ran.stdout)
    assert "RECEIVER_TOKENS must be set" in ran.stderr


# check


def test_check_finds_nothing_wrong(tmp_path: Path, place: Place) -> None:
    with Receiver(tmp_path, place.settings) as it:
        ran = it.command("check", "--output", "json")
        assert (0, "") == (ran.returncode, ran.stderr)
        results = {row["check"]: row["result"] for row in rows(ran)}
        assert {"ok"} == set(results.values())
        assert {"settings", "spool", "disk", "clock", "conditional writes"} <= set(results)
        assert it.token not in it.command("check").stdout
    assert [] == place.archive.keys()


def test_check_of_a_wrong_bucket_is_status_3_and_says_what_to_mend(
    it: Receiver, s3: S3Server
) -> None:
    it.environ |= environ(s3.url) | {"RECEIVER_ARCHIVE": "s3://no-such-bucket/x"}
    ran = it.command("check", "--output", "json")
    assert 3 == ran.returncode
    [failed] = [row for row in rows(ran) if row["result"] != "ok"]
    assert "NoSuchBucket" in failed["detail"]
    assert "create the bucket, or correct RECEIVER_ARCHIVE" in failed["detail"] + failed["hint"]


def test_check_without_an_answer_is_status_4(it: Receiver, far: Place, relay: Relay) -> None:
    it.environ |= far.settings
    relay.behave("refuse")
    ran = it.command("check", "--output", "json")
    assert 4 == ran.returncode
    [failed] = [row for row in rows(ran) if row["result"] != "ok"]
    assert failed["check"].startswith("archive")
    assert failed["hint"]


# serve


def test_a_wrong_bucket_stops_the_start_with_one_line(it: Receiver, s3: S3Server) -> None:
    it.environ |= environ(s3.url) | {"RECEIVER_ARCHIVE": "s3://no-such-bucket/x"}
    # An answer that takes longer than a few seconds is not waited for.
    wait_for(lambda: not _serves(it), "S3 answers in time", seconds=100)
    assert (3, []) == (it.life.status, it.life.output)
    [line] = it.life.errors
    assert "NoSuchBucket" in line
    assert "create the bucket, or correct RECEIVER_ARCHIVE" in line


def _serves(it: Receiver) -> bool:
    """Tell whether it starts, or else wait for its end."""
    life = it.launch()
    wait_for(lambda: life.status is not None or life.output, "it has ended, or warns", seconds=60)
    if life.status is None:
        it.kill_all()
        return True
    life.wait_for_all()
    return bool(life.output)


def test_missing_credentials_stop_the_start_with_one_line(it: Receiver, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    it.environ |= environ(s3.url) | {"RECEIVER_ARCHIVE": f"s3://{bucket.name}"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del it.environ[name]
    ran = it.command("serve")
    assert (3, "") == (ran.returncode, ran.stdout)
    [line] = ran.stderr.splitlines()
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("AWS_PROFILE", "nowhere", "AWS_PROFILE"),
        ("AWS_ENDPOINT_URL_S3", "not a url", "AWS_ENDPOINT_URL_S3"),
        ("RECEIVER_ARCHIVE", "s3://No!Bucket/x", "RECEIVER_ARCHIVE"),
    ],
)
def test_s3_settings_that_cannot_be_stop_the_start_with_one_line(
    it: Receiver, s3: S3Server, name: str, value: str, named: str
) -> None:
    bucket = s3.new_bucket()
    it.environ |= environ(s3.url) | {"RECEIVER_ARCHIVE": f"s3://{bucket.name}"} | {name: value}
    ran = it.command("serve")
    assert (3, "") == (ran.returncode, ran.stdout)
    [line] = ran.stderr.splitlines()
    assert named in line


@pytest.mark.parametrize("fault", ["refuse", "hang", "slow_down"])
def test_an_unreachable_s3_is_only_warned_about(
    tmp_path: Path, far: Place, relay: Relay, fault: Any
) -> None:
    ledger = Ledger()
    relay.behave(fault)
    with Receiver(tmp_path, far.settings) as it:
        it.start()
        assert any("archive" in line or "check" in line for line in it.life.output)
        sample = Samples(102).postback()
        assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        assert 200 == it.readiness()
        relay.behave("pass")
        it.wait_until_shipped()
        it.terminate()
    verify(far.archive, ledger)


def test_a_port_that_is_taken_stops_the_start_with_one_line(it: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = it.command("serve", "--port", str(port))
    assert 3 == ran.returncode
    [line] = ran.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}" in line


def test_without_any_setting_it_serves_and_says_what_to_try(tmp_path: Path) -> None:
    needs("curl")
    with Receiver(tmp_path) as it:
        # Ports apart, which other programs of this machine may hold.
        ports = ("RECEIVER_PORT", "RECEIVER_ADMIN_PORT")
        for name in [name for name in it.environ if name.startswith("RECEIVER_")]:
            if name not in ports:
                del it.environ[name]
        it.environ["RECEIVER_LOG_FORMAT"] = "text"
        it.start()
        assert f"listening on {it.url}" in it.life.output
        wait_for(lambda: any("receiver urls" in line for line in it.life.output), "all is said")
        printed = it.command("urls", RECEIVER_PUBLIC_URL=it.url).stdout
        urls = re.findall(r"http://127\.0\.0\.1:\d+/\S+", printed)
        [token] = set(re.findall(r"/diffbot/notification/([0-9a-f]{48})", printed))
        for *_, path in _ENTRANCES:
            assert it.url + path.format(token) in urls
        # The line to try it with is one for a shell.
        [curl] = [line.strip() for line in it.life.output if "curl " in line]
        ran = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
        assert {"delivery_id"} == set(orjson.loads(ran.stdout))
        it.life.signal_all(signal.SIGINT)
        assert 130 == it.life.wait()
        it.life.wait_for_all()
        [line] = read_lines(DirectoryArchive(tmp_path / "data" / "archive"))
        assert ("task-1", "try", None) == (line["task_id"], line["tag"], line["invalid"])
        assert orjson.loads(ran.stdout)["delivery_id"] == line["delivery_id"]
        # The token stays, for it was registered.
        it.start()
        wait_for(lambda: token in it.life.text(), "the token is shown")


def test_without_a_terminal_it_prints_nothing_but_json(it: Receiver) -> None:
    it.environ["RECEIVER_LOG_LEVEL"] = "warning"
    it.start()
    lines = [orjson.loads(line) for line in it.life.output]
    assert [f"admin on {it.admin_url}", f"listening on {it.url}"] == [
        line["message"] for line in lines
    ]
    assert 0 == it.terminate()


# ship, drain


def test_ship_ships_what_dead_processes_left(it: Receiver, left: Left) -> None:
    ledger = left.copy_to(it)
    ran = it.command("ship", "--output", "json")
    assert (0, "") == (ran.returncode, ran.stderr)
    [shipped] = rows(ran)
    assert (1, 12, 0, 0) == tuple(
        shipped[name] for name in ("segments", "records", "quarantined", "failed")
    )
    assert [] == list(it.spool.iterdir())
    verify(DirectoryArchive(it.archive), ledger)
    assert "shipped 0 callbacks in 0 segments" in it.command("ship").stdout


def test_ship_without_an_answer_is_status_4_and_keeps_all(
    tmp_path: Path, far: Place, relay: Relay, left: Left
) -> None:
    with Receiver(tmp_path, far.settings) as it:
        ledger = left.copy_to(it)
        before = [(path, path.read_bytes()) for path in it.spooled()]
        relay.behave("refuse")
        ran = it.command("ship")
        assert (4, "") == (ran.returncode, ran.stdout)
        assert re.search("cannot (get|put)", ran.stderr)
        assert "Traceback" not in ran.stderr
        assert before == [(path, path.read_bytes()) for path in it.spooled()]
        relay.behave("pass")
        assert 0 == it.command("ship").returncode
    verify(far.archive, ledger)


def test_drain_leaves_alone_what_a_living_process_writes(it: Receiver) -> None:
    it.environ["RECEIVER_BATCH_SECONDS"] = "600"
    it.start()
    ledger = Ledger()
    ledger.deliver(it.request, Samples(103).postback(), token=it.token)
    ran = it.command("drain", "--output", "json")
    assert 1 == ran.returncode
    assert "receiver: 1 segment is not drained\n" == ran.stderr
    assert (0, 1) == (rows(ran)[0]["segments"], rows(ran)[0]["left"])
    assert 0 == it.terminate()
    ran = it.command("drain")
    assert (0, "") == (ran.returncode, ran.stderr)
    assert ran.stdout.endswith("; the spool is empty\n")
    verify(DirectoryArchive(it.archive), ledger)


def test_drain_waits_for_the_archive_if_told_to(
    tmp_path: Path, far: Place, relay: Relay, left: Left
) -> None:
    with Receiver(tmp_path, far.settings) as it:
        ledger = left.copy_to(it)
        relay.behave("refuse")
        drain = Life(
            [sys.executable, "-m", "receiver", "drain", "--wait", "8"],
            cwd=it.root,
            environ=it.environ,
        )
        try:
            wait_for(lambda: "trying again" in drain.text(), "it tries again")
            relay.behave("pass")
            assert 0 == drain.wait()
        finally:
            drain.close()
    verify(far.archive, ledger)


def test_an_interrupted_command_is_status_130(
    tmp_path: Path, far: Place, relay: Relay, left: Left
) -> None:
    with Receiver(tmp_path, far.settings) as it:
        left.copy_to(it)
        relay.behave("refuse")
        drain = Life(
            [sys.executable, "-m", "receiver", "drain", "--wait", "60"],
            cwd=it.root,
            environ=it.environ,
        )
        try:
            wait_for(lambda: "trying again" in drain.text(), "it tries again")
            drain.signal(signal.SIGINT)
            assert 130 == drain.wait(seconds=20)
            drain.wait_for_all()
            assert "Traceback" not in drain.text()
        finally:
            drain.close()
        assert it.spooled()


# spool


def test_spool_ls_lists_segments(it: Receiver, left: Left) -> None:
    left.copy_to(it)
    [path] = it.spooled()
    ran = it.command("spool", "ls", "--output", "json")
    assert (0, "") == (ran.returncode, ran.stderr)
    [row] = [row for row in rows(ran) if row["bytes"]]
    assert (path.stem, "open", path.stat().st_size, True) == tuple(
        row[name] for name in ("segment", "state", "bytes", "ready")
    )
    assert path.stem in it.command("spool", "ls").stdout


def test_spool_verify_finds_torn_and_damaged_parts(it: Receiver, left: Left) -> None:
    left.copy_to(it)
    [path] = it.spooled()
    [row] = rows(it.command("spool", "verify", "--output", "json"))
    assert (12, 0, 0) == (row["records"], row["torn_bytes"], row["damaged_parts"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    ran = it.command("spool", "verify", "--output", "json")
    [row] = rows(ran)
    assert 0 == ran.returncode
    assert (11, 0) == (row["records"], row["damaged_parts"])
    assert row["torn_bytes"] > 0
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    ran = it.command("spool", "verify", "--output", "json")
    [row] = rows(ran)
    assert 1 == ran.returncode
    assert (11, 1) == (row["records"], row["damaged_parts"])


def test_damage_is_quarantined_and_the_rest_is_shipped(it: Receiver, left: Left) -> None:
    ledger = left.copy_to(it)
    [path] = it.spooled()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    ran = it.command("drain", "--output", "json")
    assert 0 == ran.returncode
    assert (11, 1) == tuple(rows(ran)[0][name] for name in ("records", "quarantined"))
    archive = DirectoryArchive(it.archive)
    [key] = archive.keys("quarantine/")
    found = re.fullmatch(rf"quarantine/{path.stem}/(\d+)-(\d+)\.bin", key)
    assert found is not None
    start, end = int(found[1]), int(found[2])
    assert start <= middle < end
    assert [] == it.spooled()
    damaged = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    assert damaged[start:end] == archive.get(key)
    delivered = {line["delivery_id"] for line in read_lines(archive)}
    assert 11 == len(delivered)
    assert delivered < set(ledger.acknowledged)


def test_spool_cat_prints_records_and_gives_back_bodies(it: Receiver) -> None:
    ledger, samples = Ledger(), Samples(seed=104)
    it.environ["RECEIVER_BATCH_SECONDS"] = "600"
    it.start()
    sample = samples.postback(squeezed=True)
    answer = ledger.deliver(it.request, sample, token=it.token)
    # Also while the receiver writes to it.
    ran = it.command("spool", "cat")
    assert (0, "") == (ran.returncode, ran.stderr)
    [row] = rows(ran)
    assert answer.json["delivery_id"] == row["delivery_id"]
    assert ("dataforseo", "postback", len(sample.wire)) in [
        (row["provider"].replace("dataforapps", "dataforseo"), row["kind"], row["wire_bytes"])
    ]
    assert it.token not in ran.stdout
    raw = subprocess.run(
        [sys.executable, "-m", "receiver", "spool", "cat", "--raw", row["delivery_id"]],
        cwd=it.root,
        env=it.environ,
        capture_output=True,
        check=True,
    )
    assert sample.wire == raw.stdout
    assert 1 == it.command("spool", "cat", "--raw", "nothing").returncode
    [path] = it.spooled()
    assert rows(it.command("spool", "cat", str(path))) == [row]

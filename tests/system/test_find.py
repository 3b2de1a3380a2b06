"""`find`, `show`, `export` and `verify`, over what the real command archived and spooled."""

import gzip
import logging
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.system.conftest import place_in_bucket
from tests.tools.support.oracle import BucketArchive, DirectoryArchive, read_lines
from tests.tools.support.relay import Relay
from tests.tools.support.s3 import S3Server
from tests.tools.support.samples import API_KEY, DIFFBOT_TOKEN, Sample, Samples
from tests.tools.support.server import Life, Receiver
from tests.tools.support.wait import readable, wait_for

pytestmark = pytest.mark.system

_LONG_BYTES = 60 << 20
_SECRETS = {"RECEIVER_DIFFBOT_TOKEN": DIFFBOT_TOKEN, "RECEIVER_OUTSCRAPER_API_KEYS": API_KEY}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a receiver took, by delivery id: some of it is archived, the rest in its spool."""

    it: Receiver
    archived: dict[str, Sample]
    spooled: dict[str, Sample]

    @property
    def all(self) -> dict[str, Sample]:
        return self.archived | self.spooled

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(DirectoryArchive(self.it.archive))


def take(it: Receiver, samples: list[Sample]) -> dict[str, Sample]:
    """Deliver samples; return them by delivery id."""
    taken = {}
    for sample in samples:
        target = it.path(sample.provider, sample.kind, sample.rest)
        answer = it.request(sample.method, target, sample.wire, sample.headers, seconds=60)
        assert 200 == answer.status
        taken[answer.headers["x-delivery-id"]] = sample
    return taken


def long_sample(task_id: str) -> Sample:
    content = b'{"tasks":["' + b"0123456789abcde " * (_LONG_BYTES // 16) + b'"]}'
    return Sample(
        provider="dataforseo",
        kind="postback",
        method="POST",
        rest=f"?id={task_id}&tag=$tag",
        wire=gzip.compress(content, 1),
        content=content,
        task_id=task_id,
        key=task_id,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    settings = {"RECEIVER_BATCH_SECONDS": "600", "RECEIVER_BATCH_BYTES": str(64 << 20), **_SECRETS}
    it = Receiver(tmp_path_factory.mktemp("kept"), settings)
    source = Samples(seed=23)
    again = source.postback("dataforseo", squeezed=True)
    with it:
        it.start()
        archived = take(
            it, [again, *source.of_each(), *source.of_each(), long_sample("long-archived")]
        )
        it.terminate()
        it.start()
        spooled = take(it, [*source.of_each(), again, long_sample("long-spooled")])
        it.kill_all()
    return Kept(it, archived, spooled)


def rows(ran: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    # Not by `splitlines`, for which there are newlines that JSON leaves as they are.
    return [orjson.loads(line) for line in ran.stdout.split("\n")[:-1]]


def of_kind(found: dict[str, Sample], kind: str) -> str:
    """The delivery id of the first sample of a kind."""
    return next(delivery for delivery, sample in found.items() if sample.kind == kind)


# find


def test_all_is_found_the_newest_first_and_marked_where_it_is(kept: Kept) -> None:
    ran = kept.it.command("find", "--output", "json", "--limit", "1000")
    assert (0, "") == (ran.returncode, ran.stderr)
    expected = [(delivery, "archive") for delivery in kept.archived]
    expected += [(delivery, "spool") for delivery in kept.spooled]
    assert sorted(expected, reverse=True) == [
        (row["delivery_id"], row["where"]) for row in rows(ran)
    ]
    for row in rows(ran):
        sample = kept.all[row["delivery_id"]]
        assert (sample.task_id, sample.tag, sample.key, len(sample.content)) == (
            *(row["task_id"], row["tag"], row["key"]),
            row["body_bytes"],
        )


def test_filters_apply_to_archive_and_spool(kept: Kept) -> None:
    ran = kept.it.command(
        *("find", "--provider", "outscraper", "--kind", "webhook", "--output", "json")
    )
    expected = {d: s for d, s in kept.all.items() if s.provider == "outscraper"}
    assert set(expected) == {row["delivery_id"] for row in rows(ran)}
    assert {"archive", "spool"} == {row["where"] for row in rows(ran)}


def test_the_table_shows_the_newest_and_says_that_there_are_more(kept: Kept) -> None:
    ran = kept.it.command("find", "--limit", "2")
    header, *lines = ran.stdout.splitlines()
    assert header.startswith("received at")
    assert sorted(kept.all)[:-3:-1] == [line.split()[-1] for line in lines]
    assert "receiver: these are the newest 2; --limit shows more\n" == ran.stderr


def test_nothing_found_is_status_1(kept: Kept) -> None:
    for more in ((), ("--output", "json")):
        ran = kept.it.command("find", "--task-id", "nowhere", *more)
        assert (1, "", "receiver: nothing found\n") == (ran.returncode, ran.stdout, ran.stderr)


# show


def test_raw_bodies_are_what_came_byte_for_byte(kept: Kept) -> None:
    shown = {sample.kind + str(sample.invalid): delivery for delivery, sample in kept.all.items()}
    for delivery in {*shown.values(), of_kind(kept.archived, "notification")}:
        ran = command(kept.it, "show", delivery, "--raw")
        assert (0, b"") == (ran.returncode, ran.stderr)
        assert kept.all[delivery].content == ran.stdout


def command(it: Receiver, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "receiver", *arguments],
        cwd=it.root,
        env=it.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_of_a_task_the_newest_delivery_is_shown_also_from_the_spool(kept: Kept) -> None:
    twice = next(iter(kept.archived.values()))
    assert twice.task_id is not None
    newest = max(delivery for delivery, sample in kept.all.items() if sample is twice)
    assert newest in kept.spooled
    [line] = rows(kept.it.command("show", twice.task_id, "--output", "json"))
    assert (newest, "spool") == (line["delivery_id"], line["where"])


def test_head_and_body_are_shown_and_secrets_are_not(kept: Kept) -> None:
    for found in (kept.archived, kept.spooled):
        delivery = of_kind(found, "notification")
        job = orjson.loads(found[delivery].content)
        ran = kept.it.command("show", delivery)
        assert (0, "") == (ran.returncode, ran.stderr)
        head, _, rest = ran.stdout.partition("\n\n")
        headers, _, body = rest.partition("\n\n")
        assert re.search(rf"^delivery_id +{delivery}$", head, re.MULTILINE)
        assert "POST /diffbot/notification/***" == headers.splitlines()[0]
        assert "x-crawl-name: shop" in headers.splitlines()
        masked = job | {"downloadJson": job["downloadJson"].replace(DIFFBOT_TOKEN, "***")}
        assert masked == orjson.loads(body)
        assert '\n  "name"' in body
        for output in (ran.stdout, kept.it.command("show", delivery, "--output", "json").stdout):
            assert DIFFBOT_TOKEN not in output


def test_a_body_that_is_no_text_is_not_printed(kept: Kept) -> None:
    for delivery, sample in kept.all.items():
        if sample.content[:3] in (b"\xff\xfe\x00", b"\x1f\x8b\x08"):
            ran = kept.it.command("show", delivery)
            assert f"({len(sample.content)} bytes that are not text;" in ran.stdout.splitlines()[-1]
            return
    raise AssertionError("there is no such sample")


def test_a_terminal_sees_colours_and_no_commands_of_strangers(tmp_path: Path, kept: Kept) -> None:
    it = Receiver(tmp_path, {"RECEIVER_BATCH_SECONDS": "600"})
    with it:
        it.start()
        body = b"<html>\x1b]0;evil\x07\x1b[2J\xc2\x9b31m</html>"
        target = it.path("dataforseo", "postback", "?id=evil%1B[2J&tag=x%1B[5m")
        evil = it.request("POST", target, body).headers["x-delivery-id"]
        it.kill_all()
    for arguments in (("show", evil), ("find",)):
        seen = on_terminal(it, *arguments)
        assert b"\x1b[2J" not in seen
        assert b"\x1b]0;" not in seen
        assert "\x9b".encode() not in seen
        assert b"\x1b[5m" not in seen
    assert b"\\x1b[2J" in on_terminal(it, "show", evil)
    coloured = on_terminal(kept.it, "show", of_kind(kept.archived, "webhook"))
    assert re.search(rb'\x1b\[[\d;]+m"SUCCESS"', coloured)


def test_a_line_of_a_table_is_never_broken(kept: Kept) -> None:
    seen = on_terminal(kept.it, "find", "--limit", "3", COLUMNS="80").decode()
    header, *lines = seen.split("\r\n")[:-1]
    assert header.startswith("\x1b[1mreceived at  ")
    assert sorted(kept.all)[:-4:-1] == [line.split()[-1] for line in lines]
    assert all(len(line) > 80 and line == line.rstrip() for line in lines)


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colours_sees_none(kept: Kept, plain: dict[str, str]) -> None:
    shown = on_terminal(kept.it, "show", of_kind(kept.archived, "webhook"), **plain)
    assert b'"SUCCESS"' in shown
    assert b"\x1b" not in shown + on_terminal(kept.it, "find", **plain)


def on_terminal(it: Receiver, *arguments: str, **environ: str) -> bytes:
    """Run a command with a terminal as its output; return what that was sent."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", *arguments],
            cwd=it.root,
            env=it.environ | {"TERM": "xterm-256color"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        seen = b""
        while True:
            try:
                step = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not step:
                break
            seen += step
        assert process.wait(60) in (0, 1)
        return seen
    finally:
        os.close(ours)


def test_what_is_nowhere_is_status_1_and_one_line(kept: Kept) -> None:
    for identifier in ("nowhere", "01a1ffe2-9af7-7876-bde4-fce4249227b4", "f" * 14 + "7fff"):
        ran = kept.it.command("show", identifier)
        assert (1, "") == (ran.returncode, ran.stdout)
        [line] = ran.stderr.splitlines()
        assert identifier in line


def test_a_callback_is_shown_by_one_ranged_get(
    tmp_path: Path, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    place = place_in_bucket(s3.new_bucket(), s3.url)
    with Receiver(tmp_path, place.settings) as it:
        it.start()
        taken = take(it, Samples(seed=31).of_each())
        it.terminate()
        caplog.handler.setFormatter(logging.Formatter("%(message)s"))
        with caplog.at_level("INFO", logger="werkzeug"):
            ran = command(it, "show", next(iter(taken)), "--raw")
    assert next(iter(taken.values())).content == ran.stdout
    gets = [text for text in caplog.messages if "/callbacks/" in text and "list-type" not in text]
    assert 1 == len(gets), gets
    assert "GET /" in gets[0]
    assert " 206 " in gets[0]
    assert isinstance(place.archive, BucketArchive)


# export


def test_lines_are_exported_as_the_archive_has_them(kept: Kept) -> None:
    ran = command(kept.it, "export")
    assert f"receiver: {len(kept.spooled)} more wait in this machine's spool\n" == (
        ran.stderr.decode()
    )
    assert 0 == ran.returncode
    contents = [
        gzip.decompress(path.read_bytes()) for path in kept.it.archive.glob("callbacks/*/*/*/*/*")
    ]
    assert sorted(b"".join(contents).splitlines()) == sorted(ran.stdout.splitlines())


def test_of_each_key_the_latest_is_exported(kept: Kept, tmp_path: Path) -> None:
    to = tmp_path / "latest.jsonl"
    ran = kept.it.command("export", "--latest", "--to", str(to), "--provider", "diffbot")
    assert (0, "") == (ran.returncode, ran.stdout)
    newest = {
        line["key"]: line["delivery_id"] for line in kept.lines() if line["provider"] == "diffbot"
    }
    found = [orjson.loads(line)["delivery_id"] for line in to.read_bytes().splitlines()]
    assert sorted(newest.values()) == sorted(found)
    assert ["latest.jsonl"] == [path.name for path in tmp_path.iterdir()]


def test_an_export_that_fails_leaves_what_was_there(kept: Kept, tmp_path: Path) -> None:
    to = tmp_path / "export.jsonl"
    to.write_text("yesterday's")
    # No file may be longer than 64 KiB.
    limited = 'ulimit -f 64; exec "$0" -m receiver export --to "$1"'
    ran = subprocess.run(
        ["bash", "-c", limited, sys.executable, str(to)],
        cwd=kept.it.root,
        env=kept.it.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (1, "") == (ran.returncode, ran.stdout)
    assert [f"receiver: cannot write {to}: File too large"] == ran.stderr.splitlines()
    assert ["export.jsonl"] == [path.name for path in tmp_path.iterdir()]
    assert "yesterday's" == to.read_text()


def test_an_export_to_nowhere_is_status_1_and_one_line(kept: Kept) -> None:
    ran = kept.it.command("export", "--to", str(kept.it.root / "nowhere" / "x"))
    assert (1, "") == (ran.returncode, ran.stdout)
    [line] = ran.stderr.splitlines()
    assert line.endswith("No such file or directory")
    assert 0 == kept.it.command("export", "--to", "/dev/null").returncode


@pytest.mark.parametrize("arguments", ["export", "find --output json", "show long-archived --raw"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(kept: Kept, arguments: str) -> None:
    program = f'"$0" -m receiver {arguments} | head -c 5; echo "; ${{PIPESTATUS[0]}}"'
    ran = subprocess.run(
        ["bash", "-c", program, sys.executable],
        cwd=kept.it.root,
        env=kept.it.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "; 0" == ran.stdout.splitlines()[-1][-3:]
    assert "" == ran.stderr


def test_an_interrupted_export_is_status_130(kept: Kept) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "export"],
        cwd=kept.it.root,
        env=kept.it.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    # It has begun to write more than a pipe holds, and waits for a reader.
    assert readable([process.stdout], seconds=30)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (130, b"receiver: interrupted") == (process.returncode, errors.strip())


def test_what_the_archive_lost_is_named_and_the_rest_is_exported(
    kept: Kept, tmp_path: Path
) -> None:
    shutil.copytree(kept.it.archive, tmp_path / "archive")
    [path] = (tmp_path / "archive").glob("callbacks/*/*/provider=outscraper/*/*")
    path.unlink()
    ran = kept.it.command(
        "export",
        RECEIVER_ARCHIVE=str(tmp_path / "archive"),
        RECEIVER_CATALOG=str(tmp_path / "catalog"),
        RECEIVER_SPOOL=str(tmp_path / "spool"),
    )
    lost = [d for d, sample in kept.archived.items() if sample.provider == "outscraper"]
    assert 1 == ran.returncode
    assert len(kept.archived) - len(lost) == len(rows(ran))
    *named, last = ran.stderr.splitlines()
    assert lost == [line.split(": ")[1] for line in named]
    assert f"receiver: {len(lost)} lines are lost; `receiver verify` says more" == last


def test_memory_does_not_grow_with_the_longest_body(kept: Kept) -> None:
    few = peak_bytes(kept.it, "find")
    for arguments in (
        ("export",),
        ("show", "long-archived", "--raw"),
        ("show", "long-spooled", "--raw"),
        ("verify",),
    ):
        # Its wire bytes are held, which gzip makes few; 60 MiB is what they become.
        assert peak_bytes(kept.it, *arguments) < few + (30 << 20), arguments


def peak_bytes(it: Receiver, *arguments: str) -> int:
    """Run a command; return the most memory that it held.

    A program counts what held the process before it, so a small one starts it.
    """
    starter = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", starter, sys.executable, "-m", "receiver", *arguments],
        cwd=it.root,
        env=it.environ,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return int(ran.stdout) << 10


# verify


def test_verify_finds_nothing_amiss_and_counts(kept: Kept) -> None:
    for quick in ((), ("--quick",)):
        ran = kept.it.command("verify", *quick)
        assert (0, "") == (ran.returncode, ran.stderr)
        counted = re.fullmatch(
            r"(\d+) segments?, (\d+) callbacks, (\d+) bytes: no problems found\n", ran.stdout
        )
        assert counted is not None
        assert len(kept.archived) == int(counted[2])


def test_verify_says_by_its_status_that_something_is_amiss(kept: Kept, tmp_path: Path) -> None:
    shutil.copytree(kept.it.archive, tmp_path / "archive")
    elsewhere: Any = {"RECEIVER_ARCHIVE": str(tmp_path / "archive")}
    [path] = (tmp_path / "archive").glob("callbacks/*/*/provider=diffbot/*/*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert 0 == kept.it.command("verify", "--quick", **elsewhere).returncode
    ran = kept.it.command("verify", "--output", "json", **elsewhere)
    assert 1 == ran.returncode
    finding, summary = rows(ran)
    assert ("finding", "damage") == (finding["type"], finding["what"])
    assert f"{path.relative_to(tmp_path / 'archive')}@0" == finding["where"]
    assert ("summary", 1) == (summary["type"], summary["findings"])
    ran = kept.it.command("verify", **elsewhere)
    assert (1, "1 problem") == (ran.returncode, ran.stdout.splitlines()[-1].split(": ")[1])


def test_verify_can_be_interrupted_while_s3_is_silent(
    tmp_path: Path, s3: S3Server, relay: Relay
) -> None:
    place = place_in_bucket(s3.new_bucket(), relay.url)
    patient = {"RECEIVER_S3_TIMEOUT_SECONDS": "60"}
    with Receiver(tmp_path, dict(place.settings) | patient) as it:
        it.start()
        take(it, Samples(seed=37).of_each())
        it.terminate()
        relay.behave("hang")
        command = [sys.executable, "-m", "receiver", "verify"]
        verify = Life(command, cwd=it.root, environ=it.environ)
        try:
            wait_for(lambda: relay.met["hang"], "S3 is asked")
            verify.signal(signal.SIGINT)
            assert 130 == verify.wait(seconds=20)
            verify.wait_for_all()
            assert "receiver: interrupted" == verify.text().strip()
        finally:
            verify.close()

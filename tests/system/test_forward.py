"""Forwarding by the real commands: a target that is away, instances that die, what comes late."""

import base64
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from tests.tools.support.oracle import DirectoryArchive, Ledger
from tests.tools.support.samples import Samples
from tests.tools.support.server import Life, Receiver
from tests.tools.support.target import Reply, TargetServer
from tests.tools.support.terminal import CTRL_S, Terminal
from tests.tools.support.wait import readable, wait_for

pytestmark = pytest.mark.system

SECRET = "whsec_" + base64.b64encode(b"canary-secret-of-the-forwards").decode()
URL_TOKEN = "canary-token-of-the-target-8d1f"
QUERY_TOKEN = "canary-key-of-the-target-90aa"
LEASE_SECONDS, GRACE_SECONDS, ASK_SECONDS, LOOK_SECONDS = 5, 10, 10, 5


@pytest.fixture
def target() -> Iterator[TargetServer]:
    with TargetServer(listening=False) as target:
        yield target


def settings_for(target: TargetServer) -> dict[str, str]:
    return {
        "RECEIVER_FORWARD_URL": url_of(target),
        "RECEIVER_REPLAY_SECRET": SECRET,
        "RECEIVER_LEASE_SECONDS": str(LEASE_SECONDS),
    }


def url_of(target: TargetServer) -> str:
    return f"{target.url}/{URL_TOKEN}/{{provider}}?key={QUERY_TOKEN}"


def deliver(it: Receiver, ledger: Ledger, samples: Samples, count: int) -> None:
    for _ in range(count):
        answer = ledger.deliver(it.request, samples.next(), token=it.token)
        assert 200 == answer.status


def all_are_forwarded(target: TargetServer, ledger: Ledger) -> bool:
    return set(ledger.acknowledged) <= set(target.confirmed())


def nothing_is_shown(*texts: str) -> None:
    for text in texts:
        for secret in (URL_TOKEN, QUERY_TOKEN, SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in text


def files_of(archive: Path, prefix: str) -> dict[str, bytes]:
    read = DirectoryArchive(archive)
    return {key: read.get(key) for key in read.keys(prefix)}


# An instance dies.


@dataclass(frozen=True, slots=True)
class Pair:
    """Two instances over one archive; the first forwarded, and was killed in the midst of it."""

    a: Receiver
    b: Receiver
    target: TargetServer
    ledger: Ledger

    def position(self) -> Any:
        """Return what is written down."""
        archive = Path(self.a.environ["RECEIVER_ARCHIVE"])
        return orjson.loads((archive / "forwards/default/position.json").read_bytes())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Begun with the first test and looked at by the last: a lease takes its time to run out."""
    root = tmp_path_factory.mktemp("pair")
    ledger, samples = Ledger(), Samples(seed=72)
    with TargetServer() as target:
        # Some get an answer, and the rest of them none until another forwards.
        target.otherwise = lambda _: Reply() if len(target.received) < 30 else Reply(what="hang")
        shared = {**settings_for(target), "RECEIVER_ARCHIVE": str(root / "archive")}
        with (
            Receiver(root / "a", shared | {"RECEIVER_INSTANCE": "a"}) as a,
            Receiver(root / "b", shared | {"RECEIVER_INSTANCE": "b"}) as b,
        ):
            a.start()
            wait_for(lambda: a.status()["forward"]["active"], "one forwards")
            b.start()
            wait_for(lambda: b.status()["forward"]["held_by"], "the other is told")
            for it in (a, b):
                deliver(it, ledger, samples, 40)
            wait_for(lambda: len(target.received) >= 30, "they are being forwarded")
            assert not all_are_forwarded(target, ledger)
            a.kill_all()
            target.otherwise = Reply()
            deliver(b, ledger, samples, 40)
            yield Pair(a, b, target, ledger)


def test_of_two_instances_one_forwards_and_the_other_says_who(pair: Pair) -> None:
    status = pair.b.status()["forward"]
    assert not status["active"]
    assert status["held_by"].startswith("a/")
    assert 1 == pair.position()["generation"]


# A target is away.


def test_a_target_that_is_down_holds_up_nothing_but_the_forwarding(
    tmp_path: Path, target: TargetServer
) -> None:
    ledger, samples = Ledger(), Samples(seed=71)
    with Receiver(tmp_path, settings_for(target)) as it:
        it.start()
        wait_for(lambda: it.status()["forward"]["active"], "it forwards")
        deliver(it, ledger, samples, 30)
        wait_for(lambda: it.metric("receiver_forward_lag_seconds") > 0.5, "the lag is seen")
        before = it.metric("receiver_forward_lag_seconds")
        # The door answers, and what came is shipped.
        deliver(it, ledger, samples, 10)
        assert 200 == it.readiness()
        it.wait_until_shipped()
        wait_for(lambda: it.metric("receiver_lag_seconds") == 0, "all is shipped")
        wait_for(lambda: it.metric("receiver_forward_lag_seconds") > before + 0.5, "it grows")
        assert 0 == it.metric("receiver_forwarded_total")
        status = it.status()["forward"]
        assert (True, 0, 0) == (status["active"], status["confirmed"], status["failed"])
        assert (target.url, "default") == (status["target"], status["name"])

        target.listen()
        wait_for(lambda: all_are_forwarded(target, ledger), "all are forwarded", seconds=60)
        wait_for(lambda: it.metric("receiver_forward_lag_seconds") == 0, "nothing is left")
        assert 40 == it.metric("receiver_forwarded_total", outcome="confirmed")
        assert 0 == it.metric("receiver_forwarded_total", outcome="failed")
        shown = (it.metrics_text(), orjson.dumps(it.status()).decode())
        deliver(it, ledger, samples, 5)
        assert 0 == it.terminate()
        nothing_is_shown(it.text(), *shown)
        nothing_is_shown(*(str(content) for content in files_of(it.archive, "forwards/").values()))

        # The next life goes on at once, and sends nothing again.
        it.start()
        wait_for(lambda: all_are_forwarded(target, ledger), "it goes on")
        assert 0 == it.terminate()
        assert 45 == len(target.received)
    _check_requests(target, ledger)


def _check_requests(target: TargetServer, ledger: Ledger) -> None:
    for received in target.received:
        provider, _, came, _ = ledger.acknowledged[received.id]
        query = came.partition("?")[2]
        expected = f"/{URL_TOKEN}/{provider}?key={QUERY_TOKEN}" + (f"&{query}" if query else "")
        assert expected == received.target
        assert "webhook-replay" not in received.headers
        sent = ledger.sent[ledger.acknowledged[received.id]]
        assert (sent.method, sent.body_bytes) == (received.method, len(received.body))
        if sent.invalid is None:
            Webhook(SECRET).verify(received.body, dict(received.headers), json_parse=False)


# The command.


def forward(it: Receiver, target: TargetServer, *arguments: str, **settings: str) -> Life:
    command = [sys.executable, "-m", "receiver", "forward", "--to", url_of(target), *arguments]
    return Life(command, cwd=it.root, environ=it.environ | settings)


def test_the_command_forwards_what_there_is_and_lists_what_it_cannot(
    tmp_path: Path, target: TargetServer
) -> None:
    ledger, samples = Ledger(), Samples(seed=73)
    target.listen()
    with Receiver(tmp_path, {"RECEIVER_REPLAY_SECRET": SECRET}) as it:
        it.start()
        for sample in samples.of_each():
            ledger.deliver(it.request, sample, token=it.token)
        it.wait_until_shipped()
        assert 0 == it.terminate()
        lost = next(it.archive.glob("callbacks/**/provider=diffbot/**/*.gz"))
        lost.unlink()
        (gone,) = (id for id, sent in ledger.acknowledged.items() if sent[0] == "diffbot")
        kept = set(ledger.acknowledged) - {gone}

        target.otherwise = Reply(seconds=0.02)
        alone = {"RECEIVER_FORWARD_CONCURRENCY": "1"}
        with closing(forward(it, target, "--since", "2h", "--name", "x", **alone)) as life:
            wait_for(lambda: kept == set(target.confirmed()), "all are forwarded")
            assert 1 == target.under_way_max
            _stand_by(it, target)
            life.signal(signal.SIGTERM)
            assert 0 == life.wait(), life.text()
            life.wait_for_all()
            said = life.errors[-1]
            assert f"to {target.url}: {len(kept)} confirmed, 1 failed, 0.0 s behind" in said
            nothing_is_shown(life.text())
        (content,) = files_of(it.archive, "forwards/x/failed/").values()
        facts: dict[str, Any] = orjson.loads(content)
        assert (gone, 0) == (facts["delivery_id"], facts["attempts"])
        assert ["forwards/x/position.json"] == list(files_of(it.archive, "forwards/x/position"))

        # Gone on with where it stopped: nothing is sent again.
        with closing(forward(it, target, "--name", "x", "--since", "2h")) as life:
            wait_for(lambda: _generation(it) == 2, "it has begun")
            life.signal(signal.SIGINT)
            assert 130 == life.wait()
            life.wait_for_all()
            assert "0 confirmed, 0 failed" in life.errors[-1]
        assert len(kept) == len(target.received)


def test_the_command_says_that_the_target_is_down_and_how_far_behind_it_was(
    tmp_path: Path, target: TargetServer
) -> None:
    with Receiver(tmp_path) as it:
        it.start()
        deliver(it, Ledger(), Samples(seed=75), 3)
        it.wait_until_shipped()
        assert 0 == it.terminate()
        with closing(forward(it, target, "--since", "2h")) as life:
            wait_for(lambda: life.errors, "it warns")
            life.signal(signal.SIGINT)
            assert 130 == life.wait(), life.text()
            life.wait_for_all()
            warned, said = life.errors
            warning = orjson.loads(warned)
            assert ("target cannot be reached; trying again", target.url, "Connection refused") == (
                *(warning["message"], warning["target"]),
                warning["error"],
            )
            behind = re.fullmatch(
                rf"forwarding to {target.url}: 0 confirmed, 0 failed, ([\d.]+) s behind", said
            )
            assert behind is not None, said
            assert float(behind[1]) > 0
            nothing_is_shown(life.text())


def _stand_by(it: Receiver, target: TargetServer) -> None:
    """Run a second one for as long as it takes to see that it waits."""
    debug = {"RECEIVER_LOG_LEVEL": "debug"}
    with closing(forward(it, target, "--name", "x", **debug)) as other:
        wait_for(lambda: "another instance forwards" in other.text(), "it stands by")
        other.signal(signal.SIGINT)
        assert 130 == other.wait(), other.text()
        other.wait_for_all()
        assert f"holds leases/forward-x.json to {target.url}: 0 conf" in other.errors[-1]
        nothing_is_shown(other.text())


def _generation(it: Receiver) -> int:
    lease = orjson.loads((it.archive / "leases/forward-x.json").read_bytes())
    return int(lease["generation"])


def test_a_terminal_is_shown_how_far_it_is(tmp_path: Path, target: TargetServer) -> None:
    with Receiver(tmp_path) as it:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "receiver", "forward", "--to", url_of(target)]
        process = subprocess.Popen(
            command,
            cwd=it.root,
            env=it.environ | {"TERM": "xterm", "COLUMNS": "120"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown, told = b"", False
        while readable([ours], seconds=60):
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break  # Linux's way to say that the other side is closed
            if b" behind" in shown and not told:
                told = True
                process.send_signal(signal.SIGINT)
        os.close(ours)
        assert 130 == process.wait(60)
    assert f"forwarding to {target.url}: 0 confirmed, 0 failed, 0.0 s behind" in shown.decode()
    nothing_is_shown(shown.decode())


def test_a_terminal_that_is_stopped_stops_no_forwarding(tmp_path: Path) -> None:
    ledger = Ledger()
    with Receiver(tmp_path) as it, TargetServer() as target:
        it.start()
        command = [sys.executable, "-m", "receiver", "forward", "--to", url_of(target)]
        with Terminal(command, cwd=it.root, environ=it.environ) as terminal:
            terminal.wait_for(" confirmed, ")
            terminal.press(CTRL_S)
            # The line is drawn several times a second: by now whoever waits for it stands still.
            for _ in range(3):
                deliver(it, ledger, Samples(seed=74 + len(ledger.sent)), 5)
                wait_for(lambda: all_are_forwarded(target, ledger), "all of it", seconds=60)
            terminal.signal(signal.SIGTERM)
            assert 0 == terminal.wait(seconds=20)
            nothing_is_shown(terminal.shown())


def test_serve_does_not_start_with_a_url_that_cannot_be_called(tmp_path: Path) -> None:
    url = f"ftp://h/{URL_TOKEN}"
    with Receiver(tmp_path, {"RECEIVER_FORWARD_URL": url}) as it:
        life = it.launch()
        assert 3 == life.wait()
        life.wait_for_all()
        assert "http:// or https://" in life.text()
        nothing_is_shown(life.text())


# An instance dies: what came of it.


def test_when_an_instance_was_killed_another_forwards_for_it(pair: Pair) -> None:
    seconds = LEASE_SECONDS + GRACE_SECONDS + ASK_SECONDS + 20
    wait_for(lambda: pair.b.status()["forward"]["active"], "the other forwards", seconds=seconds)
    # What its spool still holds comes late, and goes by the other.
    pair.a.start()
    wait_for(lambda: all_are_forwarded(pair.target, pair.ledger), "all of it", seconds=60)
    wait_for(lambda: pair.position()["generation"] == 2, "the other writes it down")
    assert not pair.a.status()["forward"]["active"]
    nothing_is_shown(pair.a.text(), pair.b.text())
    twice = pair.target.confirmed().total() - len(pair.ledger.acknowledged)
    print(f"{len(pair.ledger.acknowledged)} callbacks, {twice} sent twice")

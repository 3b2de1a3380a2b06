"""Two instances behind nginx and HAProxy, as `infra/` configures them, counted at the client.

Senders speak TLS to the balancer; the instances ship to one bucket.  Where a balancer may send a
callback to a second instance, the archive may hold it twice; it must never lack one.
"""

import contextlib
import dataclasses
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.conftest import Place
from tests.tools.support.balancer import BALANCERS, Cluster
from tests.tools.support.http import Answer, connection_to, exchange
from tests.tools.support.oracle import Ledger, Load, read_lines, verify
from tests.tools.support.relay import Relay
from tests.tools.support.samples import Sample, Samples
from tests.tools.support.wait import wait_for

pytestmark = [pytest.mark.system, pytest.mark.parametrize("balancer", BALANCERS)]

_BODY_BYTES_MAX = 64 << 20
# HAProxy's tune.bufsize; what is larger it can send to one instance only.
_BUFFER_BYTES = 128 << 10
# Of an instance that does not answer, what is sent to it is to wait for it: HAProxy's checks and
# its patience do not decide on a busy machine which of its servers is asked.
_PATIENT = {
    "nginx": {},
    "haproxy": {"fall 2 rise 1": "fall 100 rise 1", "timeout server 4s": "timeout server 60s"},
}


def _load(cluster: Cluster, ledger: Ledger, seed: int, *, keeps_alive: bool = True) -> Load:
    return Load(
        cluster,
        ledger,
        seed=seed,
        senders=3,
        pause_seconds=0.02,
        tls=cluster.balancer.tls,
        looks=True,
        keeps_alive=keeps_alive,
    )


def _wait_for_more(ledger: Ledger, count: int) -> None:
    wanted = len(ledger.acknowledged) + count
    wait_for(lambda: len(ledger.acknowledged) >= wanted, f"{count} more are acknowledged")


def _restart(cluster: Cluster, number: int) -> None:
    """End an instance in good order, once those who ask may know, and start it again."""
    it = cluster.receivers[number]
    if cluster.balancer.name == "haproxy":
        it.life.signal(signal.SIGTERM)
        name = ("one", "two")[number]
        # It is told by /readyz, before a connection is refused.
        down = f"Server receivers/{name} is DOWN, reason: Layer7 wrong status, code: 503"
        wait_for(lambda: down in cluster.balancer.text(), "HAProxy takes it out")
    assert 0 == it.terminate()  # where it was asked already, it waits no longer
    it.start()
    wait_for(it.spooled, "the new one takes callbacks")


def _wait_until_both_take(cluster: Cluster) -> None:
    wait_for(lambda: all(it.spooled() for it in cluster.receivers), "both take callbacks")


def test_the_configuration_is_valid(balancer: str, tmp_path: Path) -> None:
    it = BALANCERS[balancer](tmp_path / balancer, ("127.0.0.1:9", "127.0.0.1:10"))
    with contextlib.closing(it):
        status, complaints = it.check()
    assert (0, []) == (status, complaints)


def test_instances_restart_one_after_the_other_unnoticed(
    balancer: str, tmp_path: Path, far: Place
) -> None:
    ledger = Ledger()
    # nginx does not ask, so nothing is waited for.
    drain_seconds = {"nginx": "2", "haproxy": "60"}[balancer]
    settings = {**far.settings, "RECEIVER_DRAIN_SECONDS": drain_seconds}
    with Cluster(balancer, tmp_path, settings) as cluster:
        with _load(cluster, ledger, seed=41) as load:
            _wait_until_both_take(cluster)
            for number in range(len(cluster.receivers)):
                _restart(cluster, number)
        assert ({200}, {}) == (set(ledger.statuses), load.unanswered)
        cluster.end()
    verify(far.archive, ledger)


def test_kill_9_of_an_instance_loses_nothing_that_was_acknowledged(
    balancer: str, tmp_path: Path, far: Place
) -> None:
    ledger, samples = Ledger(), Samples(seed=42)
    patient = _PATIENT[balancer]
    with (
        Cluster(balancer, tmp_path, far.settings, changes=patient) as cluster,
        ThreadPoolExecutor() as pool,
    ):
        gone = cluster.receivers[0]
        # Requests that it has taken from the wire, and will never answer.
        gone.life.signal_all(signal.SIGSTOP)
        large = [_large(samples) for _ in range(2)]
        answers = [
            pool.submit(ledger.deliver, cluster.request, sample, token=cluster.token)
            for sample in large
        ]
        wait_for(lambda: any(answer.done() for answer in answers), "the other takes one of two")
        with _load(cluster, ledger, seed=43) as load:
            wait_for(lambda: _kept_waiting(ledger), "requests wait for it")
            gone.kill_all()
            _wait_for_more(ledger, 100)
            gone.start()
            wait_for(gone.spooled, "the new one takes callbacks")
        statuses = Counter(answer.result().status for answer in answers)
        # HAProxy can send again only what fits in its buffer; what a provider is told is the truth.
        assert statuses == ({200: 2} if balancer == "nginx" else {200: 1, 502: 1})
        assert (ledger.statuses - statuses).keys() == {200}
        assert {} == load.unanswered
        cluster.end()
    verify(far.archive, ledger, may_repeat=True)


def _large(samples: Samples) -> Sample:
    """Return a callback that fills no buffer of nginx, and more than one of HAProxy."""
    sample = samples.webhook(signed=False)
    content = sample.content + b" " * (_BUFFER_BYTES + 1)
    return dataclasses.replace(sample, wire=content, content=content)


def _kept_waiting(ledger: Ledger) -> bool:
    """Tell whether requests get no answer while forty others do, and not the large one alone."""
    before = ledger.sent.keys() - set(ledger.acknowledged.values())
    _wait_for_more(ledger, 40)
    return len(before - set(ledger.acknowledged.values())) >= 2


def test_the_balancer_reloads_while_s3_is_away_unnoticed(
    balancer: str, tmp_path: Path, far: Place, relay: Relay
) -> None:
    ledger = Ledger()
    with Cluster(balancer, tmp_path, far.settings) as cluster:
        with (
            _load(cluster, ledger, seed=44) as load,
            _load(cluster, ledger, seed=45, keeps_alive=False) as other_load,
        ):
            _wait_until_both_take(cluster)
            relay.behave("hang")
            for _ in range(5):
                _wait_for_more(ledger, 30)
                cluster.balancer.reload()
            wait_for(
                lambda: all(len(it.spooled()) > 4 for it in cluster.receivers), "segments wait"
            )
            assert [200, 200] == [it.readiness() for it in cluster.receivers]
            relay.behave("pass")
        assert {200} == set(ledger.statuses)
        assert {} == load.unanswered == other_load.unanswered
        cluster.end()
    verify(far.archive, ledger)


class _Refusals(Ledger):
    """Also notes what was refused: answer and size."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[tuple[int, int]] = []

    def settle(self, sample: Sample, answer: Answer) -> None:
        """Note the answer to a sample."""
        super().settle(sample, answer)
        if answer.status != 200:
            self.refused.append((answer.status, len(sample.wire)))


def test_what_a_full_instance_refuses_the_other_takes(
    balancer: str, tmp_path: Path, far: Place
) -> None:
    ledger = _Refusals()
    full = {"RECEIVER_SPOOL_BYTES_MAX": "20000"}
    patient = _PATIENT[balancer]
    with Cluster(balancer, tmp_path, far.settings, second=full, changes=patient) as cluster:
        it = cluster.receivers[1]
        with _load(cluster, ledger, seed=46) as load:
            refused = "receiver_rejected_total"
            wait_for(lambda: it.metric(refused) >= 50, "it refuses", seconds=60)
            _wait_for_more(ledger, 100)
        assert {} == load.unanswered
        cluster.end()
    if balancer == "haproxy":
        # It can send again only what fits in its buffer.
        assert {503} >= {status for status, _ in ledger.refused}
        assert all(size > _BUFFER_BYTES for _, size in ledger.refused)
    else:
        assert [] == ledger.refused
    verify(far.archive, ledger)


def test_the_door_is_the_receivers_own(balancer: str, tmp_path: Path, far: Place) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    with Cluster(balancer, tmp_path, far.settings) as cluster:
        target = cluster.receivers[0].path("diffbot", "notification")
        caller = connection_to(
            cluster.balancer.url, tls=cluster.balancer.tls, source="127.0.0.2", seconds=90
        )
        with contextlib.closing(caller):
            largest = b"{" + b" " * (_BODY_BYTES_MAX - 2) + b"}"
            assert 200 == exchange(caller, "POST", target, largest, claims).status
        larger = {"Content-Length": str(_BODY_BYTES_MAX + 1)}
        assert 413 == cluster.request("PUT", target, headers=larger).status
        for path in ("/readyz", "/healthz/", "/version", "/%72eadyz", "/"):
            answer = cluster.request("GET", path)
            assert (404, False) == (answer.status, b"unknown_route" in answer.body)
        assert 200 == cluster.receivers[0].readiness()
        cluster.end()
    [line] = read_lines(far.archive)
    assert _BODY_BYTES_MAX == line["wire_bytes"]
    # Who called the balancer, and not who he says that he is.
    assert "127.0.0.2" == line["peer"]
    headers = [(name, value) for name, value in line["headers"] if "forwarded" in name]
    assert [("x-forwarded-for", "127.0.0.2"), ("x-forwarded-proto", "https")] == sorted(headers)

"""Who closes an idle connection between balancer and instance, and what comes of it.

With the balancer's idle limit below the receiver's no call is lost, though nothing is sent twice;
with the relation reversed calls are lost, which shows that these tests can tell.
"""

import contextlib
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.support.balancer import Cluster
from tests.support.http import connection_to, exchange

pytestmark = pytest.mark.system

_CONNECTIONS = 16
# Of the wait for an idle limit.
_EARLIER_SECONDS = 0.25
_NGINX_RETRIES = (
    "proxy_next_upstream error timeout invalid_header http_500 http_503 non_idempotent;"
)
_HAPROXY_RETRIES = "retry-on conn-failure empty-response response-timeout 500 503"
_RETRIES_OFF = {
    "nginx": {_NGINX_RETRIES: "proxy_next_upstream off;"},
    "haproxy": {_HAPROXY_RETRIES: "retry-on none"},
}


def _idle_limit(balancer: str, seconds: int) -> dict[str, str]:
    if balancer == "haproxy":
        return {"pool-purge-delay 1s": f"pool-purge-delay {seconds}s"}
    return {
        "keepalive_timeout 5s;": f"keepalive_timeout {seconds}s;",
        # So that clients can send while the balancer is held.
        "keepalive_timeout 0;": "keepalive_timeout 75s;",
    }


class _Callers:
    """Clients that keep their connections and call at moments of the test's choosing."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._target = cluster.receivers[0].path("diffbot", "notification")
        balancer = cluster.balancer
        self._connections = [
            connection_to(balancer.url, tls=balancer.tls) for _ in range(_CONNECTIONS)
        ]
        self.outcomes: Counter[str] = Counter()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def call(self) -> None:
        """Call at once, so that the balancer needs about as many connections to the instances."""
        self._send()
        self._receive()

    def call_at_the_border(self, idle_seconds: float) -> None:
        """Call at once, a little before connections have idled for so long.

        The balancer is held until a little after, as a long wire would do it: it has requests to
        send on connections whose end it has not learnt of.
        """
        began = time.monotonic()
        _sleep_until(began + idle_seconds - _EARLIER_SECONDS)
        self._cluster.balancer.life.signal_all(signal.SIGSTOP)
        self._send()
        _sleep_until(began + idle_seconds + _EARLIER_SECONDS)
        self._cluster.balancer.life.signal_all(signal.SIGCONT)
        self._receive()

    def call_now_and_then(self, seed: int, least: float, most: float) -> None:
        """Call twice on each connection, each time after a random pause."""

        def run(connection: HTTPConnection, chance: random.Random) -> list[int]:
            statuses = []
            for _ in range(2):
                time.sleep(chance.uniform(least, most))
                statuses.append(exchange(connection, "POST", self._target, b"{}").status)
            return statuses

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            chances = map(random.Random, range(seed, seed + _CONNECTIONS))
            for statuses in pool.map(run, self._connections, chances):
                self.outcomes.update(map(str, statuses))

    def _send(self) -> None:
        for connection in self._connections:
            connection.request("POST", self._target, b"{}")

    def _receive(self) -> None:
        for connection in self._connections:
            try:
                with connection.getresponse() as response:
                    response.read()
                    self.outcomes[str(response.status)] += 1
            except (OSError, HTTPException):
                self.outcomes["lost"] += 1
                connection.close()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@pytest.mark.parametrize("balancer", ["nginx", "haproxy"])
def test_no_call_meets_the_end_of_an_idle_connection(balancer: str, tmp_path: Path) -> None:
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "2"}
    changes = _RETRIES_OFF[balancer] | _idle_limit(balancer, 1)
    with (
        Cluster(balancer, tmp_path, settings, changes=changes) as cluster,
        contextlib.closing(_Callers(cluster)) as callers,
    ):
        callers.call()
        callers.call_now_and_then(51, 0.8, 2.0)
        for _ in range(2):
            callers.call()
            callers.call_at_the_border(1)
        assert {"200": 7 * _CONNECTIONS} == callers.outcomes
        cluster.end()


@pytest.mark.parametrize(
    ("balancer", "failure"), [("nginx", "502"), ("haproxy", "lost")], ids=["nginx", "haproxy"]
)
def test_calls_meet_it_where_the_receiver_closes_first(
    balancer: str, failure: str, tmp_path: Path
) -> None:
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "1"}
    changes = _RETRIES_OFF[balancer] | _idle_limit(balancer, 3)
    with (
        Cluster(balancer, tmp_path, settings, changes=changes) as cluster,
        contextlib.closing(_Callers(cluster)) as callers,
    ):
        for _ in range(3):
            callers.call()
            callers.call_at_the_border(1)
        assert {"200", failure} == callers.outcomes.keys()


def test_haproxy_sends_again_what_met_it(tmp_path: Path) -> None:
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "1"}
    changes = _idle_limit("haproxy", 3)
    with (
        Cluster("haproxy", tmp_path, settings, changes=changes) as cluster,
        contextlib.closing(_Callers(cluster)) as callers,
    ):
        for _ in range(3):
            callers.call()
            callers.call_at_the_border(1)
        assert {"200": 6 * _CONNECTIONS} == callers.outcomes

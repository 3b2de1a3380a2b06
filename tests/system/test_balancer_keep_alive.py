"""Who closes an idle connection between balancer and instance, and what comes of it.

The balancer does, where its idle limit is below the receiver's: then no call is lost, though
nothing is sent again.  With the relation reversed calls are lost, so these tests can tell.  On the
wire between them an end takes a while to be known, as it does between machines.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.tools.support.balancer import Cluster
from tests.tools.support.http import connection_to, exchange
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_CONNECTIONS = 16
# From receiver to balancer.
_WIRE_SECONDS = 0.3
# Behind an answer that took the wire, the receiver's limit of one second is over, and the balancer
# does not know it yet.
_JUST_OVER_SECONDS = 1 - _WIRE_SECONDS / 2
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
        # Clients are to use their connections again.
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

    def call_after(self, seconds: float) -> None:
        """Call at once, so long after the last answer."""
        time.sleep(seconds)
        self.call()

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


@contextlib.contextmanager
def _calls(
    balancer: str, root: Path, settings: Mapping[str, str], changes: Mapping[str, str]
) -> Iterator[_Callers]:
    """Call twice: the first time on new connections, which come one after the other."""
    with (
        Cluster(balancer, root, settings, changes=changes, wire_seconds=_WIRE_SECONDS) as cluster,
        contextlib.closing(_Callers(cluster)) as callers,
    ):
        callers.call()
        callers.call()
        yield callers


@pytest.mark.parametrize("balancer", ["nginx", "haproxy"])
def test_no_call_meets_the_end_of_an_idle_connection(balancer: str, tmp_path: Path) -> None:
    # HAProxy's limit is none for a single connection: it closes half of them, and half of the rest.
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "15"}
    changes = _RETRIES_OFF[balancer] | _idle_limit(balancer, 1)
    with _calls(balancer, tmp_path, settings, changes) as callers:
        callers.call_now_and_then(51, 0.5, 1.5)
        callers.call()
        callers.call_after(1 - _WIRE_SECONDS)
        callers.call_after(1)
    assert {"200": 7 * _CONNECTIONS} == callers.outcomes


@pytest.mark.parametrize(
    ("balancer", "failure"), [("nginx", "502"), ("haproxy", "lost")], ids=["nginx", "haproxy"]
)
def test_calls_meet_it_where_the_receiver_closes_first(
    balancer: str, failure: str, tmp_path: Path
) -> None:
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "1"}
    changes = _RETRIES_OFF[balancer] | _idle_limit(balancer, 3)
    with _calls(balancer, tmp_path, settings, changes) as callers:

        def met() -> bool:
            # On a busy machine it may come too late, and to new connections.
            callers.call_after(_JUST_OVER_SECONDS)
            return failure in callers.outcomes

        wait_for(met, "a call meets the end of a connection", seconds=60)
    assert {"200", failure} == callers.outcomes.keys()


def test_haproxy_sends_again_what_met_it(tmp_path: Path) -> None:
    settings = {"RECEIVER_KEEP_ALIVE_SECONDS": "1"}
    with _calls("haproxy", tmp_path, settings, _idle_limit("haproxy", 3)) as callers:
        callers.call_after(_JUST_OVER_SECONDS)
    assert {"200": 3 * _CONNECTIONS} == callers.outcomes

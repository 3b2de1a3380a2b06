"""Requests that two parsers may take for one or for two, through nginx and HAProxy.

Smuggled is what an instance takes for a request and the balancer did not: it stands in no log, and
its answer goes to somebody else.  So the balancer's log must name exactly the callbacks that are in
the archives, and whoever else calls must be told of his own.
"""

from pathlib import Path

import pytest

from tests.tools.support.balancer import BALANCERS, Balancer, Cluster
from tests.tools.support.http import connect, connection_to, exchange
from tests.tools.support.oracle import DirectoryArchive, Ledger, read_lines
from tests.tools.support.samples import Samples
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_INNER = (
    b"POST /diffbot/notification/TOKEN?inner=NAME HTTP/1.1\r\n"
    b"Host: a\r\nContent-Length: 2\r\n\r\n{}"
)
_OUTER = b"%s /outscraper/webhook/TOKEN?outer=NAME HTTP/%s\r\nHost: a\r\n%s\r\n\r\n%s"
# How long an answer may take that does not come.
_SILENCE_SECONDS = 0.3

_LENGTH = b"Content-Length: LENGTH"
_CHUNKED = b"Transfer-Encoding: chunked"
_EMPTY = b"0\r\n\r\n"

# Headers, and what stands in the body before the inner request.
_ATTACKS: dict[str, tuple[bytes, bytes]] = {
    "cl-te": (_LENGTH + b"\r\n" + _CHUNKED, _EMPTY),
    "te-cl": (_CHUNKED + b"\r\n" + _LENGTH, _EMPTY),
    **{
        f"te-{number}": (_LENGTH + b"\r\n" + header, _EMPTY)
        for number, header in enumerate(
            (
                b"Transfer-Encoding: xchunked",
                b"Transfer-Encoding : chunked",
                b"Transfer-Encoding:\tchunked",
                b"Transfer-Encoding:\r\n chunked",
                b"X: y\r\n Transfer-Encoding: chunked",
                b"tRANSFER-eNCODING: ChUnKeD",
                b"Transfer-Encoding: identity",
                b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: chunked, identity",
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: \x0bchunked",
                b"Transfer-Encoding: chunked\x00",
                b'Transfer-Encoding: "chunked"',
                b"Transfer_Encoding: chunked",
                b"X: a\nTransfer-Encoding: chunked",
                b"X: a\rTransfer-Encoding: chunked",
            )
        )
    },
    **{
        f"cl-{number}": (header, b"")
        for number, header in enumerate(
            (
                b"Content-Length: 0\r\n" + _LENGTH,
                _LENGTH + b"\r\nContent-Length: 0",
                b"Content-Length: 0, LENGTH",
                b"Content-Length: +LENGTH",
                b"Content-Length: 0xLENGTH",
                b"Content-Length: 0 LENGTH",
                b"Content-Length: -1",
                b"Content-Length: 18446744073709551616",
                b"Content-Length: ",
                b"Content_Length: 0\r\n" + _LENGTH,
                b"Connection: Content-Length\r\n" + _LENGTH,
                b"Expect: 100-continue\r\n" + _LENGTH,
                b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + _LENGTH,
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + _LENGTH,
            )
        )
    },
    **{
        f"chunk-{number}": (_CHUNKED, before)
        for number, before in enumerate(
            (
                b"0;\n\r\n\r\n",
                b"2;a\n\r\n{}\r\n0\r\n\r\n",
                b"2\n{}\n0\n\n",
                b"10000000000000000\r\n",
                b"0x0\r\n\r\n",
                b"-1\r\n",
                b"0\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
        )
    },
}
# Other methods and an older version, with a body that both sides can measure.
_FIRST_LINES = ((b"GET", b"1.1"), (b"HEAD", b"1.1"), (b"CONNECT", b"1.1"), (b"POST", b"1.0"))


def _attacks(token: str) -> list[bytes]:
    attacks = [
        (name, b"POST", b"1.1", headers, before) for name, (headers, before) in _ATTACKS.items()
    ]
    for method, version in _FIRST_LINES:
        name = f"{method.decode()}-{version.decode()}"
        attacks.append((name, method, version, _LENGTH, b""))
        attacks.append((f"{name}-te", method, version, _LENGTH + b"\r\n" + _CHUNKED, _EMPTY))
    return [
        _written(token, name, method, version, headers, before)
        for name, method, version, headers, before in attacks
    ]


def _written(
    token: str, name: str, method: bytes, version: bytes, headers: bytes, before: bytes
) -> bytes:
    def filled(text: bytes) -> bytes:
        return text.replace(b"TOKEN", token.encode()).replace(b"NAME", name.encode())

    body = before + filled(_INNER)
    measured = headers.replace(b"LENGTH", b"%d" % len(body))
    return filled(_OUTER % (method, version, measured, b"BODY")).replace(b"BODY", body)


def _send(balancer: Balancer, attack: bytes) -> bytes:
    """Send an attack and return what came back until the end or a silence."""
    answer = b""
    with balancer.tls.wrap_socket(connect(balancer.url), server_hostname="127.0.0.1") as raw:
        raw.settimeout(_SILENCE_SECONDS)
        try:
            raw.sendall(attack)
            while piece := raw.recv(65536):
                answer += piece
        except OSError:
            pass  # silence, or a connection that was cut
    return answer


@pytest.mark.parametrize("balancer", BALANCERS)
def test_no_request_hides_in_another(balancer: str, tmp_path: Path) -> None:
    ledger, samples = Ledger(), Samples(seed=61)
    with Cluster(balancer, tmp_path, {}) as cluster:
        front = cluster.balancer
        attacks = _attacks(cluster.token)
        other = connection_to(front.url, tls=front.tls)
        for attack in attacks:
            assert _send(front, attack).count(b"x-delivery-id: ") <= 2, attack
            # Somebody else calls, twice, so that an answer too many would be his.
            for _ in range(2):
                answer = ledger.deliver(
                    lambda *call: exchange(other, *call), samples.webhook(), token=cluster.token
                )
                assert 200 == answer.status
        other.close()
        cluster.end()
        lines = [
            line for it in cluster.receivers for line in read_lines(DirectoryArchive(it.archive))
        ]
        archived = {line["delivery_id"]: f"{line['provider']}/{line['kind']}" for line in lines}
        wait_for(lambda: len(front.answered()) >= len(archived), "the log is complete")
        assert front.answered() == archived
    assert ledger.acknowledged.keys() < archived.keys()
    told = {line["delivery_id"]: line["wire_sha256"] for line in lines}
    assert all(told[key] == identity[3] for key, identity in ledger.acknowledged.items())
    if balancer == "nginx":
        # It takes none of them for two.
        assert not [line for line in lines if "?inner=" in line["target"]]

"""nginx and HAProxy in front of real receivers, with the configurations of `infra/`.

    with Cluster("nginx", tmp_path, place) as cluster:
        with cluster.load(ledger, seed=1):
            cluster.restart(cluster.receivers[0])

A configuration is taken as it stands, but for its placeholders and for where this machine is to
keep files; each such change must hit, or the test would run with something else than it says.
"""

import os
import pwd
import re
import signal
import socket
import ssl
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import orjson
import trustme

from tests.tools.support.http import Answer, Headers, connect, request
from tests.tools.support.relay import Relay
from tests.tools.support.server import Life, Receiver
from tests.tools.support.tools import ROOT, needs
from tests.tools.support.wait import wait_for

_PLACEHOLDERS = ("10.0.0.11:8000", "10.0.0.12:8000")
_START_SECONDS = 30.0
_HAPROXY_ANSWER = re.compile(r" (?P<way>\S+) \{(?P<id>[0-9a-f-]{36})\}$")
_COMPLAINT = re.compile(r"\[(warn|error|crit|alert|emerg)\]", re.IGNORECASE)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Return a text in which each key is replaced by its value; all of them must be there."""
    for old, new in changes.items():
        assert old in text, f"the configuration does not say {old!r}"
        text = text.replace(old, new)
    return text


class Port:
    """A port of loopback that nobody else takes, whoever listens there and whether anybody does."""

    def __init__(self) -> None:
        # Bound and never listening; those who listen say SO_REUSEADDR too.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", 0))
        self.number: int = self._placeholder.getsockname()[1]

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.number}"

    def close(self) -> None:
        """Give it up."""
        self._placeholder.close()


class Balancer(ABC):
    """A load balancer's processes, from start to end."""

    name: str
    config: str
    check_option: str

    def __init__(
        self, root: Path, instances: Sequence[str], changes: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        root.mkdir(parents=True)
        self._program = needs(self.name)
        self._port = Port()
        self._life: Life | None = None
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(root / "tls.pem"))
        text = changed((ROOT / "infra" / self.config).read_text(), changes or {})
        text = changed(text, dict(zip(_PLACEHOLDERS, instances, strict=True)))
        self.path = root / self.config
        self.path.write_text(changed(text, self._places(self._port.address)))

    @property
    def url(self) -> str:
        """Where callbacks go."""
        return f"https://{self._port.address}"

    @property
    def life(self) -> Life:
        """The processes."""
        assert self._life is not None
        return self._life

    @abstractmethod
    def _places(self, address: str) -> Mapping[str, str]:
        """Return the changes that make the configuration one of this machine and directory."""

    @abstractmethod
    def command(self, *arguments: str) -> list[str]:
        """Return the program's command line, with further arguments."""

    @abstractmethod
    def _reload_signal(self) -> int: ...

    @abstractmethod
    def answered(self) -> dict[str, str]:
        """Return the delivery ids of the answers that its log names, each with its way."""

    def text(self) -> str:
        """Return all that it has logged and printed."""
        files = (path.read_text() for path in sorted(self.root.glob("*.log")))
        return "\n".join([*files, self.life.text()])

    def check(self) -> tuple[int, list[str]]:
        """Have it check its configuration; return the exit status, and what it complains of."""
        done = subprocess.run(
            self.command(self.check_option), capture_output=True, text=True, check=False
        )
        lines = (done.stdout + done.stderr).splitlines()
        # Without being root nginx ignores the user, and says so.
        return done.returncode, [
            line for line in lines if _COMPLAINT.search(line) and 'the "user" directive' not in line
        ]

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._life = Life(self.command(), cwd=self.root, environ=os.environ)
        wait_for(self._listens, f"{self.name} listens", seconds=_START_SECONDS)

    def workers(self) -> set[int]:
        """Return the processes that do the work."""
        children = Path(f"/proc/{self.life.pid}/task/{self.life.pid}/children").read_text()
        return set(map(int, children.split()))

    def reload(self) -> None:
        """Have it read its configuration again; wait until new workers have replaced the old."""
        old = self.workers()
        self.life.signal(self._reload_signal())
        wait_for(lambda: self.workers() - old, f"{self.name} has new workers")
        wait_for(lambda: not self.workers() & old, f"the old workers of {self.name} are gone")

    def close(self) -> None:
        """End it, if it was started."""
        if self._life is not None:
            self._life.close()
        self._port.close()

    def _listens(self) -> bool:
        assert self.life.status is None, self.text()
        try:
            connect(self.url, seconds=5).close()
        except ConnectionRefusedError:
            return False
        return True


class Nginx(Balancer):
    """nginx."""

    name = "nginx"
    config = "nginx.conf"
    check_option = "-t"

    def command(self, *arguments: str) -> list[str]:
        options = ["-p", str(self.root), "-c", str(self.path), "-e", str(self.root / "start.log")]
        return [self._program, *options, *(arguments or ("-g", "daemon off;"))]

    def _places(self, address: str) -> Mapping[str, str]:
        user = pwd.getpwuid(os.getuid())
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {self.root / kind};" for kind in kinds)
        return {
            "user www-data;": f"user {user.pw_name};",
            "/run/nginx.pid": str(self.root / "nginx.pid"),
            "/var/log/nginx/": f"{self.root}/",
            "http {": f"http {{ {paths}",
            "listen 443 ssl;": f"listen {address} ssl;",
            "listen [::]:443 ssl;": "",
            "/etc/nginx/tls/hooks.example.net.crt": str(self.root / "tls.pem"),
            "/etc/nginx/tls/hooks.example.net.key": str(self.root / "tls.pem"),
        }

    def _reload_signal(self) -> int:
        return signal.SIGHUP

    def answered(self) -> dict[str, str]:
        log = map(orjson.loads, (self.root / "access.log").read_text().splitlines())
        return {line["delivery_id"]: line["way"] for line in log if line["delivery_id"]}


class Haproxy(Balancer):
    """HAProxy, a master and its worker."""

    name = "haproxy"
    config = "haproxy.cfg"
    check_option = "-c"

    def command(self, *arguments: str) -> list[str]:
        return [self._program, "-f", str(self.path), *(arguments or ("-W",))]

    def _places(self, address: str) -> Mapping[str, str]:
        return {
            "user haproxy": "",
            "group haproxy": "",
            "bind :443": f"bind {address}",
            "/etc/haproxy/tls/hooks.example.net.pem": str(self.root / "tls.pem"),
        }

    def _reload_signal(self) -> int:
        return signal.SIGUSR2

    def answered(self) -> dict[str, str]:
        found = map(_HAPROXY_ANSWER.search, list(self.life.output))
        return {match["id"]: match["way"] for match in found if match}


BALANCERS: Mapping[str, type[Balancer]] = {kind.name: kind for kind in (Nginx, Haproxy)}


class Cluster:
    """Two receivers behind a balancer.

    With ``wire_seconds``, what a receiver says reaches the balancer so much later.
    """

    def __init__(
        self,
        balancer: str,
        root: Path,
        settings: Mapping[str, str],
        *,
        second: Mapping[str, str] | None = None,
        changes: Mapping[str, str] | None = None,
        wire_seconds: float = 0.0,
    ) -> None:
        needs(balancer)
        self._stack = ExitStack()
        self.receivers = []
        addresses = []
        for number, own in enumerate(({}, second or {}), start=1):
            port = Port()
            self._stack.callback(port.close)
            addresses.append(self._wire(port, wire_seconds))
            wanted = {
                "RECEIVER_PORT": str(port.number),
                "RECEIVER_INSTANCE": f"instance-{number}",
            }
            receiver = Receiver(root / f"instance-{number}", {**wanted, **settings, **own})
            self.receivers.append(self._stack.enter_context(receiver))
        self.balancer = BALANCERS[balancer](root / balancer, addresses, changes)
        self._stack.callback(self.balancer.close)

    def _wire(self, port: Port, seconds: float) -> str:
        """Return the address at which the balancer reaches a receiver."""
        if not seconds:
            return port.address
        wire = self._stack.enter_context(Relay(("127.0.0.1", port.number), delay_seconds=seconds))
        return "{}:{}".format(*wire.address)

    @property
    def token(self) -> str:
        """The token of both receivers."""
        return self.receivers[0].token

    @property
    def url_or_none(self) -> str:
        """Where callbacks go: always to the balancer."""
        return self.balancer.url

    def request(self, method: str, target: str, body: bytes = b"", headers: Headers = ()) -> Answer:
        """Make one request to the balancer."""
        return request(self.balancer.url, method, target, body, headers, tls=self.balancer.tls)

    def end(self) -> None:
        """End both receivers, as fast as they can without leaving anything in their spools.

        What the balancer logged must not hold the token.
        """
        assert self.token not in self.balancer.text()
        lives = [receiver.life for receiver in self.receivers]
        for life in lives:
            life.signal(signal.SIGTERM)
        for life in lives:
            wait_for(lambda life=life: life.logged("stopping"), "it stops")  # type: ignore[misc]
            life.signal(signal.SIGTERM)  # no waiting for a balancer
        for life in lives:
            assert life.wait() == 0
            life.wait_for_all()
        assert [] == [path for receiver in self.receivers for path in receiver.spooled()]

    def __enter__(self) -> Self:
        try:
            for receiver in self.receivers:
                receiver.launch()
            for receiver in self.receivers:
                receiver.wait_until_serving()
            self.balancer.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

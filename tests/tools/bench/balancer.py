"""Two instances behind HAProxy, and one alone: what the way through the balancer costs.

One server process each, parents stopped as in the row `spool`; HAProxy as `infra/haproxy.cfg` sets
it up, without TLS, for the one alone has none either.  HAProxy shares the cores of the load.  From
four cores on, each instance has a core of its own.  On fewer, both share the one core that the one
alone has for itself: that shows what a callback costs more, and cannot show what a second machine
gives.
"""

import contextlib
import os
import secrets
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.tools.bench import load, sides
from tests.tools.bench.pairs import Ratio
from tests.tools.bench.process import Failed, cpu, pin, settle, until
from tests.tools.bench.rows import Asked, Figure
from tests.tools.bench.sides import Setting, Side
from tests.tools.support.balancer import Port, changed
from tests.tools.support.http import connect

_CONFIG = Path(__file__).parents[3] / "infra" / "haproxy.cfg"
_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What one run came to, for each callback."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    instances_cpu_us: float
    haproxy_cpu_us: float


def measure(asked: Asked) -> list[Figure]:
    """Post over so many connections to the one, then to the two, and so on in turn."""
    setting = asked.setting
    token = secrets.token_hex(24)
    apart = len(setting.cores.load) >= 3
    with contextlib.ExitStack() as started:
        alone = started.enter_context(sides.spool(setting, "alone"))
        two = [
            started.enter_context(sides.spool(setting, f"instance-{number}", token=token))
            for number in (1, 2)
        ]
        if apart:
            started.enter_context(_core_of_its_own(two[1], setting))
        url, haproxy = started.enter_context(_haproxy(setting.directory, two))
        pairs = []
        for number in range(asked.pairs + 1):
            asked.progress(f"balancer, pair {number}" if number else "warming up balancer")
            pairs.append(
                (
                    _run(alone.url, [alone.server], None, setting, asked.seconds),
                    _run(url, [side.server for side in two], haproxy, setting, asked.seconds),
                )
            )
        return [_figure(pairs[1:], apart)]


def _run(
    url: str, servers: Sequence[int], haproxy: int | None, setting: Setting, seconds: int
) -> _Taken:
    pids = [*servers] if haproxy is None else [*servers, haproxy]
    for pid in pids:
        settle(pid)
    before = [cpu(pid).total for pid in pids]
    done = load.run(url, setting.body, connections=_CONNECTIONS, seconds=seconds)
    for pid in pids:
        settle(pid)
    # Those under way when wrk ends are answered and not counted by it.
    callbacks = done.requests + _CONNECTIONS
    used = [
        (cpu(pid).total - earlier) / callbacks * 1e6
        for pid, earlier in zip(pids, before, strict=True)
    ]
    return _Taken(
        requests_per_second=done.requests / done.seconds,
        p50_ms=done.p50_ms,
        p99_ms=done.p99_ms,
        instances_cpu_us=sum(used[: len(servers)]),
        haproxy_cpu_us=sum(used[len(servers) :]),
    )


def _figure(pairs: Sequence[tuple[_Taken, _Taken]], apart: bool) -> Figure:
    def ratio(of: Callable[[_Taken], float]) -> Ratio:
        each = [of(two) / of(one) for one, two in pairs]
        return Ratio(statistics.median(each), min(each), max(each))

    alone, two = ([pair[place] for pair in pairs] for place in (0, 1))
    where = "a core each" if apart else "the two share one core"
    return Figure(
        name=f"two instances behind HAProxy ({where}), {_CONNECTIONS} connections",
        value=f"{_shown(two)} and {_median(two, 'haproxy_cpu_us'):.0f} of HAProxy; "
        f"one alone {_shown(alone)}; in pairs {ratio(lambda run: run.requests_per_second)} times "
        f"the callbacks/s, {ratio(lambda run: run.instances_cpu_us)} times the instances' CPU",
        raw={
            "a core each": apart,
            "pairs": [{"alone": asdict(one), "two": asdict(other)} for one, other in pairs],
        },
    )


def _shown(runs: Sequence[_Taken]) -> str:
    return (
        f"{_median(runs, 'requests_per_second'):,.0f} callbacks/s, p50 "
        f"{_median(runs, 'p50_ms'):.1f} ms, p99 {_median(runs, 'p99_ms'):.1f} ms, "
        f"CPU {_median(runs, 'instances_cpu_us'):.0f} µs each"
    )


def _median(runs: Sequence[_Taken], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


@contextlib.contextmanager
def _core_of_its_own(side: Side, setting: Setting) -> Iterator[None]:
    """Give an instance one of the cores of the load, which does without it meanwhile."""
    *rest, own = sorted(setting.cores.load)
    pin(side.server, {own})
    os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, setting.cores.load)


@contextlib.contextmanager
def _haproxy(directory: Path, instances: Sequence[Side]) -> Iterator[tuple[str, int]]:
    """Start HAProxy on the cores of this process; yield the URL of an entrance, and the process."""
    program = shutil.which("haproxy", path=os.pathsep.join((os.defpath, "/usr/sbin")))
    if program is None:
        raise Failed("haproxy is not installed; `make system-tools` (as root) does it on Debian")
    port = Port()
    changes = {
        "bind :443 ssl crt /etc/haproxy/tls/hooks.example.net.pem alpn http/1.1": (
            f"bind {port.address}"
        ),
        "user haproxy": "",
        "group haproxy": "",
        "10.0.0.11:8000": urlsplit(instances[0].url).netloc,
        "10.0.0.12:8000": urlsplit(instances[1].url).netloc,
    }
    config, log = directory / "haproxy.cfg", directory / "haproxy.log"
    config.write_text(changed(_CONFIG.read_text(), changes))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-db", "-f", str(config)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _listens(process, port.address, log), "HAProxy listens")
        path = urlsplit(instances[0].url)
        yield f"http://{port.address}{path.path}?{path.query}", process.pid
    finally:
        process.kill()
        process.wait()
        port.close()


def _listens(process: "subprocess.Popen[bytes]", address: str, log: Path) -> bool:
    if process.poll() is not None:
        raise Failed(f"haproxy ended at once:\n{log.read_text()[-2000:]}")
    try:
        connect(f"http://{address}").close()
    except ConnectionRefusedError:
        return False
    return True

"""Hostile objects in the bucket: what commands make of an archive that somebody has changed.

Each case is an archive of three segments in which one object is not as it was written, or one
more has come: index, callbacks, a sweep's journal, a lease, a forwarding's position.  Every
command that reads it must end with a documented status and without a traceback, must find the
callbacks beside the damage, and may connect to nobody but the servers of the case.
"""

import gzip
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from receiver import clock
from receiver.archive import COMPRESSIONS
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.tools import hostile
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo, Settings
from tests.tools.support.server import clean_environ
from tests.tools.support.target import TargetServer

_STATUSES = {0, 1, 3, 4}
# Enough for a forwarder to read the archive.
_FORWARD_SECONDS = 1.0
# Bytes that stand in JSON in the place of a value; most of them no encoder writes.
_RAW = (
    *(b"null", b"true", b"-1", b"0", b"1e400", b"1.5", b"NaN", b"[]", b"{}", b'""', b"[[-1,0]]"),
    *(b"9" * 19, b"9" * 20, b"-" + b"9" * 400, b'"9/stolen"', b'"\\u0000"', b'"a\\r\\nb: c"'),
    *(
        b'"\xff"',
        b'"\\ud800"',
        b'"../../x"',
        b'"0001-01-01"',
        b'"9999-12-31"',
        b'"%s"' % (b"x" * 5000),
    ),
    b'"\x1b[2J\xe2\x80\xae"',
    *(b'"//evil.example/x"', b'".evil.example/x"', b'"@evil.example/x"', b'"/v3/../../x"'),
)
# Nesting and numbers beyond what parsers recurse to, and what encoders write.
_HARD = (
    *(b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    *(b"9" * 20, b"9" * 400, b"-" + b"9" * 20),
)
_PLACE = "the place of a value"

# Runs commands in one process; says where it connects to, and what it cannot stand.
_DRIVER = """
import orjson, os, signal, sys, threading, time, traceback
from receiver import log
from receiver.cli import main

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        os.write(1, f"\\n--- to {arguments[1][0]}:{arguments[1][1]}\\n".encode())
    elif event == "socket.getaddrinfo":
        os.write(1, f"\\n--- to {arguments[0]}:{arguments[1]}\\n".encode())

def stop():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.05)
    time.sleep(FORWARD_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(watch)
for line in sys.stdin:
    environ, arguments = orjson.loads(line)
    os.environ.update(environ)
    sys.argv = ["receiver", *arguments]
    status = None
    if arguments[0] == "forward":
        threading.Thread(target=stop, daemon=True).start()
    try:
        main()
    except SystemExit as exc:
        status = exc.code
    except BaseException:
        traceback.print_exc()
    log.flush()
    sys.stdout.flush()
    os.write(1, f"\\n--- status {status}\\n".encode())
""".replace("FORWARD_SECONDS", str(_FORWARD_SECONDS))


@dataclass(slots=True)
class Case:
    """An archive, what was done to it, and the ids that must be found all the same."""

    number: int
    root: Path
    what: str = ""
    # By segment, as index object, so that those beside a damaged one are known.
    good: set[str] = field(default_factory=set)


def make(seed: int, number: int, root: Path) -> Case:
    """Write the archive of a case by its number, under ``root``."""
    random_ = random.Random(f"hostile-bucket/{seed}/{number}")
    case = Case(number, root)
    change = random_.choice(_CHANGES)
    case.good = set(_archive(root))
    change(random_, case)
    case.what = f"{change.__name__.strip('_')}: {case.what}"
    return case


def problems(root: Path, *, seed: int, requests: int, number: int | None = None) -> list[str]:
    """Run all commands over ``requests`` archives; return what is wrong with what they did."""
    numbers: Iterable[int] = range(requests) if number is None else (number,)
    found = []
    unlimited = Settings(calls_per_minute=None, ready_per_minute=None)
    with DataForSeo(settings=unlimited) as provider, TargetServer() as target:
        for one in numbers:
            case = make(seed, one, root / str(one))
            received = len(target.received)
            output = run(case, provider, target)
            sent = {request.id for request in target.received[received:]}
            what = judge(case, output, sent, {provider.url, target.url})
            found += [f"hostile bucket {one} of seed {seed} ({case.what}): {each}" for each in what]
            shutil.rmtree(case.root)
    return found


def _archive(root: Path) -> list[str]:
    """Write an archive of nine callbacks in three segments; return their ids."""
    ids = []
    for segment in range(3):
        records = []
        for position in range(3):
            at_us = clock.now_us() - (60 + segment) * 1_000_000 + position
            ids.append(clock.new_id(at_us))
            target = f"/dataforseo/postback/***?id=task-{segment}{position}&tag=try"
            records.append((head_of(ids[-1], at_us=at_us, target=target), b"{}"))
        segment_file(root / "spool", records)
    shipper = Shipper(
        store=DirectoryStore(root / "archive"),
        providers=PROVIDERS,
        compression=COMPRESSIONS["gzip"],
        inflated_bytes_max=1 << 20,
        concurrency=1,
    )
    shipper.ship(root / "spool")
    return ids


# What can be done to an archive.


def _entry(random: random.Random, case: Case) -> None:
    """Change the columns of one entry."""
    path, position = random.choice(_indexes(case)), random.randrange(3)
    name, changes = random.choice(list(hostile.ENTRIES.items()))

    def change(entries: list[hostile.Row]) -> None:
        case.good.discard(entries[position]["delivery_id"])
        entries[position].update(changes)

    hostile.rewrite_index(path, change)
    case.what = name


def _column(random: random.Random, case: Case) -> None:
    """Put odd bytes into the place of an entry's value."""
    path, position = random.choice(_indexes(case)), random.randrange(3)

    def change(entries: list[hostile.Row]) -> None:
        case.good.discard(entries[position]["delivery_id"])
        case.what = random.choice(list(entries[position]))
        entries[position][case.what] = _PLACE

    hostile.rewrite_index(path, change)
    raw = random.choice(_HARD if random.random() < 0.3 else _RAW)
    content = gzip.decompress(path.read_bytes()).replace(b'"%s"' % _PLACE.encode(), raw)
    path.write_bytes(gzip.compress(content))
    case.what += f" = {raw[:40]!r}"


def _line(random: random.Random, case: Case) -> None:
    """Change the line of one entry."""
    name, changes = random.choice(list(hostile.LINES.items()))
    position = random.randrange(3)

    def change(entries: list[hostile.Row]) -> None:
        case.good.discard(entries[position]["delivery_id"])
        hostile.change_line(case.root / "archive", entries[position], changes)

    hostile.rewrite_index(random.choice(_indexes(case)), change)
    case.what = name


def _object(random: random.Random, case: Case) -> None:
    """Damage a whole object of index or callbacks: its segment may be lost, the others not."""
    paths = sorted((case.root / "archive").rglob("*.jsonl.gz"))
    path = random.choice(paths)
    _lose(case, path)
    content = path.read_bytes()
    at = random.randrange(len(content))
    damaged = {
        "cut short": content[:at],
        "a byte changed": content[:at] + bytes((content[at] ^ 0x55,)) + content[at + 1 :],
        "random bytes": random.randbytes(300),
        "a bomb": hostile.bomb(64 << 20),
        "twice": content * 2,
        "empty": b"",
    }
    case.what, content = random.choice(list(damaged.items()))
    case.what += f" ({path.relative_to(case.root)})"
    path.write_bytes(content)


def _swapped(random: random.Random, case: Case) -> None:
    """Let two objects have each other's content."""
    paths = sorted((case.root / "archive").rglob("*.jsonl.gz"))
    one, other = random.sample(paths, 2)
    for path in (one, other):
        _lose(case, path)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    case.what = f"{one.name} and {other.name}"


def _journal(random: random.Random, case: Case) -> None:
    """Leave an odd journal of a sweep."""
    task: dict[str, Any] = {
        "task_id": "11281559-0695-0216-0000-c269be8b7592",
        "path": "/v3/serp/google/organic/task_get/advanced/11281559-0695-0216-0000-c269be8b7592",
        "tag": "try",
        "why": None,
        "endpoints": {"advanced": "/v3/serp/google/organic/task_get/advanced/1"},
        "since_us": clock.now_us(),
        "told": False,
    }
    name = f"{clock.new_id(clock.now_us() - 1_000_000)}-0.json"
    _write(random, case, f"sweeps/unfinished/dataforseo/{name}", {"tasks": [task]})


def _lease(random: random.Random, case: Case) -> None:
    """Leave an odd lease."""
    name = random.choice(("sweep-dataforseo", "forward-default"))
    lease = {"owner": "x", "generation": 3, "expires_at_us": clock.now_us() - 10**9, "seconds": 60}
    _write(random, case, f"leases/{name}.json", lease)


def _position(random: random.Random, case: Case) -> None:
    """Leave an odd position of the forwarding."""
    process = {"day": "2026-11-21", "done": [[0, 3], [5, 9]]}
    position = {
        "since_us": clock.now_us() - 10**9,
        "from_day": "2026-11-21",
        "generation": 1,
        "written_at": "2026-11-21T19:59:59.500000Z",
        "processes": {clock.new_id(clock.now_us()): process},
    }
    _write(random, case, "forwards/default/position.json", position)


_CHANGES: tuple[Callable[[random.Random, Case], None], ...] = (
    *(_entry, _column, _column, _line, _object, _object, _swapped),
    *(_journal, _journal, _lease, _lease, _position, _position),
)


def _write(random: random.Random, case: Case, key: str, document: dict[str, Any]) -> None:
    """Write a document with odd bytes for one of its values, at any depth, or for one more."""
    *way, last = random.choice([*_ways(document), ("unknown",)])
    container: Any = document
    for step in way:
        container = container[step]
    container[last] = _PLACE
    raw = random.choice(_HARD if random.random() < 0.3 else _RAW)
    content = msgspec.json.encode(document).replace(b'"%s"' % _PLACE.encode(), raw)
    if random.random() < 0.1:
        raw = content = random.choice((b"", b"\x00", b"[]", b"null", content[:-1], content * 2))
    path = case.root / "archive" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    case.what = f"{'/'.join(map(str, (*way, last)))} = {raw[:40]!r}"


def _ways(document: Any) -> Iterable[tuple[Any, ...]]:
    """Yield the way to each value within a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in items:
        yield (name,)
        if isinstance(value, dict | list):
            yield from ((name, *rest) for rest in _ways(value))


def _indexes(case: Case) -> list[Path]:
    return sorted((case.root / "archive" / "index").rglob("*.jsonl.gz"))


def _lose(case: Case, path: Path) -> None:
    """Expect nothing more of the segment that an object belongs to."""
    segment = path.name
    for index in _indexes(case):
        if index.name == segment:
            lines = gzip.decompress(index.read_bytes()).splitlines()
            case.good.difference_update(orjson.loads(line)["delivery_id"] for line in lines)


# What commands make of it.


def _commands(case: Case, target: TargetServer) -> list[list[str]]:
    one = sorted(case.good)[0]
    return [
        ["find", "--output", "json"],
        ["show", one],
        ["show", "task-11"],
        ["export"],
        ["verify", "--output", "json"],
        ["replay", "--to", target.url, "--since", "1d", "--dry-run"],
        ["replay", "--to", target.url, "--since", "1d", "--yes"],
        ["forward", "--to", target.url, "--since", "1d"],
        ["sweep", "dataforseo"],
    ]


def run(case: Case, provider: DataForSeo, target: TargetServer) -> list[tuple[str, str]]:
    """Run the commands; return each with what it printed, and its status at the end of that."""
    commands = _commands(case, target)
    environ = {
        "RECEIVER_ARCHIVE": str(case.root / "archive"),
        "RECEIVER_SPOOL": str(case.root / "spool"),
        "RECEIVER_CATALOG": str(case.root / "catalog"),
        "RECEIVER_INSTANCE": "fuzz",
        "RECEIVER_TOKENS": "canary-token-3f9d2c81b7a64e05",
        "RECEIVER_DATAFORSEO_URL": provider.url,
        "RECEIVER_DATAFORSEO_LOGIN": provider.settings.login,
        "RECEIVER_DATAFORSEO_PASSWORD": provider.settings.password,
        "RECEIVER_DATAFORSEO_FAMILIES": "serp",
        "RECEIVER_DISK_RESERVE_BYTES": "0",
    }
    ran = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        cwd=case.root,
        env=clean_environ(),
        input=b"".join(orjson.dumps((environ, command)) + b"\n" for command in commands),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    shown = re.split(r"\n--- status ", ran.stdout.decode(errors="replace"))
    statuses = [part.partition("\n")[0] for part in shown[1:]] + ["lost"] * len(commands)
    outputs = [shown[0], *(part.partition("\n")[2] for part in shown[1:])]
    return [
        (f"{' '.join(command)}", f"{output}\n--- status {status}")
        for command, output, status in zip(commands, outputs, statuses, strict=False)
    ]


def judge(
    case: Case, outputs: list[tuple[str, str]], sent: set[str], allowed: set[str]
) -> list[str]:
    """Return what is wrong with what commands printed, sent and connected to."""
    found = []
    for command, output in outputs:
        name = command.split()[0]
        status = output.rpartition("--- status ")[2]
        if "Traceback" in output or status not in map(str, _STATUSES):
            found.append(f"`{command}` ended with {status}: {output[-1500:]}")
        for address in re.findall(r"--- to (\S+)", output):
            if f"http://{address}" not in allowed:
                found.append(f"`{command}` connected to {address}")
        if name in ("find", "export"):
            missing = {one for one in case.good if one not in output}
            found += [f"`{command}` does not find {one}: {output[-300:]}" for one in missing]
    if missing := case.good - sent:
        found.append(f"not replayed: {missing}")
    return found

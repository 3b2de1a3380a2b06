"""The oracle: what was sent, what was acknowledged, and whether an archive tells the same.

It knows nothing of the receiver but the contract: the answer's `X-Delivery-Id`, and the form of
the archive.  `verify` reads all of an archive with plain gzip and orjson and looks for

    missing     acknowledged, and not in the archive
    corrupted   in the archive, and different from what was sent, or not where the index says
    spurious    in the archive, and never sent, or sent once and there twice

Where something between sender and receiver may send a callback again, such as a load balancer that
saw no answer, it may be there twice; that is counted.  Where disks were lost, segments may lack, or
have come in part, without their index; not what was acknowledged.

A callback that got no answer may or may not be in the archive: it was sent, and nothing was
promised.
"""

import base64
import gzip
import hashlib
import re
import ssl
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import orjson

from tests.tools.support import zstd
from tests.tools.support.http import Answer, connection_to, exchange, is_closed_by_peer
from tests.tools.support.s3 import Bucket
from tests.tools.support.samples import Sample, Samples

COLUMNS: dict[str, tuple[type, ...]] = {
    "delivery_id": (str,),
    "provider": (str,),
    "kind": (str,),
    "origin": (str,),
    "task_id": (str, type(None)),
    "tag": (str, type(None)),
    "key": (str, type(None)),
    "status": (str, type(None)),
    "received_at": (str,),
    "method": (str,),
    "target": (str,),
    "headers": (list,),
    "peer": (str, type(None)),
    "content_type": (str, type(None)),
    "body": (str, type(None)),
    "body_base64": (str, type(None)),
    "body_bytes": (int,),
    "wire_bytes": (int,),
    "wire_sha256": (str,),
    "invalid": (str, type(None)),
    "instance": (str,),
}
INDEX_COLUMNS = (
    *("delivery_id", "provider", "kind", "origin", "task_id", "tag", "key", "status"),
    *("received_at", "body_bytes", "invalid", "segment", "position", "of", "object"),
    *("member_offset", "member_bytes", "line_offset", "line_bytes"),
)
_UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_DELIVERY_ID = re.compile(_UUID7)
_CALLBACKS_KEY = re.compile(
    r"callbacks/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/provider=(?P<provider>\w+)/"
    rf"kind=(?P<kind>\w+)/(?P<segment>{_UUID7}-\d+)\.jsonl\.(gz|zst)"
)
_INDEX_KEY = re.compile(
    rf"index/date=\d{{4}}-\d\d-\d\d/hour=\d\d/(?P<segment>{_UUID7}-\d+)\.jsonl\.gz"
)
# Leases, and what a start that was killed left of the check of its rights.
_LEASE_KEY = re.compile(r"leases/[\w.-]+\.json")
_SWEEP_KEY = re.compile(r"sweeps/date=\d{4}-\d\d-\d\d/[\w.-]+\.jsonl")
_FORMS = (_CALLBACKS_KEY, _INDEX_KEY, _LEASE_KEY, _SWEEP_KEY)
_RECEIVED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

_Identity = tuple[str, str, str, str]


class Archive(Protocol):
    """An archive as its reader sees it: objects under keys."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys under a prefix."""
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return an object, or a range of it."""
        ...


class DirectoryArchive:
    """An archive in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self, prefix: str = "") -> list[str]:
        """Return all files but those whose names begin with a dot."""
        files = (
            path.relative_to(self._root).as_posix()
            for path in self._root.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
        return sorted(key for key in files if key.startswith(prefix))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of it."""
        with (self._root / key).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)


class BucketArchive:
    """An archive under a prefix of a bucket."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/"
        self.url = f"s3://{bucket.name}/{prefix}"

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys, relative to the prefix."""
        found = self._bucket.keys(self._prefix + prefix)
        return [key.removeprefix(self._prefix) for key in found]

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Get an object, or a range of it."""
        return self._bucket.get(self._prefix + key, start=start, length=length)


@dataclass(frozen=True, slots=True)
class Sent:
    """What an archive must say of one callback, if it holds it."""

    method: str
    headers: tuple[tuple[str, str], ...]
    wire_bytes: int
    body_bytes: int
    body_sha256: str
    task_id: str | None
    tag: str | None
    key: str | None
    status: str | None
    invalid: str | None


class Ledger:
    """What was sent and what was acknowledged; usable from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.sent: dict[_Identity, Sent] = {}
        self.acknowledged: dict[str, _Identity] = {}
        self.statuses: Counter[int] = Counter()

    def send(self, sample: Sample) -> None:
        """Note that a sample is about to be sent."""
        identity = _identity_of(sample)
        sent = Sent(
            method=sample.method,
            headers=tuple((name.lower(), value) for name, value in sample.headers),
            wire_bytes=len(sample.wire),
            body_bytes=len(sample.content),
            body_sha256=_sha256(sample.content),
            task_id=sample.task_id,
            tag=sample.tag,
            key=sample.key,
            status=sample.status,
            invalid=sample.invalid,
        )
        with self._guard:
            assert identity not in self.sent, "every sample must be unlike any other"
            self.sent[identity] = sent

    def settle(self, sample: Sample, answer: Answer) -> None:
        """Note the answer to a sample."""
        with self._guard:
            self.statuses[answer.status] += 1
            if not 200 <= answer.status < 300:
                return
            delivery_id = answer.headers["x-delivery-id"]
            assert {"delivery_id": delivery_id} == answer.json
            assert delivery_id not in self.acknowledged
            self.acknowledged[delivery_id] = _identity_of(sample)

    def deliver(self, post: Callable[..., Answer], sample: Sample, *, token: str) -> Answer:
        """Send a sample with ``post``, and note it and its answer."""
        self.send(sample)
        target = f"/{sample.provider}/{sample.kind}/{token}{sample.rest}"
        answer = post(sample.method, target, sample.wire, sample.headers)
        self.settle(sample, answer)
        return answer


def _identity_of(sample: Sample) -> _Identity:
    target = f"/{sample.provider}/{sample.kind}/***{sample.rest}"
    return sample.provider, sample.kind, target, _sha256(sample.wire)


class Target(Protocol):
    """Whom a load is for."""

    @property
    def token(self) -> str:
        """The token of its URLs."""
        ...

    @property
    def url_or_none(self) -> str | None:
        """Where it listens, None while it does not."""
        ...


class Load:
    """Threads that send samples one after the other, for as long as the context lasts.

    One that ``looks`` does as HTTP clients do: where the other side has closed a connection in the
    meantime, it sends on a new one.
    """

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        *,
        seed: int,
        senders: int = 3,
        pause_seconds: float = 0.004,
        tls: ssl.SSLContext | None = None,
        looks: bool = False,
        keeps_alive: bool = True,
    ) -> None:
        self._target = target
        self._ledger = ledger
        self._samples = Samples(seed)
        self._pause_seconds = pause_seconds
        self._tls = tls
        self._looks = looks
        self._keeps_alive = keeps_alive
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(senders)]
        self._failures: list[BaseException] = []
        # Requests that got no answer, by what happened instead.
        self.unanswered: Counter[str] = Counter()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the senders; raise what one of them met."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                url = self._target.url_or_none
                if url is None:
                    self._ending.wait(0.02)
                else:
                    self._send_while_connected(url)
        except BaseException as exc:
            self._failures.append(exc)
            raise

    def _send_while_connected(self, url: str) -> None:
        connection = connection_to(url, tls=self._tls)

        def post(method: str, target: str, wire: bytes, headers: Any) -> Answer:
            return exchange(connection, method, target, wire, headers)

        try:
            while not self._ending.wait(self._pause_seconds):
                if not self._keeps_alive or (self._looks and is_closed_by_peer(connection)):
                    connection.close()
                self._ledger.deliver(post, self._samples.next(), token=self._target.token)
        except (OSError, HTTPException) as exc:
            self.unanswered[type(exc).__name__] += 1
        finally:
            connection.close()


@dataclass(slots=True)
class Verdict:
    """What `verify` found; the problems in words, and a few numbers."""

    acknowledged: int
    archived: int = 0
    segments: int = 0
    repeated: int = 0
    missing: list[str] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    spurious: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{len(getattr(self, name))} {name}" for name in ("missing", "corrupted", "spurious")
        )
        problems = [*self.missing[:5], *self.corrupted[:5], *self.spurious[:5]]
        head = (
            f"{self.acknowledged} acknowledged, {self.archived} archived "
            f"in {self.segments} segments, {self.repeated} repeated: {counts}"
        )
        return "\n  ".join([head, *problems])


def verify(
    archive: Archive, ledger: Ledger, *, may_repeat: bool = False, disks_lost: bool = False
) -> Verdict:
    """Compare an archive with a ledger; raise `AssertionError` unless all is as promised.

    Returns the verdict, for its numbers.
    """
    verdict = Verdict(acknowledged=len(ledger.acknowledged))
    keys = archive.keys()
    for key in keys:
        if not any(form.fullmatch(key) for form in _FORMS):
            verdict.spurious.append(f"a key of no known form: {key}")
    lines = dict(_read_lines(archive, keys, verdict))
    _compare(lines, ledger, verdict, may_repeat=may_repeat)
    needed = ledger.acknowledged.keys() if disks_lost else lines.keys()
    numbers = _check_index(archive, keys, lines, needed, verdict)
    if not disks_lost:
        _check_numbers(numbers, verdict)
    print(verdict)
    assert not [*verdict.missing, *verdict.corrupted, *verdict.spurious], str(verdict)
    return verdict


def read_lines(archive: Archive) -> list[dict[str, Any]]:
    """Return all lines of an archive, in order of arrival."""
    keys = archive.keys("callbacks/")
    lines = [line for key in keys for line in _lines_of(_inflate(key, archive.get(key)))]
    return sorted(lines, key=lambda line: str(line["delivery_id"]))


def _lines_of(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [orjson.loads(line) for line in content[:-1].split(b"\n")]


def _inflate(key: str, content: bytes) -> bytes:
    return gzip.decompress(content) if key.endswith(".gz") else zstd.decompress(content)


def _read_lines(
    archive: Archive, keys: list[str], verdict: Verdict
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every line by its delivery id, after looking at its form."""
    seen = set()
    for key in keys:
        place = _CALLBACKS_KEY.fullmatch(key)
        if place is None:
            continue
        for line in _lines_of(_inflate(key, archive.get(key))):
            verdict.archived += 1
            if problem := _problem_of_form(line, place):
                verdict.corrupted.append(f"{key}: {problem}: {str(line)[:400]}")
            delivery_id = line["delivery_id"]
            if delivery_id in seen:
                verdict.spurious.append(f"{key}: {delivery_id} is there twice")
            seen.add(delivery_id)
            yield delivery_id, line


def _problem_of_form(line: dict[str, Any], place: re.Match[str]) -> str | None:
    if list(line) != list(COLUMNS):
        return f"columns are {list(line)}"
    for name, types in COLUMNS.items():
        if type(line[name]) not in types:
            return f"{name} is a {type(line[name]).__name__}"
    if not _DELIVERY_ID.fullmatch(line["delivery_id"]):
        return "delivery_id is no UUIDv7"
    if not _RECEIVED_AT.fullmatch(line["received_at"]):
        return "received_at is not RFC 3339 with microseconds"
    made_at = int(line["delivery_id"].replace("-", "")[:12], 16) / 1000
    received_at = datetime.fromisoformat(line["received_at"]).astimezone(UTC)
    if abs(received_at.timestamp() - made_at) > 0.002:
        return "delivery_id and received_at disagree"
    partition = (f"{received_at:%Y-%m-%d}", f"{received_at:%H}", line["provider"], line["kind"])
    if partition != place.group("date", "hour", "provider", "kind"):
        return "it lies in another partition"
    if (line["body"] is None) == (line["body_base64"] is None):
        return "it must have one of body and body_base64"
    return None


def _compare(
    lines: dict[str, dict[str, Any]], ledger: Ledger, verdict: Verdict, *, may_repeat: bool
) -> None:
    found: Counter[_Identity] = Counter()
    for delivery_id, line in lines.items():
        identity = (line["provider"], line["kind"], line["target"], line["wire_sha256"])
        found[identity] += 1
        sent = ledger.sent.get(identity)
        if sent is None:
            verdict.spurious.append(f"never sent: {str(line)[:400]}")
        elif problem := _difference(line, sent):
            verdict.corrupted.append(f"{delivery_id}: {problem}")
    for delivery_id, identity in ledger.acknowledged.items():
        line_found = lines.get(delivery_id)
        if line_found is None:
            verdict.missing.append(f"{delivery_id}: {identity}")
        elif identity != tuple(
            line_found[name] for name in ("provider", "kind", "target", "wire_sha256")
        ):
            verdict.corrupted.append(f"{delivery_id} holds another callback")
    for identity, count in found.items():
        verdict.repeated += count - 1
        if count > 1 and not may_repeat:
            verdict.spurious.append(f"sent once, archived {count} times: {identity}")


def _difference(line: dict[str, Any], sent: Sent) -> str | None:
    if line["body"] is not None:
        body = line["body"].encode()
    else:
        body = base64.b64decode(line["body_base64"], validate=True)
        if _is_text(body):
            return "UTF-8 text was put into body_base64"
    if _sha256(body) != sent.body_sha256 or len(body) != line["body_bytes"]:
        return f"body differs: {body[:200]!r}"
    headers = [tuple(pair) for pair in line["headers"]]
    # The client adds some of its own.
    if [pair for pair in headers if pair[0] in dict(sent.headers)] != list(sent.headers):
        return f"headers differ: {headers}"
    wanted = {
        "origin": "callback",
        "method": sent.method,
        "wire_bytes": sent.wire_bytes,
        "body_bytes": sent.body_bytes,
        "content_type": dict(sent.headers).get("content-type"),
        "task_id": sent.task_id,
        "tag": sent.tag,
        "key": sent.key,
        "status": sent.status,
        "invalid": sent.invalid,
    }
    for name, value in wanted.items():
        if line[name] != value:
            return f"{name} is {line[name]!r}, not {value!r}"
    return None


def _check_index(
    archive: Archive,
    keys: list[str],
    lines: dict[str, dict[str, Any]],
    needed: Collection[str],
    verdict: Verdict,
) -> dict[str, list[int]]:
    """Check the index against the lines; return the numbers of each process's segments."""
    entries: list[dict[str, Any]] = []
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for key in keys:
        place = _INDEX_KEY.fullmatch(key)
        if place is None:
            continue
        verdict.segments += 1
        process, _, number = place["segment"].rpartition("-")
        numbers[process].append(int(number))
        content = gzip.decompress(archive.get(key))
        found = _lines_of(content) if content else []
        if problem := _problem_of_index(found, place["segment"]):
            verdict.corrupted.append(f"{key}: {problem}")
        entries += found
    _check_entries(archive, entries, lines, needed, verdict)
    return numbers


def _check_numbers(numbers: dict[str, list[int]], verdict: Verdict) -> None:
    for process, found in numbers.items():
        if sorted(found) != list(range(len(found))):
            verdict.missing.append(f"segments of {process}: only {sorted(found)}")


def _problem_of_index(entries: list[dict[str, Any]], segment: str) -> str | None:
    for position, entry in enumerate(entries):
        if tuple(entry) != INDEX_COLUMNS:
            return f"columns are {tuple(entry)}"
        wanted = (segment, position, len(entries))
        if (entry["segment"], entry["position"], entry["of"]) != wanted:
            return f"entry {position} of {len(entries)} says {entry}"
    return None


def _check_entries(
    archive: Archive,
    entries: list[dict[str, Any]],
    lines: dict[str, dict[str, Any]],
    needed: Collection[str],
    verdict: Verdict,
) -> None:
    """Read each line where its entry says that it is; those that are needed have one."""
    members: dict[tuple[str, int, int], bytes] = {}
    for entry in entries:
        member = entry["object"], entry["member_offset"], entry["member_bytes"]
        if member not in members:
            content = archive.get(member[0], start=member[1], length=member[2])
            members[member] = _inflate(member[0], content)
        start = entry["line_offset"]
        pointed = members[member][start : start + entry["line_bytes"]]
        line = lines.get(entry["delivery_id"])
        if line is None or orjson.loads(pointed) != line:
            verdict.corrupted.append(f"index points elsewhere: {entry}")
        elif any(entry[name] != line[name] for name in INDEX_COLUMNS[:11]):
            verdict.corrupted.append(f"entry and line differ: {entry}")
    indexed = Counter(entry["delivery_id"] for entry in entries)
    for delivery_id in lines:
        if indexed[delivery_id] > 1 or (delivery_id in needed and not indexed[delivery_id]):
            verdict.corrupted.append(f"{delivery_id} has {indexed[delivery_id]} index entries")


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

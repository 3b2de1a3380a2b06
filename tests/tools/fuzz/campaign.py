"""A campaign: many streams against one receiver, and what must be true of it afterwards."""

import asyncio
import gzip
import hashlib
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.tools.fuzz import streams
from tests.tools.fuzz.reference import Request, read
from tests.tools.fuzz.streams import Stream
from tests.tools.support.http import address_of
from tests.tools.support.oracle import DirectoryArchive
from tests.tools.support.samples import API_KEY, Samples
from tests.tools.support.server import Receiver, open_files, resident_bytes
from tests.tools.support.wait import wait_for

SETTINGS = {
    "RECEIVER_OUTSCRAPER_API_KEYS": API_KEY,
    "RECEIVER_BODY_BYTES_MAX": "1MiB",
    "RECEIVER_INFLIGHT_BYTES_MAX": "32MiB",
    "RECEIVER_INFLATED_BYTES_MAX": "8MiB",
    "RECEIVER_HEAD_SECONDS_MAX": "5",
    "RECEIVER_BATCH_BYTES": "4MiB",
}
# What the memory of the server processes may grow by after the warm-up.
_GROWTH_BYTES_MAX = 16 << 20
# The parent ships, four segments at a time, and holds a few at once.
_PARENT_BYTES_MAX = 192 << 20
# Of the spool and the shipping, which open and close some at any time.
_FILES_SPARE = 8
_CONNECTIONS = 32
# Requests that may wait behind each other on one connection.
_IN_A_ROW_MAX = 16
_WARM_UP = 0.2
# A server that wants more, or has nothing to say, is not waited for.
_PATIENCE_SECONDS = 0.05
_ANSWER_SECONDS = 30.0
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_DELIVERY_ID = re.compile(rb"x-delivery-id: (\S+)")
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the processes of a receiver hold."""

    processes: tuple[int, ...]
    parent_bytes: int
    servers_bytes: int
    open_files: int

    @classmethod
    def of(cls, receiver: Receiver) -> "Footprint":
        """Take it now."""
        parent, servers = receiver.life.pid, receiver.server_pids()
        pids = (parent, *servers)
        return cls(
            pids,
            resident_bytes(parent),
            sum(map(resident_bytes, servers)),
            sum(map(open_files, pids)),
        )


@dataclass(slots=True)
class Report:
    """What was sent and answered; ``problems`` say what should not be."""

    requests: int = 0
    connections: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    # Connections by what the server did in the end.
    ends: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    archived: int = 0
    # Acknowledged requests that the reference reads too, so that both were compared.
    compared: int = 0
    before: Footprint | None = None
    after: Footprint | None = None
    problems: list[str] = field(default_factory=list)


class Campaign:
    """Sends streams to a receiver that runs, and keeps what was acknowledged."""

    def __init__(self, receiver: Receiver, *, seed: int, requests: int) -> None:
        self._receiver = receiver
        self._seed = seed
        self._requests = requests
        self._acknowledged: dict[str, tuple[Stream, Request | None]] = {}
        self.report = Report()

    def run(self) -> Report:
        """Run it, and return what it came to."""
        began = time.monotonic()
        numbers = iter(range(self._requests))
        asyncio.run(self._send(numbers, until=int(self._requests * _WARM_UP)))
        self.report.before = self._rested()
        asyncio.run(self._send(numbers, until=self._requests))
        self.report.seconds = time.monotonic() - began
        self.report.after = self._rested()
        self._check_footprint()
        self._check_ordinary()
        self._receiver.wait_until_shipped()
        self.check_archive()
        self._check_logs()
        return self.report

    # Sending.

    async def _send(self, numbers: Iterator[int], *, until: int) -> None:
        async def sender() -> None:
            while self.report.requests < until:
                stream = streams.make(self._seed, next(numbers), self._receiver.token)
                self.report.requests += stream.requests
                self.report.connections += 1
                self.report.changes.update(stream.changes)
                received, end = await self._exchange(stream)
                self.report.ends[end] += 1
                self._take(stream, received, end)

        await asyncio.gather(*(sender() for _ in range(_CONNECTIONS)))

    async def _exchange(self, stream: Stream) -> tuple[bytes, str]:
        """Send a stream; return what came back, and how the connection ended."""
        received = bytearray()
        with socket.socket() as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, address_of(self._receiver.url))
            try:
                end = await _converse(stream, connection, received)
            except ConnectionError:
                end = "reset by the server"
            if stream.ending == "resets":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return bytes(received), end

    # Judging.

    def _take(self, stream: Stream, received: bytes, end: str) -> None:
        """Count the answers of a stream, and note what was acknowledged."""
        sent = read(stream.content).requests
        finals = [found for found in _ANSWER.finditer(received) if found[1] != b"100"]
        for position, found in enumerate(finals):
            status = found[1].decode()
            self.report.answers[status] += 1
            # Who sends too many requests in a row is answered 503 in place of the first too many.
            excess = status == "503" and stream.requests > _IN_A_ROW_MAX and found is finals[-1]
            if status >= "500" and not excess:
                self._problem(stream, f"answered {status}")
            delivery_id = _DELIVERY_ID.search(found[2])
            if delivery_id is None:
                continue
            if status[0] != "2":
                self._problem(stream, f"answered {status} with a delivery id")
            request = sent[position] if position < len(sent) else None
            self._acknowledged[delivery_id[1].decode()] = stream, request
        if end in ("no answer", "takes no more"):
            self._problem(stream, end)

    def _check_footprint(self) -> None:
        before, after = self.report.before, self.report.after
        assert before is not None
        assert after is not None
        if before.processes != after.processes:
            self._say(f"processes were replaced: {before.processes}, {after.processes}")
        if after.open_files > before.open_files + _FILES_SPARE:
            self._say(f"open files: {before.open_files} before, {after.open_files} after")
        if after.servers_bytes - before.servers_bytes > _GROWTH_BYTES_MAX:
            self._say(f"memory: {before.servers_bytes} before, {after.servers_bytes} after")
        if after.parent_bytes > _PARENT_BYTES_MAX:
            self._say(f"memory of the parent: {after.parent_bytes}")

    def _check_ordinary(self) -> None:
        """An ordinary callback of every kind is taken as ever."""
        for sample in Samples(self._seed).of_each():
            target = self._receiver.path(sample.provider, sample.kind, sample.rest)
            answer = self._receiver.request(sample.method, target, sample.wire, sample.headers)
            if answer.status != 200:
                self._say(f"an ordinary {sample.provider} {sample.kind}: {answer.status}")

    def check_archive(self) -> None:
        """What was acknowledged is there, and says what the reference read."""
        missing = dict(self._acknowledged)
        for line in _lines(self._receiver.archive):
            self.report.archived += 1
            stream, request = missing.pop(line["delivery_id"], (None, None))
            if stream is None or request is None:
                continue
            self.report.compared += 1
            if problem := _difference(line, request, self._receiver.token):
                self._problem(stream, problem)
        for delivery_id, (stream, _) in missing.items():
            self._problem(stream, f"{delivery_id} is not in the archive")

    def _check_logs(self) -> None:
        life = self._receiver.life
        if life.errors:
            self._say(f"on stderr: {life.errors[:3]}")
        for text in life.output:
            if self._receiver.token in text or "Traceback" in text or '"level":"error"' in text:
                self._say(f"logged: {text[-900:]}")

    def _rested(self) -> Footprint:
        """Return the footprint once all connections are gone and all is shipped."""
        self._receiver.wait_until_shipped()
        least = Footprint.of(self._receiver)

        def rests() -> bool:
            nonlocal least
            # Answered by the server itself, which so has had its turn to close what was left.
            assert self._receiver.readiness() == 200
            earlier, least = least, Footprint.of(self._receiver)
            return earlier.open_files == least.open_files

        wait_for(rests, "no connection is left", seconds=20)
        return least

    def _problem(self, stream: Stream, what: str) -> None:
        where = f"stream {stream.number} of seed {self._seed} ({', '.join(stream.changes)})"
        self._say(f"{where}: {what}: {stream.content[:300]!r}")

    def _say(self, problem: str) -> None:
        self.report.problems.append(problem)


async def _converse(stream: Stream, connection: socket.socket, received: bytearray) -> str:
    loop = asyncio.get_running_loop()
    refused = False
    for piece in stream.pieces:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await loop.sock_sendall(connection, piece)
        except ConnectionError:
            refused = True  # and may have said why
            break
        except TimeoutError:
            return "takes no more"
        if len(stream.pieces) > 1:
            await asyncio.sleep(0)
    if stream.ending != "waits":
        return "left by the client"
    return await _receive(stream, connection, received, refused=refused)


async def _receive(
    stream: Stream, connection: socket.socket, received: bytearray, *, refused: bool
) -> str:
    """Read until all is answered that can be; return how it ended."""
    loop = asyncio.get_running_loop()
    reading = read(stream.content)
    whole = 0 if refused else len(reading.requests)
    while True:
        answers = sum(found[1] != b"100" for found in _ANSWER.finditer(received))
        if answers >= whole > 0 and reading.rest == "nothing":
            return "answered"
        patient = answers < whole
        try:
            async with asyncio.timeout(_ANSWER_SECONDS if patient else _PATIENCE_SECONDS):
                more = await loop.sock_recv(connection, 65536)
        except TimeoutError:
            return "no answer" if patient else "open"
        if not more:
            return "closed by the server"
        received += more


def _lines(archive: Path) -> Iterator[dict[str, Any]]:
    reader = DirectoryArchive(archive)
    for key in reader.keys("callbacks/"):
        for line in gzip.decompress(reader.get(key)).splitlines():
            yield orjson.loads(line)


def _difference(line: dict[str, Any], request: Request, token: str) -> str | None:
    """Return in what an archived line differs from what was sent."""
    if line["wire_sha256"] != hashlib.sha256(request.body).hexdigest():
        return f"{line['wire_bytes']} bytes archived of a body of {len(request.body)}"
    if line["method"] != request.method:
        return f"archived as {line['method']}"
    target = request.target.replace(token, "***")
    if target.startswith("/") and "#" not in target and line["target"] != target:
        return f"archived with the target {line['target'][:300]}"
    headers = [(name, _meant(name, value.replace(token, "***"))) for name, value in request.headers]
    # Trailers are kept behind the headers, and the white space behind values.
    kept = [(name, _meant(name, value)) for name, value in line["headers"][: len(headers)]]
    if kept != headers:
        return f"archived with the headers {str(line['headers'])[:300]}"
    return None


def _meant(name: str, value: str) -> str:
    """Return a value without what the reference leaves out: white space, and case of a coding."""
    return value.strip(" \t").lower() if name == "transfer-encoding" else value.strip(" \t")

"""A door on a real spool, called as an ASGI server calls it, and what both suites of it share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.types import Message

from receiver import spool
from receiver.door import Guard, Intake, Judge, Log, create_app
from receiver.providers import PROVIDERS
from receiver.providers.envelope import Envelope, decode
from receiver.spool import Spool, segment
from receiver.spool.segment import Record

TOKEN = "current-token-0123456789"
OTHER_TOKEN = "previous-token-987654321"
KEY = b"key-of-outscraper"
DEADLINE_SECONDS = 20.0
LIMITS: dict[str, Any] = {
    "body_bytes_max": 1000,
    "body_seconds_max": 30.0,
    "inflight_bytes_max": 3000,
}

POSTBACK = f"/dataforseo/postback/{TOKEN}"
PINGBACK = f"/dataforseo/pingback/{TOKEN}"
NOTIFICATION = f"/diffbot/notification/{TOKEN}"
WEBHOOK = f"/outscraper/webhook/{TOKEN}"

# Provider, kind, method, and a query that is taken.
ENTRANCES = [
    ("dataforseo", "postback", "POST", "?id=$id&tag=$tag"),
    ("dataforseo", "pingback", "GET", "?id=task-1&tag=$tag"),
    ("dataforapps", "postback", "POST", ""),
    ("dataforapps", "pingback", "GET", "?id=task-1"),
    ("diffbot", "notification", "POST", ""),
    ("outscraper", "webhook", "POST", ""),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str | None:
        return str(orjson.loads(self.body)["error"]) if self.status != 200 else None

    @property
    def detail(self) -> str:
        return str(orjson.loads(self.body)["detail"])

    @property
    def delivery_id(self) -> str:
        return self.headers["x-delivery-id"]


def answer_of(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
    """Return an answer, checked for what every answer promises."""
    named = {name.decode(): value.decode() for name, value in headers}
    assert str(len(body)) == named["content-length"]
    if named["content-type"] == "application/json":
        assert not body or body.endswith(b"\n")
    return Answer(status, named, body)


def make_judge(
    log: Log, *, limits: dict[str, Any] = LIMITS, answered: Any = None, **of_guard: Any
) -> Judge:
    """Return a judge with small limits, two tokens, and a key that may sign."""
    guard: dict[str, Any] = {
        "tokens": [TOKEN.encode(), OTHER_TOKEN.encode()],
        "signature": "if-present",
        "signature_keys": [KEY],
    }
    return Judge(
        providers=PROVIDERS,
        log=log,
        guard=Guard(**(guard | of_guard)),
        intake=Intake(**limits),
        instance="tests",
        answered=answered,
    )


def wire(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers as a server hands them on."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class Caller:
    """Calls a door as a server does, with every piece of a body under the test's control."""

    def __init__(self, app: Starlette, judge: Judge, root: Path) -> None:
        self.app = app
        self.judge = judge
        self.root = root

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        pieces: AsyncIterator[Message] | None = None,
        client: tuple[str, int] | None = ("192.0.2.7", 4711),
        **of_scope: Any,
    ) -> Answer | None:
        """Return the answer, or None if there was none."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": wire(headers),
            "client": client,
            "server": ("127.0.0.1", 8000),
            **of_scope,
        }
        messages = pieces or whole(body)
        sent: list[Message] = []

        async def receive() -> Message:
            return await anext(messages)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        if not sent:
            return None
        start, *rest = sent
        content = b"".join(message.get("body", b"") for message in rest)
        return answer_of(start["status"], start["headers"], content)

    async def call(self, method: str, target: str, body: bytes = b"", **more: Any) -> Answer:
        answer = await self.ask(method, target, body, **more)
        assert answer is not None
        return answer

    async def refused(self, method: str, target: str, body: bytes = b"", **more: Any) -> str:
        """Return status and slug of a refusal, of which nothing may be left."""
        before = len(self.stored())
        answer = await self.call(method, target, body, **more)
        assert "x-delivery-id" not in answer.headers
        assert "application/json" == answer.headers["content-type"]
        assert answer.detail
        assert before == len(self.stored())
        assert 0 == self.inflight_bytes
        return f"{answer.status} {answer.error}"

    def stored(self) -> list[Envelope]:
        """Return what is on the disk."""
        return [
            decode(part.head, part.body)
            for found in spool.files(self.root)
            for part in segment.read(found.path)
            if isinstance(part, Record)
        ]

    @property
    def inflight_bytes(self) -> int:
        return self.judge.intake.inflight_bytes


async def whole(body: bytes) -> AsyncIterator[Message]:
    yield {"type": "http.request", "body": body, "more_body": False}


async def in_pieces(*pieces: bytes, then: Sequence[Message] = ()) -> AsyncIterator[Message]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield {"type": "http.request", "body": piece, "more_body": True}
    for message in then or [{"type": "http.request"}]:
        yield message


def make_spool(root: Path, *, spool_bytes_max: int = 1 << 40) -> Spool:
    """Return a spool that seals nothing by itself."""
    return Spool(
        root,
        batch_bytes=1 << 40,
        batch_seconds=3600.0,
        spool_bytes_max=spool_bytes_max,
        disk_reserve_bytes=0,
    )


@contextlib.asynccontextmanager
async def opened(
    root: Path,
    *,
    spool_bytes_max: int = 1 << 40,
    trusted_proxies: str = "127.0.0.1",
    **of_judge: Any,
) -> AsyncIterator[Caller]:
    """Open a door on a spool of its own."""
    kept = make_spool(root, spool_bytes_max=spool_bytes_max)
    judge = make_judge(kept, **of_judge)

    def unready() -> str | None:
        return "draining" if judge.draining else kept.problem()

    app = create_app(judge, unready=unready, version="1.2.3", trusted_proxies=trusted_proxies)
    try:
        yield Caller(app, judge, root)
    finally:
        await kept.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks and the committing thread bring about."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 # no event announces it
            await asyncio.sleep(0.001)

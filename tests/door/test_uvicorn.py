"""What the door relies on in uvicorn (`receiver.door.protocol`), checked on the version installed.

A failure here names what an update of uvicorn changed.  What the extended protocol promises is
tested on the wire, against the same version: tests/system/test_door_on_the_wire.py,
test_slow_clients.py and test_smuggling.py.
"""

import ast
import asyncio
import contextlib
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.door.cycle import Cycle
from receiver.door.protocol import RELIED_ON, BoundedProtocol

pytestmark = pytest.mark.anyio

_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_BEGUN = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
_SECONDS = 20.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    # As the server process runs it.
    return "asyncio", {"use_uvloop": True}


class Connection:
    """One connection to uvicorn's own protocol, and the application behind it."""

    def __init__(self, protocol: HttpToolsProtocol, client: socket.socket) -> None:
        self.protocol = protocol
        self.client = client
        self.scopes: list[Any] = []
        self.may_answer = asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await self.may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_SECONDS):
            while not condition():  # noqa: ASYNC110 # no event announces it
                await asyncio.sleep(0.001)

    async def read(self, count: int) -> bytes:
        received = b""
        async with asyncio.timeout(_SECONDS):
            while received.count(b"ok") < count:
                chunk = await asyncio.get_running_loop().sock_recv(self.client, 65536)
                if not chunk:
                    break
                received += chunk
        return received


@contextlib.asynccontextmanager
async def connected(kind: type[HttpToolsProtocol] = HttpToolsProtocol) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    made: list[Connection] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await made[0].app(scope, receive, send)

    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    protocol = kind(config, ServerState(), {}, loop)
    made.append(Connection(protocol, client))
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, server)
    try:
        yield made[0]
    finally:
        transport.abort()
        client.close()
        made[0].may_answer.set()
        async with asyncio.timeout(_SECONDS):
            await asyncio.gather(*protocol.tasks, return_exceptions=True)
        await asyncio.sleep(0)


def _taken(class_: ast.ClassDef, base: type) -> set[str]:
    """Return the names that a class takes from its base: those it uses, and those it replaces."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {node.name for node in class_.body if isinstance(node, functions)}
    defined |= {
        ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])
        for node in class_.body
        if isinstance(node, ast.AnnAssign | ast.Assign)
    }
    return (_attributes(class_, "self") - defined) | (defined & _own(base))


def _class(of: type) -> ast.ClassDef:
    (node,) = ast.parse(inspect.getsource(of)).body
    assert isinstance(node, ast.ClassDef)
    return node


def _attributes(class_: ast.ClassDef, *roots: str) -> set[str]:
    return {
        node.attr
        for node in ast.walk(class_)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in roots
    }


def _own(base: type) -> set[str]:
    """Return what a class adds to asyncio's protocols and to `object`."""
    return set(dir(base)) - set(dir(asyncio.Protocol))


def test_the_list_of_names_is_complete() -> None:
    protocol, cycle = _class(BoundedProtocol), _class(Cycle)
    by_protocol = _taken(protocol, HttpToolsProtocol)
    assert RELIED_ON[HttpToolsProtocol] == by_protocol
    by_cycle = _taken(cycle, RequestResponseCycle)
    by_cycle |= _attributes(protocol, "self.cycle", "cycle") - {"__class__"}
    assert RELIED_ON[RequestResponseCycle] == by_cycle


async def test_every_name_is_there() -> None:
    async with connected() as connection:
        await connection.send(_REQUEST)
        await connection.until(lambda: bool(connection.scopes))
        found = {
            HttpToolsProtocol: connection.protocol,
            RequestResponseCycle: connection.protocol.cycle,
        }
        for kind, names in RELIED_ON.items():
            missing = {name for name in names if not hasattr(found[kind], name)}
            assert not missing, kind.__name__


async def test_an_exception_of_a_callback_is_the_context_of_the_parsers_error() -> None:
    class Stumbling(HttpToolsProtocol):
        def on_headers_complete(self) -> None:
            raise LookupError("ours")

    async with connected(Stumbling) as connection:
        with pytest.raises(httptools.HttpParserError) as caught:
            connection.protocol.parser.feed_data(_REQUEST)
        assert isinstance(caught.value.__context__, LookupError)


async def test_an_upgrade_tells_where_it_begins() -> None:
    async with connected() as connection:
        head = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        with pytest.raises(httptools.HttpParserUpgrade) as caught:
            connection.protocol.parser.feed_data(head + b"rest")
        assert len(head) == caught.value.args[0]
        assert connection.protocol.parser.should_upgrade()


async def test_headers_are_none_and_then_a_list_that_the_scope_shares() -> None:
    async with connected() as connection:
        protocol = connection.protocol
        assert [None, None] == [getattr(protocol, name) for name in ("headers", "cycle")]
        connection.may_answer.set()
        for number in (1, 2):
            await connection.send(_REQUEST)
            await connection.read(1)
            assert number == len(connection.scopes)
            assert protocol.headers is connection.scopes[-1]["headers"]
        assert connection.scopes[0]["headers"] is not connection.scopes[1]["headers"]


async def test_a_request_has_its_cycle_before_the_application_runs() -> None:
    seen: list[tuple[bool, bool]] = []

    class Watched(HttpToolsProtocol):
        def on_headers_complete(self) -> None:
            before = self.cycle
            super().on_headers_complete()
            seen.append((self.cycle is not before, bool(connection.scopes)))
            self.cycle.__class__ = Counting

    class Counting(RequestResponseCycle):
        async def send(self, message: Any) -> None:
            sent.append(message["type"])
            await super().send(message)

    sent: list[str] = []
    async with connected(Watched) as connection:
        connection.may_answer.set()
        await connection.send(_REQUEST)
        assert b"ok" in await connection.read(1)
        assert [(True, False)] == seen
        assert ["http.response.start", "http.response.body"] == sent


async def test_the_end_of_an_answer_starts_the_next_request_or_the_timer() -> None:
    async with connected() as connection:
        protocol = connection.protocol
        await connection.send(_REQUEST * 3)
        await connection.until(lambda: len(protocol.pipeline) == 2)
        assert 1 == len(connection.scopes)
        assert protocol.pipeline[0][0] is protocol.cycle
        assert protocol.cycle.on_response == protocol.on_response_complete
        connection.may_answer.set()
        assert 3 == (await connection.read(3)).count(b"200 OK")
        await connection.until(lambda: protocol.timeout_keep_alive_task is not None)
        assert 3 == len(connection.scopes)
        assert not protocol.pipeline


async def test_the_end_of_a_request_that_was_answered_early_starts_no_timer() -> None:
    async with connected() as connection:
        protocol = connection.protocol
        connection.may_answer.set()
        await connection.send(_BEGUN)
        await connection.read(1)
        await connection.until(lambda: protocol.timeout_keep_alive_task is not None)
        await connection.send(b"{}")
        await connection.until(lambda: protocol.timeout_keep_alive_task is None)
        # This is what `BoundedProtocol.on_message_complete` is for.
        await asyncio.sleep(0.05)
        assert protocol.timeout_keep_alive_task is None


async def test_a_shutdown_has_the_request_in_progress_close_its_connection() -> None:
    async with connected() as connection:
        protocol = connection.protocol
        await connection.send(_REQUEST)
        await connection.until(lambda: bool(connection.scopes))
        before = protocol.cycle.keep_alive
        protocol.shutdown()
        assert (True, False) == (before, protocol.cycle.keep_alive)
        connection.may_answer.set()
        assert b"connection: close" in await connection.read(2)


async def test_a_connection_stays_open_if_its_end_of_input_is_met_with_true() -> None:
    class Patient(HttpToolsProtocol):
        def eof_received(self) -> bool:  # type: ignore[override]
            return True

    async def answered(kind: type[HttpToolsProtocol]) -> bool:
        async with connected(kind) as connection:
            await connection.send(_REQUEST)
            await connection.until(lambda: bool(connection.scopes))
            connection.client.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
            connection.may_answer.set()
            with contextlib.suppress(ConnectionError):
                return b"ok" in await connection.read(1)
            return False

    assert await answered(Patient)
    assert not await answered(HttpToolsProtocol)


async def test_the_servers_protocol_is_the_one_that_is_checked_here() -> None:
    from receiver.config import Settings
    from receiver.service.server import _uvicorn_config

    given: dict[str, Any] = {}
    config = _uvicorn_config(Settings(**given), None)
    assert config.http is BoundedProtocol
    assert issubclass(BoundedProtocol, HttpToolsProtocol)

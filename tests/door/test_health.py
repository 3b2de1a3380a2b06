"""Paths that are not an entrance: health, readiness, version, and everything else."""

from collections.abc import Awaitable, Sequence

import pytest
from starlette.testclient import TestClient

from receiver import metrics
from receiver.door import create_app
from tests.door.place import make_judge


class Unused:
    """A log that nothing here appends to."""

    def problem(self, more_bytes: int = 0) -> str | None:
        raise AssertionError

    def append(self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int) -> Awaitable[None]:
        raise AssertionError


def client(problem: str | None = None, root_path: str = "") -> TestClient:
    app = create_app(make_judge(Unused()), unready=lambda: problem, version="1.2.3")
    return TestClient(app, follow_redirects=False, root_path=root_path)


@pytest.mark.parametrize("slash", ["", "/"])
def test_alive_ready_and_version(slash: str) -> None:
    for problem in (None, "draining"):
        answer = client(problem).get("/healthz" + slash)
        assert (200, {"status": "alive"}) == (answer.status_code, answer.json())
    assert {"status": "ready"} == client().get("/readyz" + slash).json()
    assert {"version": "1.2.3"} == client().get("/version" + slash).json()
    mounted = client(root_path="/hooks")
    assert {"version": "1.2.3"} == mounted.get("/hooks/version" + slash).json()


def test_every_json_answer_ends_with_a_newline() -> None:
    for problem in (None, "draining"):
        for path in ("/healthz", "/readyz", "/version", "/nowhere"):
            answer = client(problem).get(path)
            assert answer.content.endswith(b"}\n")
            assert str(len(answer.content)) == answer.headers["content-length"]


def test_unready_says_why_and_when_to_retry() -> None:
    answer = client("the spool is full (RECEIVER_SPOOL_BYTES_MAX)").get("/readyz")
    assert 503 == answer.status_code
    assert "5" == answer.headers["retry-after"]
    assert {
        "status": "unready",
        "detail": "the spool is full (RECEIVER_SPOOL_BYTES_MAX)",
    } == answer.json()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version"])
def test_a_load_balancer_may_ask_with_head(path: str) -> None:
    answer = client().head(path)
    assert (200, b"") == (answer.status_code, answer.content)


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/healthz/deeper", "/healthz//", "/metrics", "/status", "//", "/dataforseo"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_everything_else_is_not_there_and_never_redirected(path: str, method: str) -> None:
    counter = metrics.rejected.labels("unknown", "unknown_route")._value
    before = counter.get()
    answer = client().request(method, "http://testserver" + path)
    assert 404 == answer.status_code
    if method != "HEAD":
        assert "unknown_route" == answer.json()["error"]
        assert "`receiver urls`" in answer.json()["detail"]
    assert before + 1 == counter.get()


def test_a_wrong_method_is_refused() -> None:
    assert 405 == client().post("/healthz").status_code

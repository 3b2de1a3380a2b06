"""URLs of calls: a path from a bucket or from a provider's answer leads nowhere else."""

import asyncio
from collections.abc import Iterator

import pytest

from receiver.errors import ProviderError
from receiver.providers import dataforseo_api
from receiver.providers.conversation import Call
from receiver.reconciler.call_url import check_id, url_of
from receiver.reconciler.caller import Caller
from tests.tools.simulators.sink import Sink

BASE = "https://api.example.org"

ELSEWHERE = [
    "",
    "/",
    "9/stolen",
    ".evil.example/x",
    ":8080/x",
    "@evil.example/x",
    "//evil.example/x",
    "/v3//x",
    "/v3/x/",
    "/v3/../admin",
    "/v3/./x",
    "/v3/%2e%2e/admin",
    "/v3/.%2E/admin",
    "/v3/%252e%252e/admin",
    "/..",
    "/v3/..;/admin",
    "/v3/%2e%2e%3b/admin",
    "/v3/..%2fadmin",
    "/v3/a%2f..%2fadmin",
    "/v3/..\\admin",
    "/v3/..%5cadmin",
    "/v3/@evil.example/x",
    "/v3/x?all=1",
    "/v3/x%3fall=1",
    "/v3/x#y",
    "/v3/x%23",
    "/v3/x y",
    "/v3/x%0d%0aHost:%20evil.example",
    "/v3/x\r\nHost: evil.example",
    "/v3/x%00",
    "/v3/ü",
    "\\\\evil.example/x",
    "http://evil.example/x",
    f"/v3/{'x' * 300}",
]


@pytest.fixture
def listener() -> Iterator[Sink]:
    with Sink() as listener:
        yield listener


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("base", [BASE, f"{BASE}/", f"{BASE}:8443/sub/path/"])
def test_a_path_that_leads_elsewhere_has_no_url(base: str, path: str) -> None:
    with pytest.raises(ProviderError, match="nothing sent"):
        url_of(base, path)


@pytest.mark.parametrize(
    "path",
    [
        "/v3/serp/google/organic/task_get/advanced/11281559-0695-0216-0000-c269be8b7592",
        "/requests/79e6d350-c6c9-449c-a890-7fe14f821ebe",
        "/tasks/20260814132758c8e9",
        "/v3/crawl",
        "/requests/YXV0aDB8%3D",
        "/v3/a..b/x",
    ],
)
@pytest.mark.parametrize("base", [BASE, f"{BASE}/", f"{BASE}:8443/sub", "http://[::1]:81/a/"])
def test_a_plain_path_stands_behind_the_base_as_it_is(base: str, path: str) -> None:
    assert base.rstrip("/") + path == str(url_of(base, path))


@pytest.mark.integration
def test_a_neighbouring_port_receives_neither_call_nor_credentials(listener: Sink) -> None:
    host, _, port = listener.url.rpartition(":")
    # Without its last digit the listener's port is another one, and a path can restore it.
    hostile = {f"{host}:{port[:-1]}": [f"{port[-1]}/stolen", f"{port[-1]}/v3/x"]}
    hostile["http://api.dataforseo.invalid"] = [f"@127.0.0.1:{port}/x", f":x@127.0.0.1:{port}/x"]
    hostile["http://127.0.0"] = [f".1:{port}/x"]
    hostile["http:"] = [f"//127.0.0.1:{port}/x"]
    for base, paths in hostile.items():
        for path in paths:
            with pytest.raises(ProviderError, match="nothing sent"):
                make(base, path)
    assert [] == listener.arrivals()


@pytest.mark.integration
@pytest.mark.parametrize("path", [path for path in ELSEWHERE if path.startswith("/")])
def test_the_configured_host_receives_no_call_of_another_path(listener: Sink, path: str) -> None:
    with pytest.raises(ProviderError, match="nothing sent"):
        make(listener.url, path)
    assert [] == listener.arrivals()


@pytest.mark.integration
def test_a_path_is_sent_as_it_was_checked(listener: Sink) -> None:
    listener.reply = b"{}"
    make(f"{listener.url}/sub/", "/v3/x/YXV0aDB8%3D")
    (arrival,) = listener.arrivals(1)
    assert ("/sub/v3/x/YXV0aDB8%3D", "secret") == (arrival.target, arrival.header("X-API-KEY"))


@pytest.mark.parametrize("provider", ["dataforseo", "dataforapps", "outscraper"])
def test_ids_in_calls_are_plain(provider: str) -> None:
    check_id(provider, "11281559-0695-0216-0000-c269be8b7592")
    check_id(provider, "20260814132758c8e9")
    for odd in ("", ".", "..", "../x", "a/b", "%2e%2e", "a b", "a?b", "a#", "-x", "ü", "x" * 101):
        with pytest.raises(ValueError, match="is not an id"):
            check_id(provider, odd)


def test_a_job_may_have_any_printable_name() -> None:
    check_id("diffbot", "Läden & Preise / 7")
    for odd in ("", "a\nb", "\x1b[2J", "x" * 256):
        with pytest.raises(ValueError, match="is not an id"):
            check_id("diffbot", odd)


def make(base: str, path: str) -> None:
    """Make one call with credentials."""

    async def once() -> None:
        caller = Caller(
            provider="dataforseo",
            base_url=base,
            policy=dataforseo_api.POLICY,
            headers={"X-API-KEY": "secret"},
            timeout_seconds=5.0,
            attempts_max=1,
        )
        async with caller:
            await caller.call(Call(path=path))

    asyncio.run(once())

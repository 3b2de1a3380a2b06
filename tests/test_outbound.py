"""Proxies and TLS of calls and of replays, through a real proxy and real certificates."""

import asyncio
import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from yarl import URL

from receiver.errors import ProviderError, SettingsError
from receiver.outbound import Proxies
from receiver.providers import dataforseo_api
from receiver.providers.conversation import Call, Reply
from receiver.reconciler.caller import Caller
from receiver.replay.target import Answer, NoAnswer, Target
from tests.tools.simulators.sink import Sink
from tests.tools.support.proxy import Proxy
from tests.tools.support.target import TargetServer
from tests.tools.support.tls import https_server

# Known to the proxy alone.
PLAIN, SECURE = "target.invalid:80", "target.invalid:443"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[TargetServer]:
    with TargetServer() as server:
        yield server


@pytest.fixture
def proxy(server: TargetServer) -> Iterator[Proxy]:
    with Proxy({"target.invalid": server.address}) as proxy:
        yield proxy


def send(url: str) -> Answer:
    async def once() -> Answer:
        async with Target(connections=1, timeout_seconds=20.0) as target:
            return await target.send("POST", url, headers={}, body=b"{}")

    return asyncio.run(once())


def call(url: str, path: str = "/v3/x") -> Reply:
    async def once() -> Reply:
        caller = Caller(
            provider="dataforseo",
            base_url=url,
            policy=dataforseo_api.POLICY,
            headers={"Authorization": "Basic c2VjcmV0"},
            attempts_max=1,
        )
        async with caller:
            return await caller.call(Call(path=path))

    return asyncio.run(once())


# Proxies.


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("form", ["http://{}", "{}"])
def test_a_target_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, server: TargetServer, name: str, form: str
) -> None:
    monkeypatch.setenv(name, form.format(proxy.address))
    assert 200 == send("http://target.invalid/hook?id=1").status
    assert ["/hook?id=1"] == [received.target for received in server.received]
    assert proxy.asked[0].startswith("POST http://target.invalid/hook?id=1 HTTP/1.1\r\n")


def test_an_api_is_called_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, server: TargetServer
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@{proxy.address}")
    assert 200 == call("http://target.invalid").status
    assert ["/v3/x"] == [received.target for received in server.received]
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.asked[0]


def test_a_netrc_file_is_not_read(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, server: TargetServer, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    send("http://target.invalid/hook")
    send(f"{server.url}/direct")
    assert 1 == len(proxy.asked)
    assert "authorization" not in proxy.asked[0].lower()
    assert not any("authorization" in received.headers for received in server.received)


@pytest.mark.integration
def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trust(monkeypatch, tmp_path)
    context = context_of(authority.issue_cert("target.invalid"))
    with https_server(context) as address, Proxy({SECURE: address}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass@{proxy.address}")
        assert 200 == send("https://target.invalid/hook").status
    (head,) = proxy.asked
    assert head.startswith("CONNECT target.invalid:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cGFzcw==" in head
    assert "/hook" not in head


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "HTTP 407"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "not valid HTTP"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, refusal: bytes, why: str
) -> None:
    proxy.refusal = refusal
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    with pytest.raises(NoAnswer, match=why) as caught:
        send("https://target.invalid/hook")
    assert not caught.value.reached
    with pytest.raises(ProviderError, match=f"cannot be reached .*{why}"):
        call("https://target.invalid")


@pytest.mark.integration
def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sink() as gone:
        address = gone.url
    monkeypatch.setenv("HTTP_PROXY", address.replace("://", "://me:secret-1@"))
    with pytest.raises(NoAnswer, match="the proxy cannot be reached: ") as caught:
        send("http://target.invalid/hook")
    assert "secret-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://a.example", False),
        ("*", "http://a.example", True),
        ("a.example", "http://a.example", True),
        ("b.example, .a.example", "http://x.a.example", True),
        ("a.example", "http://nota.example", False),
        ("a.example:81", "http://a.example", False),
        ("a.example:81", "http://a.example:81", True),
        ("", "https://a.example", True),
        ("", "http://localhost:8", True),
        ("", "http://127.0.0.9:8", True),
        ("", "http://[::1]:8", True),
    ],
)
def test_what_no_proxy_names_and_loopback_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    expected = None if direct else URL("http://proxy.example:3128")
    assert expected == Proxies().of(URL(url))


@pytest.mark.parametrize("text", ["socks5://me:secret-1@h:1", "http://", "http://h:secret-1"])
def test_what_is_no_proxy_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", text)
    with pytest.raises(SettingsError, match="HTTPS_PROXY is not the URL") as caught:
        Proxies()
    assert "secret" not in str(caught.value)


# TLS.


def trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """Return an authority that this process trusts from now on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    loaded = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    # aiohttp makes its context once, when it is imported.
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", loaded)
    return authority


def context_of(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


@pytest.mark.integration
def test_a_certificate_that_is_refused_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trust(monkeypatch, tmp_path)
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    cases = [
        (authority.issue_cert("other.example"), "certificate verify failed: .*mismatch"),
        (authority.issue_cert("127.0.0.1", not_after=past), "certificate has expired"),
        (trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer|self-signed"),
    ]
    for cert, why in cases:
        with https_server(context_of(cert)) as (host, port):
            with pytest.raises(NoAnswer, match=why) as caught:
                send(f"https://{host}:{port}/hook")
            assert not caught.value.reached
            with pytest.raises(ProviderError, match=why):
                call(f"https://{host}:{port}")
    with https_server(context_of(authority.issue_cert("127.0.0.1"))) as (host, port):
        assert 200 == send(f"https://{host}:{port}/hook").status


def test_a_server_that_speaks_no_tls_is_named(server: TargetServer) -> None:
    with pytest.raises(NoAnswer) as caught:
        send(server.url.replace("http:", "https:"))
    assert "Operation not permitted" not in str(caught.value)
    assert str(caught.value).startswith(("TLS failed: ", "Connection"))

"""What operators look at."""

from html.parser import HTMLParser
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from receiver.service.admin import create_app


def _client(app: Starlette) -> TestClient:
    return TestClient(app, base_url="http://localhost")


def test_the_admin_port_shows_metrics_status_and_health() -> None:
    asked: list[str] = []

    def exposition() -> bytes:
        asked.append("metrics")
        return b"receiver_lag_seconds 0.5\n"

    def status() -> dict[str, Any]:
        asked.append("status")
        return {"lag_seconds": 0.5, "spool": {"bytes": 7}}

    client = _client(create_app(exposition=exposition, status=status))
    answer = client.get("/metrics")
    assert (200, b"receiver_lag_seconds 0.5\n") == (answer.status_code, answer.content)
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert {"lag_seconds": 0.5, "spool": {"bytes": 7}} == client.get("/status").json()
    assert {"status": "alive"} == client.get("/healthz").json()
    assert 404 == client.get("/elsewhere").status_code
    assert ["metrics", "status"] == asked


def test_json_ends_with_a_newline() -> None:
    client = _client(create_app(exposition=bytes, status=dict))
    assert b"{}\n" == client.get("/status").content
    assert client.get("/healthz").content.endswith(b"}\n")


class _Page(HTMLParser):
    """A page's links; fails where an element is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


def test_the_first_page_leads_to_all_others() -> None:
    client = _client(create_app(exposition=bytes, status=dict))
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = client.get("/", headers={"accept": accept})
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert answer.text.startswith("<!DOCTYPE html>\n")
    page = _Page(answer.text)
    assert [] == page.open
    assert ["/metrics", "/status", "/healthz"] == page.links
    assert [200] * 3 == [client.get(link).status_code for link in page.links]


def test_the_first_page_is_text_for_other_programs() -> None:
    answer = _client(create_app(exposition=bytes, status=dict)).get("/")
    assert "text/plain; charset=utf-8" == answer.headers["content-type"]
    assert ["/metrics", "/status", "/healthz"] == [
        line.split()[0] for line in answer.text.splitlines()
    ]

"""What operators look at."""

from typing import Any

from starlette.testclient import TestClient

from receiver.service.admin import create_app


def test_the_admin_port_shows_metrics_status_and_health() -> None:
    asked: list[str] = []

    def exposition() -> bytes:
        asked.append("metrics")
        return b"receiver_lag_seconds 0.5\n"

    def status() -> dict[str, Any]:
        asked.append("status")
        return {"lag_seconds": 0.5, "spool": {"bytes": 7}}

    client = TestClient(create_app(exposition=exposition, status=status))
    answer = client.get("/metrics")
    assert (200, b"receiver_lag_seconds 0.5\n") == (answer.status_code, answer.content)
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert {"lag_seconds": 0.5, "spool": {"bytes": 7}} == client.get("/status").json()
    assert {"status": "alive"} == client.get("/healthz").json()
    assert 404 == client.get("/elsewhere").status_code
    assert ["metrics", "status"] == asked

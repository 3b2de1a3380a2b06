"""Which names the admin port answers to."""

import logging
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from receiver.service.admin import create_app
from tests.tools.support.http import connect, read_answer, request
from tests.tools.support.server import Receiver

_PATHS = ("/", "/metrics", "/status", "/healthz", "/elsewhere")


def _status(host: str, *names: str, path: str = "/metrics") -> int:
    client = TestClient(create_app(exposition=bytes, status=dict, hosts=names))
    return client.get(path, headers={"host": host}).status_code


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8001",
        "localhost.:8001",
        "receiver.localhost",
        "127.0.0.1:8001",
        "[::1]:8001",
        "[::1]",
        # A pod's, a task's and a machine's: they are scraped by address.
        "10.42.0.17:8001",
        "[fd00::17]:8001",
        "",
    ],
)
def test_loopback_names_and_addresses_are_answered(host: str) -> None:
    assert 200 == _status(host)


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:8001",
        "localhost.attacker.example",
        "notlocalhost",
        "127.0.0.1.attacker.example",
        "127.0.0.1@attacker.example",
        "[attacker.example]",
        "receiver",
        "*",
    ],
)
def test_a_foreign_name_is_not_answered(host: str, path: str) -> None:
    client = TestClient(create_app(exposition=lambda: b"figures", status=lambda: {"a": 1}))
    answer = client.get(path, headers={"host": host})
    assert 421 == answer.status_code
    assert "unknown_host" == answer.json()["error"]
    assert "RECEIVER_ADMIN_HOSTS" in answer.json()["detail"]


def test_names_that_are_set_are_answered() -> None:
    names = ("receiver", "Prometheus.internal.")
    for host in ("receiver:8001", "RECEIVER", "prometheus.internal:8001", "localhost"):
        assert 200 == _status(host, *names)
    assert 421 == _status("internal", *names)
    assert 200 == _status("attacker.example", "*")


def test_a_refusal_is_logged_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _status("prometheus-target:8001")
    (record,) = caplog.records
    assert "prometheus-target:8001" == vars(record)["host"]
    assert "RECEIVER_ADMIN_HOSTS" in vars(record)["hint"]


def test_a_name_of_any_length_is_cut_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert 421 == _status("a" * 60_000)
    assert 255 == len(vars(caplog.records[0])["host"])


@pytest.mark.system
def test_a_running_instance_answers_addresses_and_the_names_that_are_set(tmp_path: Path) -> None:
    settings = {"RECEIVER_ADMIN_HOST": "0.0.0.0", "RECEIVER_ADMIN_HOSTS": "receiver,a.internal"}
    with Receiver(tmp_path, settings) as it:
        it.start()
        port = it.admin_url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"

        def status(host: str) -> int:
            return request(url, "GET", "/metrics", headers={"Host": host}).status

        # As in a pod that is scraped by its address.
        assert 200 == status(f"10.42.0.17:{port}")
        assert [200, 200, 421] == list(
            map(status, ("receiver", f"a.internal:{port}", "b.internal"))
        )
        with connect(url) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert 200 == read_answer(connection).status
        with connect(url) as connection:
            connection.sendall(
                b"GET /status HTTP/1.1\r\nHost: receiver\r\nHost: evil.example\r\n\r\n"
            )
            assert 421 == read_answer(connection).status

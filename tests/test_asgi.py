"""The application that the environment describes, for other ASGI servers."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from receiver import asgi, metrics, spool
from receiver.config import Settings
from receiver.errors import SettingsError
from receiver.instance import Receiver
from receiver.providers.envelope import decode
from receiver.spool import segment
from receiver.spool.segment import Record

TOKEN = "0123456789abcdef-token"


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(
        **{
            "spool": tmp_path / "spool",
            "tokens": (SecretStr(TOKEN),),
            "instance": "tests",
            "disk_reserve_bytes": 0,
            **given,
        }
    )


def test_a_callback_is_spooled_between_start_and_stop(tmp_path: Path) -> None:
    app = asgi.build(Receiver(settings(tmp_path, forwarded_allow_ips="*")))
    target = f"/diffbot/notification/{TOKEN}"
    stopped = TestClient(app)
    counter = metrics.acknowledged.labels("diffbot", "notification")._value
    before = counter.get()
    assert 503 == stopped.post(target, content=b"{}").status_code
    with TestClient(app) as client:
        answer = client.post(target, content=b"{}", headers={"X-Forwarded-For": "203.0.113.7"})
        assert 200 == answer.status_code
        assert {"status": "ready"} == client.get("/readyz").json()
    refused = stopped.post(target, content=b"{}")
    assert (503, "5") == (refused.status_code, refused.headers["retry-after"])
    (found,) = (found for found in spool.files(tmp_path / "spool") if found.bytes)
    assert ".seg" == found.path.suffix
    (record,) = segment.read(found.path)
    assert isinstance(record, Record)
    delivery = decode(record.head, record.body)
    assert (answer.headers["x-delivery-id"], b"{}", "tests", "203.0.113.7") == (
        delivery.delivery_id,
        delivery.body,
        delivery.instance,
        delivery.peer,
    )
    assert before + 1 == counter.get()


def test_each_start_has_a_spool_directory_of_its_own(tmp_path: Path) -> None:
    app = asgi.build(Receiver(settings(tmp_path)))
    for _ in range(2):
        with TestClient(app) as client:
            client.post(f"/diffbot/notification/{TOKEN}")
    sealed = [found.path for found in spool.files(tmp_path / "spool") if found.bytes]
    assert 2 == len({path.parent for path in sealed})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"ack": "archive"}, r"RECEIVER_ACK=archive works in `receiver serve` only.*RECEIVER_ACK="),
        ({"tokens": ()}, r"RECEIVER_TOKENS must be set; `receiver urls --new-token`"),
        ({"spool": Path("/proc/receiver")}, r"RECEIVER_SPOOL: cannot make /proc/receiver"),
    ],
)
def test_settings_that_cannot_be_honoured_are_errors(
    tmp_path: Path, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        asgi.build(Receiver(settings(tmp_path, **given)))

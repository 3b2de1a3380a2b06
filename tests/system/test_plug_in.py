"""A provider that an installed distribution adds, from its URL to the archive.

The distribution is the example of `receiver/providers/README.md`; the package is not touched.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.providers import acme
from tests.providers.samples import Sample, samples
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver in whose environment the distribution is installed."""
    folder = acme.install(tmp_path / "site")
    with Receiver(tmp_path / "receiver", {"PYTHONPATH": str(folder)}) as receiver:
        yield receiver


def deliver(receiver: Receiver, sample: Sample) -> str:
    """Deliver a sample as its provider does; return its delivery id."""
    target = receiver.path(sample.provider, sample.kind)
    answer = receiver.request(sample.method, target, sample.wire)
    assert 200 == answer.status
    delivery_id: str = answer.json["delivery_id"]
    return delivery_id


def test_its_callbacks_are_taken_archived_and_found(receiver: Receiver) -> None:
    urls = receiver.command("urls").stdout.splitlines()
    (listed,) = (line.split() for line in urls if line.startswith("acme"))
    assert ["acme", "webhook_url"] == listed[:2]
    assert listed[2].endswith(receiver.path("acme", "webhook"))

    receiver.start()
    ids = [deliver(receiver, sample) for sample in samples("acme")]
    wrong = receiver.request("POST", "/acme/webhook/another-token", b"{}")
    assert (401, 405, 404) == (
        wrong.status,
        receiver.request("GET", receiver.path("acme", "webhook")).status,
        receiver.request("POST", receiver.path("acme", "postback"), b"{}").status,
    )
    counted = {"provider": "acme", "kind": "webhook"}
    wait_for(lambda: receiver.metric("receiver_acknowledged_total", **counted) == 3, "are counted")
    receiver.wait_until_shipped()
    receiver.terminate()

    archive = DirectoryArchive(receiver.archive)
    (key,) = {key.rpartition("/")[0] for key in archive.keys("callbacks/")}
    assert key.endswith("/provider=acme/kind=webhook")
    lines = {line["delivery_id"]: line for line in read_lines(archive)}
    assert set(ids) == set(lines)
    for delivery_id, sample in zip(ids, samples("acme"), strict=True):
        recognised = {name: lines[delivery_id][name] for name in sample.expected}
        assert sample.expected == recognised
        assert sample.wire.decode() == lines[delivery_id]["body"]

    found = receiver.command("find", "--provider", "acme", "--output", "json")
    assert 0 == found.returncode, found
    assert set(ids) == {orjson.loads(line)["delivery_id"] for line in found.stdout.splitlines()}
    assert 0 == receiver.command("verify").returncode


def test_it_has_no_api_and_no_settings(receiver: Receiver) -> None:
    for command, words in {
        ("sweep", "acme"): "nothing to sweep for acme: receiver knows no API of it",
        ("sweep", "dataforseo", "acme"): "nothing to sweep for acme",
        ("audit", "acme"): "'acme' is not one of 'dataforseo', 'dataforapps'",
    }.items():
        ran = receiver.command(*command)
        assert (2, "") == (ran.returncode, ran.stdout)
        assert words in ran.stderr
        assert "Traceback" not in ran.stderr
    check = receiver.command("check", "--output", "json")
    assert 0 == check.returncode, check
    rows = [orjson.loads(line) for line in check.stdout.splitlines()]
    assert ["dataforseo, dataforapps, diffbot, outscraper, acme"] == [
        row["detail"] for row in rows if row["check"] == "providers"
    ]
    assert [] == [row for row in rows if row["check"].startswith("acme")]
    # Sweeping those that are configured leaves it out.
    ran = receiver.command("sweep")
    assert (3, True) == (ran.returncode, "no provider's API credentials" in ran.stderr)


def test_callbacks_that_are_spooled_when_it_is_removed_are_archived(receiver: Receiver) -> None:
    receiver.environ["RECEIVER_BATCH_SECONDS"] = "600"
    receiver.start()
    ids = [deliver(receiver, sample) for sample in samples("acme")]
    receiver.kill_all()
    path = os.environ.get("PYTHONPATH", "")
    found = receiver.command("find", "--output", "json", PYTHONPATH=path)
    assert (0, set(ids)) == (
        found.returncode,
        {orjson.loads(line)["delivery_id"] for line in found.stdout.splitlines()},
    )
    assert 0 == receiver.command("ship", PYTHONPATH=path).returncode
    lines = read_lines(DirectoryArchive(receiver.archive))
    assert {("acme", "webhook", "not_recognised")} == {
        (line["provider"], line["kind"], line["invalid"]) for line in lines
    }
    assert set(ids) == {line["delivery_id"] for line in lines}

"""What was answered 2xx is in the archive, with the documented keys, columns and types."""

import gzip
import re
from pathlib import Path

import orjson
import pytest

from tests.system.conftest import Place
from tests.tools.support.oracle import DirectoryArchive, Ledger, Load, read_lines, verify
from tests.tools.support.s3 import SECRET_ACCESS_KEY
from tests.tools.support.samples import API_KEY, DIFFBOT_TOKEN, Samples
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

_SEGMENT = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+"
_PARTITION = r"date=2\d{3}-\d\d-\d\d/hour=\d\d"


def test_every_kind_of_callback_is_archived_as_it_came(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    samples = Samples(seed=1)
    with Receiver(tmp_path, {**place.settings, "RECEIVER_OUTSCRAPER_API_KEYS": API_KEY}) as it:
        it.start("--workers", "2")
        for sample in (sample for _ in range(12) for sample in samples.of_each()):
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        assert 0 == it.terminate()
    verdict = verify(place.archive, ledger)
    assert verdict.acknowledged == verdict.archived == 120
    assert {
        ("dataforseo", "postback"),
        ("dataforseo", "pingback"),
        ("dataforapps", "postback"),
        ("dataforapps", "pingback"),
        ("diffbot", "notification"),
        ("outscraper", "webhook"),
    } == {(line["provider"], line["kind"]) for line in read_lines(place.archive)}


def test_load_from_many_senders_is_archived(tmp_path: Path, place: Place) -> None:
    ledger = Ledger()
    with Receiver(tmp_path, {**place.settings, "RECEIVER_BATCH_BYTES": "65536"}) as it:
        it.start("--workers", "2")
        with Load(it, ledger, seed=2, senders=6, pause_seconds=0.001):
            wait_for(
                lambda: len(ledger.acknowledged) > 1500,
                "1,500 callbacks are acknowledged",
                seconds=60,
            )
        assert {200} == set(ledger.statuses)
        assert 0 == it.terminate()
    assert verify(place.archive, ledger).segments > 5


def test_zstd_archives_hold_the_same(tmp_path: Path) -> None:
    ledger = Ledger()
    samples = Samples(seed=3)
    with Receiver(tmp_path, {"RECEIVER_COMPRESSION": "zstd"}) as it:
        it.start()
        for sample in samples.of_each():
            ledger.deliver(it.request, sample, token=it.token)
        it.terminate()
    archive = DirectoryArchive(it.archive)
    assert 10 == verify(archive, ledger).archived
    assert {".zst"} == {Path(key).suffix for key in archive.keys("callbacks/")}


def test_objects_lie_under_the_keys_of_the_contract(tmp_path: Path, place: Place) -> None:
    with Receiver(tmp_path, place.settings) as it:
        it.start()
        for sample in Samples(seed=4).of_each():
            it.request(
                sample.method,
                it.path(sample.provider, sample.kind, sample.rest),
                sample.wire,
                sample.headers,
            )
        it.terminate()
    keys = [*place.archive.keys("callbacks/"), *place.archive.keys("index/")]
    form = re.compile(
        rf"callbacks/{_PARTITION}/provider=\w+/kind=\w+/{_SEGMENT}\.jsonl\.gz"
        rf"|index/{_PARTITION}/{_SEGMENT}\.jsonl\.gz"
    )
    assert [] == [key for key in keys if not form.fullmatch(key)]
    assert 6 == len({key.partition("provider=")[2].rpartition("/")[0] for key in keys} - {""})


def test_it_is_in_the_archive_within_the_batch_time(tmp_path: Path) -> None:
    archive = DirectoryArchive(tmp_path / "archive")
    with Receiver(tmp_path, {"RECEIVER_BATCH_SECONDS": "0.5"}) as it:
        it.start()
        it.request("POST", it.path("dataforseo", "postback", "?id=1&tag=x"), b"{}")
        # No further request comes to give the seal a chance.
        wait_for(lambda: it.archive.is_dir() and archive.keys("index/"), "it is archived")
        assert 1 == len(read_lines(archive))


def test_no_secret_is_shown_anywhere(tmp_path: Path, place: Place) -> None:
    settings = {
        **place.settings,
        "RECEIVER_OUTSCRAPER_API_KEYS": API_KEY,
        "RECEIVER_LOG_LEVEL": "debug",
    }
    ledger = Ledger()
    samples = Samples(seed=5)
    said = []
    with Receiver(tmp_path, settings) as it:
        it.start()
        for sample in samples.of_each():
            ledger.deliver(it.request, sample, token=it.token)
        said += [
            it.request(method, target, body, headers)
            for method, target, body, headers in (
                # Proxies repeat the target in headers of their own.
                ("POST", it.path("diffbot", "notification"), b"{}", {"X-Original-URL": it.token}),
                ("GET", it.path("dataforseo", "pingback"), b"", {}),
                ("PUT", it.path("dataforseo", "postback", f"?id=1&tag={it.token}"), b"", {}),
                ("GET", f"/nobody/postback/{it.token}", b"", {}),
                ("GET", f"/{it.token}", b"", {"Referer": f"http://a/{it.token}"}),
                ("POST", it.path("diffbot", "notification", "/more"), b"", {}),
                ("POST", f"/outscraper/webhook/{it.token}x", API_KEY.encode(), {}),
                (
                    "POST",
                    it.path("outscraper", "webhook"),
                    b"{}",
                    {"X-Hub-Signature-256": f"sha256={API_KEY}"},
                ),
            )
        ]
        assert [200, 400, 405, 404, 404, 404, 401, 401] == [answer.status for answer in said]
        it.wait_until_shipped()
        wait_for(lambda: it.metric("receiver_rejected_total") >= 7, "the refusals are counted")
        shown = [it.metrics_text(), orjson.dumps(it.status()).decode()]
        it.terminate()
    shown += [it.text(), *(f"{answer.headers} {answer.body!r}" for answer in said)]
    for key in place.archive.keys():
        shown.append(key)
        if key.startswith("index/"):
            shown.append(_gunzip(place.archive.get(key)))
        elif not key.startswith("callbacks/"):
            shown.append(place.archive.get(key).decode())
    for line in read_lines(place.archive):
        # Bodies are kept whole; everything else of a line must be free of secrets.
        shown.append(str({name: line[name] for name in line if name != "body"}))
    assert len(shown) > 20
    for secret in (it.token, API_KEY, DIFFBOT_TOKEN, SECRET_ACCESS_KEY):
        assert [] == [text for text in shown if secret in text]
    assert any(DIFFBOT_TOKEN in (line["body"] or "") for line in read_lines(place.archive))


def _gunzip(content: bytes) -> str:
    return gzip.decompress(content).decode()

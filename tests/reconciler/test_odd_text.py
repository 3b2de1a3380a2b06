"""Sweeps of lists and results with text that strict parsers refuse."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.reconciler import DiffbotSweep, OutscraperSweep
from tests.reconciler.dataforseo import ORGANIC, ready, sweep_of
from tests.reconciler.place import HOUR, TOKEN, Place, own_url, past
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.support.oracle import read_lines

pytestmark = pytest.mark.integration

Forge = Callable[[bytes], bytes]


@pytest.fixture
def dataforseo() -> Iterator[DataForSeo]:
    with DataForSeo(clock=past(2 * HOUR)) as running:
        yield running


@pytest.fixture
def outscraper() -> Iterator[Outscraper]:
    with Outscraper(clock=past(2 * HOUR)) as running:
        yield running


def altered(part: str, forge: Forge) -> Callable[[str, bytes], bytes]:
    """Alter the answers of paths that contain a part."""
    return lambda path, body: forge(body) if part in path else body


def body_of(line: dict[str, Any]) -> bytes:
    if line["body"] is not None:
        return str(line["body"]).encode()
    return base64.b64decode(line["body_base64"])


# What may stand in any string of an account's lists.
ODD = [rb"cut \ud83d", b"gr\xfcn", b"a\x01b", rb"\q"]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_tag_in_the_list_of_finished_tasks_hides_nothing(
    tmp_path: Path, dataforseo: DataForSeo, odd: bytes
) -> None:
    place = Place(tmp_path, "dataforseo", dataforseo)
    ids = dataforseo.add_ready(ORGANIC, 2, tag="odd-tag") + ready(dataforseo, 2, tag="ours")
    dataforseo.forge_body = altered("tasks_ready", lambda body: body.replace(b"odd-tag", odd))
    summary = place.sweep(sweep_of())
    assert ({"repaired": 4}, ()) == (summary.outcomes, summary.alarms)
    assert set(ids) == set(place.lines(kind="result"))


def test_a_row_that_cannot_be_read_is_named_and_the_others_are_fetched(
    tmp_path: Path, dataforseo: DataForSeo
) -> None:
    place = Place(tmp_path, "dataforseo", dataforseo)
    (bad,) = dataforseo.add_ready(ORGANIC, 1, tag="odd-tag")
    ids = ready(dataforseo, 2, tag="ours")
    forge = altered("tasks_ready", lambda body: body.replace(b"odd-tag", b'5" pipe'))
    dataforseo.forge_body = forge
    summary = place.sweep(sweep_of())
    assert {"repaired": 2} == summary.outcomes
    assert set(ids) == set(place.lines(kind="result"))
    (alarm,) = summary.alarms
    assert bad in alarm


def test_a_job_that_cannot_be_read_is_named_and_the_others_are_swept(tmp_path: Path) -> None:
    sweep = DiffbotSweep(own_urls=[own_url("diffbot", "notification")], grace_seconds=600.0)
    url = f"http://127.0.0.1:1/diffbot/notification/{TOKEN}"
    with Diffbot(clock=past(2 * HOUR)) as diffbot:
        place = Place(tmp_path, "diffbot", diffbot)
        for name in ("one", "bad", "cut-here", "two"):
            seeds = f"https://{name}.example.org/"
            diffbot.create(name, kind="crawl", token=None, seeds=seeds, notifyWebhook=url)
            diffbot.complete(name)
        diffbot.wait_idle()
        diffbot.clock.advance(2 * HOUR)
        diffbot.forge_body = altered(
            "/v3/crawl",
            lambda body: body.replace(b"https://bad.", b'a "quote"').replace(
                b"https://cut-here.", rb"\ud83d"
            ),
        )
        summary = place.sweep(sweep)
        assert {"repaired": 3} == summary.outcomes
        assert {"one", "cut-here", "two"} == set(place.lines())
        (alarm,) = summary.alarms
        assert "'bad'" in alarm


# What a fetched result is made to, and what the archive says of it.
RESULTS: list[tuple[Forge, str]] = [
    (lambda body: b"\xef\xbb\xbf" + body, "odd_text"),
    (lambda body: body + b"\0", "odd_text"),
    (lambda body: body[:-1] + b',"x":"\\ud83d"}', "odd_text"),
    (lambda body: body[:-1] + b',"x":NaN}', "odd_text"),
    (lambda body: body[:-1] + b',"x":"\xfc"}', "odd_text"),
    (lambda body: body[:-1] + b',"x":' + b"[" * 3000 + b"]" * 3000 + b"}", "odd_text"),
]


@pytest.mark.parametrize(("forge", "invalid"), RESULTS)
def test_a_result_with_odd_text_is_stored_as_it_came_and_held(
    tmp_path: Path, dataforseo: DataForSeo, forge: Forge, invalid: str
) -> None:
    place = Place(tmp_path, "dataforseo", dataforseo)
    (task_id,) = ready(dataforseo, 1)
    came: list[bytes] = []

    def forged(body: bytes) -> bytes:
        came.append(forge(body))
        return came[-1]

    dataforseo.forge_body = altered("task_get", forged)
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    (line,) = read_lines(place.archive)
    assert (task_id, f"{task_id}:advanced", "20000", invalid) == tuple(
        line[name] for name in ("task_id", "key", "status", "invalid")
    )
    assert came[-1] == body_of(line)
    assert {} == place.sweep(sweep_of()).outcomes
    assert [] == place.unfinished()


@pytest.mark.parametrize(
    ("forge", "invalid"),
    [
        (lambda body: body[:-1], "not_json"),
        (lambda body: body.replace(b'"tasks":[{"id":"', b'"tasks":[{"id":"x'), "other_task"),
    ],
)
def test_a_result_that_is_none_is_stored_and_fetched_again_then_given_up(
    tmp_path: Path, dataforseo: DataForSeo, forge: Forge, invalid: str
) -> None:
    place = Place(tmp_path, "dataforseo", dataforseo)
    (task_id,) = ready(dataforseo, 1)
    dataforseo.forge_body = altered("task_get", forge)
    sweep = sweep_of()
    for tries in range(1, 4):
        summary = place.sweep(sweep)
        assert ({"failed": 1}, ()) == (summary.outcomes, summary.alarms)
        lines = read_lines(place.archive)
        assert [invalid] * tries == [line["invalid"] for line in lines]
        assert {task_id} == {line["task_id"] for line in lines}
        assert [task_id] == place.unfinished()
    summary = place.sweep(sweep)
    assert {} == summary.outcomes
    (alarm,) = summary.alarms
    assert alarm.startswith(f"{task_id} was fetched 3 times")
    assert [] == place.unfinished()
    assert () == place.sweep(sweep).alarms


def test_a_result_that_comes_whole_at_last_is_held(tmp_path: Path, dataforseo: DataForSeo) -> None:
    place = Place(tmp_path, "dataforseo", dataforseo)
    ready(dataforseo, 1)
    dataforseo.forge_body = altered("task_get", lambda body: body[:-1])
    assert {"failed": 1} == place.sweep(sweep_of()).outcomes
    dataforseo.forge_body = None
    assert {"repaired": 1} == place.sweep(sweep_of()).outcomes
    assert {} == place.sweep(sweep_of()).outcomes
    assert ["not_json", None] == [line["invalid"] for line in read_lines(place.archive)]


@pytest.mark.parametrize(("forge", "invalid"), [*RESULTS, (lambda body: body[:-1], "not_json")])
def test_a_request_of_outscraper_is_stored_as_it_came(
    tmp_path: Path, outscraper: Outscraper, forge: Forge, invalid: str
) -> None:
    place = Place(tmp_path, "outscraper", outscraper)
    request_id = outscraper.submit("bars")
    outscraper.finish(request_id, "Success")
    outscraper.wait_idle()
    outscraper.clock.advance(HOUR)
    outscraper.forge_body = altered(f"/requests/{request_id}", forge)
    expected = "failed" if invalid == "not_json" else "repaired"
    assert {expected: 1} == place.sweep(OutscraperSweep(grace_seconds=600.0)).outcomes
    (line,) = read_lines(place.archive)
    assert (request_id, "Success", invalid) == tuple(
        line[name] for name in ("task_id", "status", "invalid")
    )

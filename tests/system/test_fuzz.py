"""Mutated requests: none is answered 5xx, none harms the server, and what is taken is kept.

`python -m tests.tools.fuzz` sends more of them.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tools.fuzz import odd_text, reference, streams
from tests.tools.fuzz.campaign import SETTINGS, Campaign
from tests.tools.support.http import connect, read_answer
from tests.tools.support.oracle import DirectoryArchive, read_lines
from tests.tools.support.server import TOKEN, Receiver

pytestmark = pytest.mark.system

_HEAD = f"POST /dataforseo/postback/{TOKEN}?id=1 HTTP/1.1\r\nHost: a\r\n".encode()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver for all of them: it must stand what came before."""
    with Receiver(tmp_path_factory.mktemp("fuzz"), SETTINGS) as it:
        it.start()
        yield it


def test_mutated_requests_do_no_harm(receiver: Receiver) -> None:
    campaign = Campaign(receiver, seed=1, requests=5000)
    report = campaign.run()
    assert [] == report.problems
    assert report.requests >= 5000
    # They are neither all well formed nor all nonsense, and most can be compared.
    assert {"200", "400", "401", "404", "405", "413", "431"} <= set(report.answers)
    assert report.answers["200"] > 1000
    assert report.compared > 1000

    # And what is amiss would have been seen.
    archive = DirectoryArchive(receiver.archive)
    (receiver.archive / archive.keys("callbacks/")[0]).unlink()
    campaign.check_archive()
    assert "is not in the archive" in report.problems[0]


def test_a_stream_can_be_sent_again_by_its_number() -> None:
    one, again = (streams.make(1, 42, TOKEN) for _ in range(2))
    assert one == again
    assert len({streams.make(seed, 42, TOKEN).content for seed in range(9)}) > 5


def test_the_reference_reads_requests_and_says_what_it_does_not() -> None:
    one = _HEAD + b"Content-Length: 2\r\n\r\n{}"
    chunked = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    read = reference.read(one + chunked)
    assert ([b"{}", b"{}"], "nothing") == ([each.body for each in read.requests], read.rest)
    assert "incomplete" == reference.read(one[:-1]).rest
    assert "incomplete" == reference.read(one[:30]).rest
    assert "refused" == reference.read(_HEAD + b"Content-Length: -1\r\n\r\n").rest


# What was found, and must not come back.


@pytest.mark.parametrize("target", [f"/dataforseo/postback/{TOKEN}", "a:443"])
def test_a_tunnel_is_refused(receiver: Receiver, target: str) -> None:
    [server] = receiver.server_pids()
    with connect(receiver.url) as connection:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert 400 == read_answer(connection).status
        assert b"" == connection.recv(1)
    assert [server] == receiver.server_pids()
    assert "Traceback" not in receiver.text()


def test_zeros_before_a_length_are_allowed(receiver: Receiver) -> None:
    with connect(receiver.url) as connection:
        connection.sendall(_HEAD + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\n{}")
        assert 200 == read_answer(connection).status


def test_nonsense_is_answered_after_the_requests_before_it(receiver: Receiver) -> None:
    refused = b"POST /diffbot/notification/wrong HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    for _ in range(20):
        with connect(receiver.url) as connection:
            connection.sendall(refused * 3 + b"nonsense\r\n\r\n")
            received = connection.makefile("rb").read()
            assert [b"401", b"401", b"401", b"400"] == re.findall(rb"HTTP/1.1 (\d+)", received)
    assert 200 == receiver.request("POST", receiver.path("diffbot", "notification"), b"{}").status
    assert "Traceback" not in receiver.text()


def test_data_that_is_no_utf_8_hides_no_id(receiver: Receiver) -> None:
    body = b'{"status_code":20000,"tasks":[{"id":"t-latin-1","data":{"tag":"Z\xfcrich"}}]}'
    path = receiver.path("dataforseo", "postback", "?id=$id&tag=$tag")
    assert 200 == receiver.request("POST", path, body).status
    receiver.wait_until_shipped()
    lines = read_lines(DirectoryArchive(receiver.archive))
    assert ["odd_text"] == [line["invalid"] for line in lines if line["task_id"] == "t-latin-1"]


# Other families.


def test_odd_text_is_kept_as_it_came(receiver: Receiver) -> None:
    assert [] == odd_text.problems(receiver, seed=1, requests=400)


def test_a_callback_that_was_kept_otherwise_would_be_seen(receiver: Receiver) -> None:
    odd = next(
        odd
        for odd in (odd_text.make(2, number, TOKEN) for number in range(99))
        if odd.task_id is not None and odd.content
    )
    answer = receiver.request(odd.method, odd.target, odd.wire, odd.headers)
    receiver.wait_until_shipped()
    changes: dict[str, dict[str, Any]] = {
        "another body is archived": {"content": odd.content + b" "},
        "archived with the target": {"target": f"{odd.target}&"},
        "task_id is": {"task_id": f"{odd.task_id}x"},
    }
    for what, change in changes.items():
        other = {answer.headers["x-delivery-id"]: dataclasses.replace(odd, **change)}
        (problem,) = odd_text.judge(receiver, other, 2)
        assert what in problem
    (problem,) = odd_text.judge(receiver, {"nobody": odd}, 2)
    assert "is not in the archive" in problem

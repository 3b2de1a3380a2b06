"""Diffbot: notifications of crawl and bulk jobs."""

from typing import ClassVar

import orjson
import pytest

from receiver.providers import PROVIDERS
from tests.providers.cases import AdapterCases
from tests.providers.samples import sample
from tests.tools.deliveries import envelope_of, head_of


class TestDiffbot(AdapterCases):
    provider = "diffbot"
    repeated: ClassVar[list[set[str]]] = [{"crawl_completed", "crawl_completed_as_listed_later"}]


JOB = orjson.loads(sample("diffbot", "crawl_completed").content or b"")
CHANGING = [
    "currentTime",
    "currentTimeUTC",
    "sentJobDoneNotification",
    "objectsFound",
    "pageCrawlAttempts",
    "roundStartTime",
]
TELLING = ["type", "name", "jobCreationTimeUTC", "roundsCompleted", "jobCompletionTimeUTC"]


def key_of(job: object) -> str | None:
    envelope = envelope_of(head=head_of(provider="diffbot", kind="notification"))
    return PROVIDERS["diffbot"].recognise(envelope, orjson.dumps(job), whole=True).key


@pytest.mark.parametrize("field", CHANGING)
def test_what_changes_from_call_to_call_is_not_in_the_key(field: str) -> None:
    assert field in JOB
    assert key_of(JOB) == key_of(JOB | {field: 987654})


@pytest.mark.parametrize("field", TELLING)
def test_what_tells_jobs_and_rounds_apart_is_in_the_key(field: str) -> None:
    other = "other" if isinstance(JOB[field], str) else JOB[field] + 1
    assert key_of(JOB) != key_of(JOB | {field: other})


def test_the_status_is_in_the_key() -> None:
    assert key_of(JOB) != key_of(JOB | {"jobStatus": {"status": 2, "message": "limit"}})


def test_an_empty_status_is_none() -> None:
    body = orjson.dumps(JOB | {"jobStatus": {"status": ""}})
    envelope = envelope_of(head=head_of(provider="diffbot", kind="notification"))
    assert PROVIDERS["diffbot"].recognise(envelope, body, whole=True).status is None


def test_names_cannot_imitate_the_rest_of_a_key() -> None:
    one = {"name": "a:1", "type": "crawl", "jobCreationTimeUTC": 2}
    other = {"name": "a", "type": "crawl", "jobCreationTimeUTC": 1, "roundsCompleted": 2}
    assert key_of(one) != key_of(other)


def test_fields_that_came_later_are_let_through() -> None:
    assert key_of(JOB) == key_of(JOB | {"restrictDomain": 1, "seedRecrawlFrequency": {"a": [1]}})


def test_the_header_names_a_job_whose_body_does_not() -> None:
    head = head_of(
        provider="diffbot", kind="notification", headers=[("x-crawl-name", "from the header")]
    )
    for body in (b"", b"not json", b'{"jobStatus":{"status":9}}', None):
        found = PROVIDERS["diffbot"].recognise(envelope_of(head=head), body, whole=True)
        assert "from the header" == found.task_id


def test_the_body_names_the_job_before_the_header_does() -> None:
    head = head_of(provider="diffbot", kind="notification", headers=[("x-crawl-name", "other")])
    found = PROVIDERS["diffbot"].recognise(envelope_of(head=head), orjson.dumps(JOB), whole=True)
    assert "acme-shop" == found.task_id

"""Outscraper: webhooks of requests and tasks."""

from typing import ClassVar

import orjson
import pytest

from receiver.providers import PROVIDERS, Recognised
from tests.providers.cases import AdapterCases
from tests.tools.deliveries import envelope_of, head_of


class TestOutscraper(AdapterCases):
    provider = "outscraper"
    repeated: ClassVar[list[set[str]]] = [{"request_success", "request_success_again"}]


def recognise(body: object) -> Recognised:
    envelope = envelope_of(head=head_of(provider="outscraper", kind="webhook"))
    return PROVIDERS["outscraper"].recognise(envelope, orjson.dumps(body), whole=True)


@pytest.mark.parametrize("status", ["SUCCESS", "Success", "FAILURE", "Failure", "ERROR", "new"])
def test_a_status_is_kept_as_it_is_spelt(status: str) -> None:
    found = recognise({"id": "r-1", "status": status})
    assert (status, "r-1", None) == (found.status, found.key, found.invalid)


def test_an_empty_status_is_none() -> None:
    assert recognise({"id": "r-1", "status": ""}).status is None


def test_an_id_that_is_a_number_is_text() -> None:
    assert "20261121132758" == recognise({"id": 20261121132758, "status": "SUCCESS"}).task_id


@pytest.mark.parametrize(
    "body", [{"status": "SUCCESS"}, {"id": "", "status": "SUCCESS"}, {"id": None, "status": "x"}]
)
def test_a_webhook_without_an_id_is_kept_and_says_so(body: object) -> None:
    found = recognise(body)
    assert ("missing_id", None, None) == (found.invalid, found.task_id, found.key)

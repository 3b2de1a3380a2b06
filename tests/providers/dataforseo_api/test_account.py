"""The status page and the account."""

from receiver.providers import dataforseo_api
from receiver.providers.conversation import Call
from tests.providers.conversations import Api, ask, hold, reply
from tests.providers.dataforseo_api.envelopes import envelope, task


def test_the_status_page_has_a_limit_of_its_own() -> None:
    rows = [{"api": "serp", "status": "ok", "endpoints": None}]
    api = Api(reply(envelope(task(rows))))
    assert rows == hold(dataforseo_api.status(), api)
    assert [Call(path="/v3/appendix/status", family="status")] == api.calls


def test_the_account_is_one_row() -> None:
    rows = [{"login": "me"}]
    assert {"login": "me"} == ask(dataforseo_api.user_data(), reply(envelope(task(rows))))
    assert {} == ask(dataforseo_api.user_data(), reply(envelope(task(None))))

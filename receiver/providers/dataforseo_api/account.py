"""The state of the service, and the account."""

from collections.abc import Mapping
from typing import Any

from receiver.providers.conversation import Call, Conversation
from receiver.providers.dataforseo_api.answer import read_rows
from receiver.providers.lenient_rows import Rows


def status() -> Conversation[Rows]:
    """Return the state of each API and endpoint (docs.dataforseo.com/v3/appendix/status)."""
    return read_rows((yield Call(path="/v3/appendix/status", family="status")))


def user_data() -> Conversation[Mapping[str, Any]]:
    """Return the account's data; the cheapest way to try credentials."""
    rows = read_rows((yield Call(path="/v3/appendix/user_data")))
    return rows[0] if rows else {}

"""URLs of calls, and ids in them.

A path can come from a provider's answer, from an object in the bucket or from a command line, and
the credentials go wherever it leads.  So every URL is built here, once, out of the configured base
URL and a path of plain names, which leads nowhere else.
"""

import re
from urllib.parse import unquote

from yarl import URL

from receiver.errors import ProviderError

# A part of a path between two slashes, decoded once: no dot segment, no separator, no escape.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.=-]{0,199}")
# The ids of each provider, as calls may name them: UUIDs, and digits with a hexadecimal tail.
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
# A job's name goes into a query, where everything is escaped.
_JOB_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")
_IDS = {
    "dataforseo": _PLAIN_ID,
    "dataforapps": _PLAIN_ID,
    "diffbot": _JOB_NAME,
    "outscraper": _PLAIN_ID,
}
_SHOWN_CHARACTERS = 200


def url_of(base_url: str, path: str) -> URL:
    """Return the URL of a path under a base URL.  Raises `ProviderError` if it leads elsewhere."""
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or not all(_NAME.fullmatch(unquote(part)) for part in parts[1:]):
        raise ProviderError(f"{path[:_SHOWN_CHARACTERS]!r} is not a path of the API; nothing sent")
    # Not decoded and not normalized, so that it is sent as it was checked.
    origin = base_url.rstrip("/")
    base, url = URL(origin, encoded=True), URL(origin + path, encoded=True)
    same_origin = (url.scheme, url.raw_authority) == (base.scheme, base.raw_authority)
    if not same_origin or url.raw_path != base.raw_path.rstrip("/") + path:
        raise ProviderError("the path leads away from the configured URL; nothing sent")
    return url


def check_id(provider: str, identifier: str) -> None:
    """Raise `ValueError` unless a call to this provider may name this id."""
    if not _IDS[provider].fullmatch(identifier):
        shown = identifier[:_SHOWN_CHARACTERS]
        raise ValueError(f"{shown!r} is not an id of {provider}")

"""A simulator of Outscraper's API (providers.md §3).

The marks in the comments are providers.md's: [D] documented, [C] claimed by users, [I] inferred,
[?] unknown.  What is unknown is a setting.
"""

from tests.tools.simulators.outscraper.settings import Settings
from tests.tools.simulators.outscraper.simulator import Outscraper
from tests.tools.simulators.outscraper.webhooks import WebhookCall

__all__ = ["Outscraper", "Settings", "WebhookCall"]

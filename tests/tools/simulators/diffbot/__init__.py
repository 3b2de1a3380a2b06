"""A simulator of Diffbot's crawl and bulk API (providers.md §2).

The marks in the comments are providers.md's: [D] documented, [S] seen in the source of the engine
(which may differ from production), [I] inferred, [?] unknown.
"""

from tests.tools.simulators.diffbot.notification import Notification
from tests.tools.simulators.diffbot.simulator import Diffbot, Settings

__all__ = ["Diffbot", "Notification", "Settings"]

"""A simulator of DataForSEO's API v3, and of DataForApps', its twin brand (providers.md §1).

The marks in the comments are providers.md's: [D] documented, [E] official example, [C] claimed by
users, [I] inferred, [?] unknown.  What is unknown is a setting.
"""

from tests.tools.simulators.dataforseo.catalogue import FUNCTIONS, READY_LISTS, Function
from tests.tools.simulators.dataforseo.delivery import Delivered
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.dataforseo.simulator import DataForSeo

__all__ = ["FUNCTIONS", "READY_LISTS", "DataForSeo", "Delivered", "Function", "Settings"]

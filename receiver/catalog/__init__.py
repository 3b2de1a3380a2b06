"""The catalog: a cache of the archive's index in SQLite.

The archive is the truth.  A catalog that is lost or damaged is built again from it; several
processes may use one at a time, and any of them may be killed at any moment.  Where its file
cannot be used a temporary one takes its place, which holds no more than what is asked for.

`sync` brings it up to date in steps.  A segment can arrive days after its partition (an outage, a
drained disk), so all days that matter are listed each time, several at once; but only index
objects that are new are read.
"""

from receiver.catalog.catalog import Catalog
from receiver.catalog.queries import Order
from receiver.catalog.syncing import Synced

__all__ = ["Catalog", "Order", "Synced"]

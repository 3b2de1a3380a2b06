"""The catalog: a cache of the archive's index in SQLite.

The archive is the truth, and a catalog may be deleted at any time.  Several processes may use one
at once, and any of them may be killed at any moment.  A database that is damaged or of another
version is replaced by an empty one, and filled again.  Where the file cannot be used at all, a
temporary one takes its place, which holds no more than what is asked for.

`Catalog.sync` brings it up to date in steps.  A segment can arrive days after its partition (an
outage, a drained disk), so all days that matter are listed each time, several at once; but only
index objects that are new are read.

`Catalog` is what others use, with `filters` and with `search`, which looks into the spool as well.
Behind it, `file` keeps the database, `tables` its tables, `syncing` fills it, and `queries` reads.
"""

from receiver.catalog.catalog import Catalog
from receiver.catalog.queries import Order
from receiver.catalog.syncing import Synced

__all__ = ["Catalog", "Order", "Synced"]

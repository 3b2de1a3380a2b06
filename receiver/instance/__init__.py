"""The composition root: `Receiver(settings)` builds everything that the settings describe.

Commands, the parent and the server processes are handed a `Receiver` and take their parts from it:
store, catalog, shipper, masker, tokens, callers, sweeps, targets.  Each part is built when it is
first asked for, and what is heavy to import (boto3, aiohttp) is imported then, so that a command
pays only for what it uses.  Only this package, `service` and `cli` read the settings.
"""

from receiver.instance.apis import APIS
from receiver.instance.receiver import Receiver
from receiver.instance.tokens import is_loopback, new_token

__all__ = ["APIS", "Receiver", "is_loopback", "new_token"]

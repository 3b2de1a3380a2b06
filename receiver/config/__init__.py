"""The settings: environment variables `RECEIVER_…`, read once, typed.

`settings` lists every variable with its type, default and description; `types` defines the values
that they take; `environment` finds what sets them; `loading` puts it together.
"""

from receiver.config.loading import dump, load, load_known, refuse_unknown, restore
from receiver.config.settings import SECRETS, Settings, variable

__all__ = [
    "SECRETS",
    "Settings",
    "dump",
    "load",
    "load_known",
    "refuse_unknown",
    "restore",
    "variable",
]

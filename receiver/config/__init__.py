"""The settings: environment variables `RECEIVER_…`, read once, typed.

`settings` lists every variable with its type, default and description; `environment` finds what
sets them; `types` holds the kinds of values that they take.
"""

from receiver.config.settings import (
    SECRETS,
    Settings,
    dump,
    load,
    load_known,
    refuse_unknown,
    restore,
    variable,
)

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

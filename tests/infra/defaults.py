"""The receiver's defaults, which `infra/` has to be in step with."""

from receiver.config import Settings
from receiver.service import parent

DEFAULTS = Settings.model_validate({})
# From SIGTERM to the end, at the longest.
STOP_SECONDS = DEFAULTS.drain_seconds + parent._OUTGOING_END_SECONDS + DEFAULTS.shutdown_seconds

"""Running a process of this receiver to its end."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from receiver.errors import ReceiverError

_log = logging.getLogger(__name__)


def run(
    main: Coroutine[Any, Any, int],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> NoReturn:
    """Run to the end and exit with the status that ``main`` returns.

    A thread that still waits for a store does not hold up the end: what it ships stays in the
    spool until it is confirmed.  An unexpected exception is logged and ends the process with 1;
    a `ReceiverError` is raised, for the command to print.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            status = runner.run(main)
        except ReceiverError:
            raise
        except Exception as exc:  # noqa: BLE001 # logged, and the process ends
            _log.critical("unexpected error, stopping", exc_info=exc)
            status = 1
        sys.stdout.flush()
        logging.shutdown()
        os._exit(status)

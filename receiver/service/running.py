"""Running a process of this receiver to its end."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn


def run(main: Coroutine[Any, Any, int]) -> NoReturn:
    """Run to the end and exit with the status that ``main`` returns.

    A thread that still waits for a store does not hold up the end: what it ships stays in the
    spool until it is confirmed.
    """
    with asyncio.Runner() as runner:
        status = runner.run(main)
        sys.stdout.flush()
        logging.shutdown()
        os._exit(status)

"""Measuring the spool for `/metrics` and `/status`."""

import asyncio
import time
from typing import Any

from receiver import metrics, spool
from receiver.instance import Receiver
from receiver.service.lag import Lag

# At most a tenth of the time is spent on measuring.
_REST = 10


class Measuring:
    """Measures the spool as often as the time that it takes allows."""

    def __init__(self, receiver: Receiver) -> None:
        self._root = receiver.spool_root
        self._bytes_max = int(receiver.settings.spool_bytes_max)
        self._reserve_bytes = int(receiver.settings.disk_reserve_bytes)
        self._lag = Lag()
        self._again_at = 0.0
        # Part of `/status`; empty before the first measurement.
        self.status: dict[str, Any] = {}

    async def run(self) -> None:
        """Measure once, unless the last measurement took long and ended a short time ago."""
        began = time.monotonic()
        if began < self._again_at:
            return
        await asyncio.to_thread(self._measure)
        # After a long outage there are many files, and counting them must not use up the CPU.
        took = time.monotonic() - began
        self._again_at = began + took * _REST

    def _measure(self) -> None:
        found = list(spool.files(self._root))
        room = spool.measure_room(
            self._root, bytes_max=self._bytes_max, reserve_bytes=self._reserve_bytes
        )
        states = {"open": 0, "seg": 0, "torn": 0}
        for file in found:
            states[file.path.suffix[1:]] += 1
        for state, count in states.items():
            metrics.spool_segments.labels(state).set(count)
        left_bytes = max(0, room.left)
        metrics.spool_bytes.set(room.used)
        metrics.spool_left_bytes.set(left_bytes)
        metrics.disk_left_bytes.set(room.disk_left)
        lag = self._lag.measure(found)
        metrics.lag_seconds.set(lag)
        self.status = {
            "lag_seconds": round(lag, 3),
            "spool": {"bytes": room.used, "left_bytes": left_bytes, "segments": states},
        }

"""The door: takes callbacks and answers 2xx once each is on stable storage.

Nothing else happens while a provider waits.  Only the head of a request is judged, and the
signature where the provider signs; the body is opaque bytes.

    judge     decides on a request and builds the answer; does no I/O
    answers   statuses, headers and bodies
    guard     tokens, signatures and source addresses
    intake    bodies in flight: their bytes and their time
    log       the log that callbacks are appended to, as the door sees it
    app       the Starlette application
    health    /healthz, /readyz, /version and 404
    protocol  uvicorn's HTTP protocol with the limits it lacks
    cycle     one write per answer, also for uvicorn
"""

from receiver.door.app import create_app, running
from receiver.door.guard import Guard
from receiver.door.intake import Intake
from receiver.door.judge import Answered, Judge
from receiver.door.log import DeferredLog, Log

__all__ = ["Answered", "DeferredLog", "Guard", "Intake", "Judge", "Log", "create_app", "running"]

"""Replay: send archived callbacks again, to a target; forwarding does so as they arrive.

entries of the index -> reading -> request -> sending -> target
                                                 |
                          job (replay) or position (forward): what was confirmed
"""

from receiver.replay.forward import Forwarder
from receiver.replay.job import Job
from receiver.replay.request import Form
from receiver.replay.run import ReplayProgress, ReplaySummary, replay
from receiver.replay.selection import Selection
from receiver.replay.sending import Sender

__all__ = [
    "Form",
    "Forwarder",
    "Job",
    "ReplayProgress",
    "ReplaySummary",
    "Selection",
    "Sender",
    "replay",
]

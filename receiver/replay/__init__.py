"""Replay: sends archived callbacks to a target again; forwarding sends them as they are archived.

    index entries -> reading -> request -> sending -> target
                                              |
                        job (replay) or position (forward): what was confirmed

`selection` says what a replay sends, `backlog` what a forwarder has yet to send, and `lanes` keeps
the callbacks of one task in order.
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

"""A running instance: the parent, its server processes, and the passes that are repeated.

    parent            watches, ships, measures, sweeps, forwards, serves /metrics and /status
      server process  takes callbacks and does nothing else; each has a spool directory of its own
      server process  …

All server processes share one listening socket.  Each has a channel to the parent: it sends its
metrics there, is told when to drain, and notices when the parent is gone.
"""

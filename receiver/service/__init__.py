"""The composition root: settings become parts, and parts a running instance.

    parent            watches, ships, measures, serves /metrics and /status
      server process  takes callbacks, and does nothing else; one spool directory each
      server process  …

All server processes share one listening socket.  Each has a channel to the parent: it reports its
metrics there, is told to drain there, and learns there that the parent is gone.
"""

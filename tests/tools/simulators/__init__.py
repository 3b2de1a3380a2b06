"""Simulators of the providers' APIs: real HTTP servers on loopback, faithful to providers.md.

One class per provider, each a context manager with `url`, `ledger` (what was asked, and how often
a minute), `fail` and `recover` (faults), a `clock` that tests move, and methods to arrange and
inspect its state.  By hand: ``python -m tests.tools.simulators dataforseo --port 9009``.

Nothing here imports `receiver`: the simulators are a second opinion of the providers, not ours
twice.
"""

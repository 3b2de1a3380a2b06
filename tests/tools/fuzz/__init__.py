"""Mutated requests over raw sockets against a real server: `python -m tests.tools.fuzz --help`."""

"""Sweeps in this process, against the simulated providers."""

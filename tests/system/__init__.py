"""The system suite: the real command as a process of its own, over real sockets.

Nothing here imports the package under test.
"""

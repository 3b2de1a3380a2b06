"""Takes the callbacks of data providers, makes each durable, answers, and archives them."""

from importlib.metadata import version

__version__ = version("receiver")

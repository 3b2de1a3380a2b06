"""The providers: an adapter for each, the conversations with their APIs, and the envelope.

`PROVIDERS` has every adapter by name, built-in or installed; README.md says how to add one.
Nothing here does I/O, except that the registry loads entry points when it is first used.
"""

from collections.abc import Mapping

from receiver.providers.base import Entrance, Provider, Recognised
from receiver.providers.dataforseo import DataForSeo
from receiver.providers.diffbot import Diffbot
from receiver.providers.outscraper import Outscraper
from receiver.providers.registry import Registry

PROVIDERS: Mapping[str, Provider] = Registry(
    (DataForSeo("dataforseo"), DataForSeo("dataforapps"), Diffbot(), Outscraper())
)

__all__ = ["PROVIDERS", "Entrance", "Provider", "Recognised"]

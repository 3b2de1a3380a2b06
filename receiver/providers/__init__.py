"""The adapters, one for each provider, by name."""

from collections.abc import Mapping

from receiver.providers.base import Entrance, Provider, Recognised
from receiver.providers.dataforseo import DataForSeo
from receiver.providers.diffbot import Diffbot
from receiver.providers.outscraper import Outscraper

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (DataForSeo("dataforseo"), DataForSeo("dataforapps"), Diffbot(), Outscraper())
}

__all__ = ["PROVIDERS", "Entrance", "Provider", "Recognised"]

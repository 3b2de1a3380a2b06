"""Samples: requests as providers send them, and what they say.

    tests/samples/<provider>/<scenario>/
      request.json      method, target, headers, as they come over the wire
      body              the bytes of the body, gzip where the provider compresses
      expected.json     its kind, and what the adapter returns

Names and types are the providers', values are invented.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from receiver.archive.body import Body, decode
from receiver.providers import PROVIDERS, Provider, Recognised
from receiver.providers.envelope import Envelope, encode_head
from receiver.providers.envelope import decode as decode_head
from tests.providers import acme

ROOT = Path(__file__).parent.parent / "samples"
ADAPTERS: Mapping[str, Provider] = {**PROVIDERS, "acme": acme.adapter()}
# The secrets in the samples.
TOKEN = "sample-token-0123456789"
OUTSCRAPER_KEY = "sample-api-key"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of one provider."""

    provider: str
    scenario: str
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    wire: bytes
    expected: Mapping[str, str | None]

    def __str__(self) -> str:
        return f"{self.provider}/{self.scenario}"

    @property
    def kind(self) -> str:
        """The kind of callback."""
        kind = self.expected["kind"]
        assert kind is not None
        return kind

    @property
    def envelope(self) -> Envelope:
        """The envelope that the door makes of it."""
        ours = ("id", 1, self.provider, self.kind, "callback", None, "tests")
        target = self.target.encode("latin-1")
        head = encode_head(ours, self.method, target, self.headers, secret=TOKEN.encode())
        return decode_head(head, self.wire)

    @property
    def body(self) -> Body:
        """The body as the shipper decodes it."""
        return decode(self.wire, inflated_bytes_max=1 << 30)

    @property
    def content(self) -> bytes | None:
        """The body as the shipper hands it to the adapter."""
        body = self.body
        return None if body.invalid else body.content

    def recognise(self) -> Recognised:
        """Return what the adapter says of it."""
        provider = ADAPTERS[self.provider]
        return provider.recognise(self.envelope, self.content, whole=self.body.whole)


def samples(provider: str) -> list[Sample]:
    """Return all samples of a provider."""
    return [_load(folder) for folder in sorted((ROOT / provider).iterdir())]


def sample(provider: str, scenario: str) -> Sample:
    """Return one sample."""
    return _load(ROOT / provider / scenario)


def _load(folder: Path) -> Sample:
    request = orjson.loads((folder / "request.json").read_bytes())
    return Sample(
        provider=folder.parent.name,
        scenario=folder.name,
        method=request["method"],
        target=request["target"],
        headers=[(name.encode(), value.encode()) for name, value in request["headers"]],
        wire=(folder / "body").read_bytes(),
        expected=orjson.loads((folder / "expected.json").read_bytes()),
    )

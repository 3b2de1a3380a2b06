"""With `RECEIVER_ACK=archive`: sealed segments are shipped at once, and their server told."""

from pathlib import Path

import pytest

from receiver.archive import COMPRESSIONS
from receiver.errors import StoreError
from receiver.providers import PROVIDERS
from receiver.service.early import EarlyShipping
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.spool.test_group_commit import until
from tests.tools.deliveries import head_of, segment_file

pytestmark = pytest.mark.anyio

RECORD = [(head_of(), b"body")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """Notes what was confirmed."""

    def __init__(self) -> None:
        self.confirmed: list[str] = []

    def confirm(self, segment: str) -> None:
        self.confirmed.append(segment)


class Unwilling(DirectoryStore):
    """Refuses so many puts."""

    refusals = 0

    def put(self, key: str, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("not now")
        super().put(key, content)


class Place:
    """A spool, its archive, and both ways to ship."""

    def __init__(self, root: Path) -> None:
        self.spool = root / "spool"
        self.store = Unwilling(root / "archive")
        self.shipper = Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS["gzip"],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        )
        self.early = EarlyShipping(self.shipper, self.spool, threads=2, seconds_max=30.0)
        self.server = Server()

    def ship(self) -> None:
        self.shipper.ship(self.spool, shipped=lambda name, done: self.early.shipped(name))


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_sealed_segment_is_shipped_and_its_server_told(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    await until(lambda: place.server.confirmed == [path.stem])
    assert not path.exists()


async def test_a_store_that_fails_for_a_moment_is_tried_again(place: Place) -> None:
    place.store.refusals = 2
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    await until(lambda: place.server.confirmed == [path.stem])


async def test_what_a_pass_ships_first_is_confirmed_too(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    # The file has its name before anybody says so.
    place.ship()
    await until(lambda: path.stem in place.early._shipped)
    place.early.sealed(place.server, path.stem)
    assert [path.stem] == place.server.confirmed
    assert not place.early._shipped


async def test_what_a_pass_ships_meanwhile_is_confirmed_once(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, path.stem)
    place.ship()
    await until(lambda: bool(place.server.confirmed))
    second = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, second.stem)
    await until(lambda: second.stem in place.server.confirmed)
    assert [path.stem, second.stem] == place.server.confirmed


async def test_a_segment_that_is_in_nobodys_spool_is_not_taken_for_archived(place: Place) -> None:
    path = segment_file(place.spool, RECORD)
    path.unlink()
    place.early.sealed(place.server, path.stem)
    other = segment_file(place.spool, RECORD)
    place.early.sealed(place.server, other.stem)
    await until(lambda: other.stem in place.server.confirmed)
    assert [other.stem] == place.server.confirmed

"""Where the archive of a test lies: in a directory, in a bucket, or in a bucket that breaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.support.oracle import Archive, BucketArchive, DirectoryArchive
from tests.tools.support.relay import Relay
from tests.tools.support.s3 import Bucket, S3Server, environ

PREFIX = "some/prefix"
# For who waits until requests fail that get no answer: on a busy machine, others fail too.
IMPATIENT = {"RECEIVER_S3_TIMEOUT_SECONDS": "1"}


@dataclass(frozen=True, slots=True)
class Place:
    """An archive: the settings that lead a receiver to it, and a reader of it."""

    settings: Mapping[str, str]
    archive: Archive


def place_in_bucket(bucket: Bucket, endpoint: str) -> Place:
    """Return the place of an archive in a bucket, reached through an endpoint."""
    archive = BucketArchive(bucket, PREFIX)
    settings = {
        "RECEIVER_ARCHIVE": archive.url,
        "RECEIVER_S3_TIMEOUT_SECONDS": "20",
        **environ(endpoint),
    }
    return Place(settings, archive)


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> Place:
    """An archive in a directory, then one in a bucket."""
    if request.param == "s3":
        return place_in_bucket(s3.new_bucket(), s3.url)
    return Place({}, DirectoryArchive(tmp_path / "archive"))


@pytest.fixture
def far(bucket: Bucket, relay: Relay) -> Place:
    """An archive in a bucket, reached through the relay."""
    return place_in_bucket(bucket, relay.url)

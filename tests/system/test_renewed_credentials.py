"""Credentials that expire and are renewed outside: shipping goes on without a restart."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.system.conftest import Place, place_in_bucket
from tests.system.test_ship_watch import Spools, spools, watch
from tests.tools.support.oracle import Ledger, verify
from tests.tools.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system

__all__ = ["spools"]

Renew = Callable[[str], None]


@pytest.fixture
def expiring(s3: S3Server) -> Iterator[S3Server]:
    """An S3 endpoint that takes one session token at a time."""
    s3.accept("first-session-token")
    yield s3
    s3.accept("")


def in_file(root: Path) -> tuple[dict[str, str], Renew]:
    """Return the settings that lead to a shared credentials file, and what renews it."""
    path = root / "credentials"

    def renew(token: str) -> None:
        path.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\n"
            f"aws_secret_access_key = {SECRET_ACCESS_KEY}\naws_session_token = {token}\n"
        )

    return {"AWS_SHARED_CREDENTIALS_FILE": str(path)}, renew


def of_program(root: Path) -> tuple[dict[str, str], Renew]:
    """Return the settings that lead to a `credential_process`, and what renews its answer."""
    answer, config = root / "answer.json", root / "config"
    program = root / "program.py"
    program.write_text(f"print(open({str(answer)!r}).read())\n")
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")

    def renew(token: str) -> None:
        content = {
            "Version": 1,
            "AccessKeyId": ACCESS_KEY_ID,
            "SecretAccessKey": SECRET_ACCESS_KEY,
            "SessionToken": token,
        }
        answer.write_bytes(orjson.dumps(content))

    return {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": os.devnull}, renew


def refused(it: Receiver) -> bool:
    lines = it.life.logged("pass failed")
    return any("ExpiredToken; the session token has expired" in line["error"] for line in lines)


def place_of(expiring: S3Server, source: dict[str, str]) -> Place:
    """Return an archive behind the endpoint, whose credentials come from a source."""
    place = place_in_bucket(expiring.new_bucket(), expiring.url)
    settings = {**place.settings, **source}
    del settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"]
    return Place(settings, place.archive)


@pytest.mark.parametrize("source", [in_file, of_program])
def test_serve_goes_on_with_renewed_credentials(
    tmp_path: Path, expiring: S3Server, source: Callable[[Path], tuple[dict[str, str], Renew]]
) -> None:
    where = tmp_path / "aws"
    where.mkdir()
    found, renew = source(where)
    renew("first-session-token")
    place = place_of(expiring, found)
    ledger, samples = Ledger(), Samples(seed=41)
    with Receiver(tmp_path / "receiver", place.settings) as it:
        it.start()
        ledger.deliver(it.request, samples.postback(), token=it.token)
        it.wait_until_shipped()
        expiring.accept("second-session-token")
        ledger.deliver(it.request, samples.postback(), token=it.token)
        wait_for(lambda: refused(it), "the old token is refused")
        assert it.spooled()
        renew("second-session-token")
        it.wait_until_shipped()
        assert 0 == it.terminate()
    assert 1 == len(it.lives)
    verify(place.archive, ledger)


def test_ship_watch_goes_on_with_renewed_credentials(
    tmp_path: Path, expiring: S3Server, spools: Spools
) -> None:
    where = tmp_path / "aws"
    where.mkdir()
    found, renew = in_file(where)
    renew("an-old-session-token")
    place = place_of(expiring, found)
    with Receiver(tmp_path / "receiver", place.settings) as it:
        for number in range(2):
            spools.add(number, it)
        life = watch(it)
        wait_for(lambda: refused(it), "the old token is refused")
        renew("first-session-token")
        it.wait_until_shipped()
        life.signal(signal.SIGTERM)
        assert 0 == life.wait()
    verify(place.archive, spools.ledger)

"""A bucket without conditional writes: with `RECEIVER_LEASES=off` one instance sweeps, forwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Place, place_in_bucket
from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.support.oracle import Ledger, read_lines
from tests.tools.support.s3 import S3Server
from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver
from tests.tools.support.target import TargetServer
from tests.tools.support.wait import wait_for

pytestmark = pytest.mark.system


@pytest.fixture
def place(s3: S3Server) -> Iterator[Place]:
    s3.allow_conditions(False)
    yield place_in_bucket(s3.new_bucket(), s3.url)
    s3.allow_conditions(True)


def test_a_sweep_names_the_setting_and_works_with_it(tmp_path: Path, place: Place) -> None:
    with DataForSeo() as dataforseo:
        settings = {
            **place.settings,
            "RECEIVER_DATAFORSEO_URL": dataforseo.url,
            "RECEIVER_DATAFORSEO_LOGIN": dataforseo.settings.login,
            "RECEIVER_DATAFORSEO_PASSWORD": dataforseo.settings.password,
            "RECEIVER_DATAFORSEO_FAMILIES": "serp",
            "RECEIVER_SWEEP_GRACE_SECONDS": "0",
        }
        ids = dataforseo.add_ready("serp/google/organic", 2)
        with Receiver(tmp_path, settings) as it:
            refused = it.command("sweep")
            assert 3 == refused.returncode, refused
            assert "RECEIVER_LEASES=off" in refused.stderr
            assert set(ids) == set(dataforseo.uncollected())
            for _ in range(2):
                swept = it.command("sweep", RECEIVER_LEASES="off")
                assert 0 == swept.returncode, swept
        assert set(ids) == {line["task_id"] for line in read_lines(place.archive)}


def test_checks_name_the_setting_and_take_it(tmp_path: Path, place: Place) -> None:
    with Receiver(tmp_path, place.settings) as it:
        without, having = it.command("check"), it.command("check", RECEIVER_LEASES="off")
    assert 1 == without.returncode, without
    assert "RECEIVER_LEASES=off" in without.stdout
    assert 0 == having.returncode, having
    assert "not needed: with RECEIVER_LEASES=off" in having.stdout


def test_serve_forwards_with_the_setting_and_goes_on_after_a_restart(
    tmp_path: Path, place: Place
) -> None:
    ledger, samples = Ledger(), Samples(seed=18)
    with TargetServer() as target:
        settings = {
            **place.settings,
            "RECEIVER_LEASES": "off",
            "RECEIVER_FORWARD_URL": f"{target.url}/hook",
        }
        with Receiver(tmp_path, settings) as it:
            for _ in range(2):
                it.start()
                ledger.deliver(it.request, samples.postback(), token=it.token)
                wait_for(
                    lambda: set(ledger.acknowledged) <= set(target.confirmed()),
                    "what came is forwarded",
                )
                assert 0 == it.terminate()
            assert [] == it.life.logged("lease not renewed")
    assert 2 == len(target.received)

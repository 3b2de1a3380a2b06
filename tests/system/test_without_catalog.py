"""Where no catalog can be kept, every command still says the same, and how to fix it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.tools.support.samples import Samples
from tests.tools.support.server import Receiver

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that has archived some callbacks, and runs no more."""
    with Receiver(tmp_path_factory.mktemp("kept")) as receiver:
        receiver.start()
        for sample in [*Samples(seed=7).of_each(), *Samples(seed=8).of_each()]:
            target = receiver.path(sample.provider, sample.kind, sample.rest)
            assert (
                200 == receiver.request(sample.method, target, sample.wire, sample.headers).status
            )
        receiver.terminate()
        yield receiver


def delivery_ids(ran: "subprocess.CompletedProcess[str]") -> list[str]:
    return [orjson.loads(line)["delivery_id"] for line in ran.stdout.split("\n")[:-1]]


@pytest.fixture
def unusable(tmp_path: Path) -> str:
    """The place of a catalog below what is no directory."""
    (tmp_path / "file").write_text("in the way")
    return str(tmp_path / "file" / "catalog")


COMMANDS = [
    "find --output json",
    "find --output json --provider outscraper --since 2h",
    "export --since 1d",
    "export --latest --until 2000-01-01",
    "replay --to http://127.0.0.1:9/ --dry-run --output json",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_says_the_same_and_how_to_mend_it(
    it: Receiver, unusable: str, words: str
) -> None:
    expected = it.command(*words.split())
    ran = it.command(*words.split(), RECEIVER_CATALOG=unusable)
    assert (expected.returncode, expected.stdout) == (ran.returncode, ran.stdout)
    said = expected.stderr.splitlines()
    [warning] = [line for line in ran.stderr.splitlines() if line not in said]
    assert "set RECEIVER_CATALOG to a directory that can be written" in warning


def test_one_callback_is_shown(it: Receiver, unusable: str) -> None:
    for delivery in delivery_ids(it.command("find", "--output", "json", "--limit", "2")):
        ran = it.command("show", delivery, "--output", "json", RECEIVER_CATALOG=unusable)
        assert [delivery] == delivery_ids(ran)

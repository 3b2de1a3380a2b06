"""The listening sockets: what cannot be listened on is told with the settings to change."""

from pathlib import Path

import pytest

from tests.tools.support.server import Receiver

pytestmark = pytest.mark.integration

# Of the networks that are for documentation: no machine has it.
ELSEWHERE = "192.0.2.1"


@pytest.mark.parametrize("door", ["RECEIVER", "RECEIVER_ADMIN"])
def test_an_address_that_is_not_ours_is_told_with_its_settings(tmp_path: Path, door: str) -> None:
    with Receiver(tmp_path, {f"{door}_HOST": ELSEWHERE, f"{door}_PORT": "7"}) as it:
        ran = it.command("serve")
    hint = f"name another address or port ({door}_HOST, {door}_PORT)"
    why = f"cannot listen on {ELSEWHERE}:7: Cannot assign requested address"
    assert (3, "", f"receiver: {why}; {hint}\n") == (ran.returncode, ran.stdout, ran.stderr)

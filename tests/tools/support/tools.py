"""Programs and rights beyond Python that tests need.

`make system-tools` installs Debian's programs, `make infra-tools` the linters of `infra/`.  A test
that lacks one is skipped, and the summary of the run says why; in CI it fails instead, so that
nothing goes unchecked.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[3]
# Debian puts servers where only root's shell looks.
_SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_INFRA_PATH = str(ROOT / ".venv-infra" / "bin")


def needs(program: str) -> str:
    """Return the path of a program that `make system-tools` installs."""
    return _found(program, _SYSTEM_PATH, "system-tools")


def needs_infra(program: str) -> str:
    """Return the path of a program that `make infra-tools` installs."""
    return _found(program, _INFRA_PATH, "infra-tools")


def cannot(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _found(program: str, path: str, target: str) -> str:
    found = shutil.which(program, path=path)
    return found or cannot(f"{program} is not installed; `make {target}` installs it")

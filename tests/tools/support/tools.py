"""Programs beyond Python that tests use, and what is said where one is missing.

`make system-tools` installs Debian's, `make infra-tools` the linters of `infra/`.  A test whose
program is missing is skipped and says why; in CI it fails instead, so that nothing goes unchecked.
"""

import os
import shutil
from pathlib import Path

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


def _found(program: str, path: str, target: str) -> str:
    found = shutil.which(program, path=path)
    if found is not None:
        return found
    missing = f"{program} is not installed; `make {target}` does it"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)

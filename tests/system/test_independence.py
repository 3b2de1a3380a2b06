"""The system suite knows the receiver from outside only."""

import ast
from pathlib import Path

import pytest

import tests.system
import tests.tools.support

pytestmark = pytest.mark.system


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            names.add(node.module)
    return names


def test_nothing_is_imported_from_the_package_under_test() -> None:
    folders = [
        Path(path) for package in (tests.tools.support, tests.system) for path in package.__path__
    ]
    files = [path for folder in folders for path in folder.glob("*.py")]
    assert len(files) > 15
    imported = {path.name: _imported(path) for path in files}
    assert [] == [
        name
        for name, modules in imported.items()
        if any(module.partition(".")[0] == "receiver" for module in modules)
    ]

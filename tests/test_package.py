"""The package as pip, pipx and uv install it: its files, its command, its dependencies."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.tools.support.tools import cannot

_ROOT = Path(__file__).parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_RUNTIME: list[str] = _PROJECT["project"]["dependencies"]
_DEVELOPMENT: list[str] = _PROJECT["project"]["optional-dependencies"]["dev"]
# Python 3.14 has it; older versions have its backport.
_STANDARD = sys.stdlib_module_names | {"compression"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves its `build/` beside the source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, source)
    for name in ("receiver", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "samples")
        shutil.copytree(_ROOT / name, source / name, ignore=ignored)
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", target, source)
    [wheel] = target.iterdir()
    return wheel


@pytest.mark.system
def test_the_wheel_holds_every_module_and_nothing_of_the_tests(wheel: Path) -> None:
    files = (path.relative_to(_ROOT) for path in (_ROOT / "receiver").rglob("*") if path.is_file())
    expected = {str(path) for path in files if path.suffix not in {".md", ".pyc"}}
    assert {"receiver/py.typed", "receiver/cli/__init__.py"} <= expected
    names = zipfile.ZipFile(wheel).namelist()
    assert expected == {name for name in names if ".dist-info/" not in name}


@pytest.mark.system
def test_the_command_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    programs = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    _run(*pip, "install", "--no-deps", wheel)
    where = "import receiver; print(receiver.__file__)"
    [package] = (tmp_path / "venv").glob("lib/python*/site-packages/receiver")
    assert f"{package}/__init__.py\n" == _run(programs / "python", "-c", where)
    # Its dependencies are this environment's; the test of infra/Dockerfile installs them.
    path = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    version = _PROJECT["project"]["version"]
    assert f"receiver {version}\n" == _run(programs / "receiver", "--version", PYTHONPATH=path)


_IMPORT_ALL = """
import importlib, pkgutil, receiver
for module in pkgutil.walk_packages(receiver.__path__, "receiver."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(receiver.__file__)
"""


@pytest.mark.system
def test_what_make_run_sets_up_is_small_and_sufficient() -> None:
    environment = _ROOT / ".venv"
    if not (environment / ".installed").exists():
        cannot("there is no .venv; `make install` makes it")
    assert f"{_ROOT / 'receiver'}/__init__.py\n" == _run(
        environment / "bin" / "python", "-c", _IMPORT_ALL
    )
    files = [path.lstat() for path in environment.rglob("*") if path.is_file()]
    assert sum(file.st_blocks for file in files) * 512 < 160 << 20


def test_the_receiver_declares_what_it_imports_and_nothing_else() -> None:
    assert set(map(_normal, _RUNTIME)) == _imported("receiver", typing=False)


def test_tests_and_types_import_only_what_is_declared() -> None:
    imported = _imported("tests", typing=True) | _imported("receiver", typing=True)
    declared = set(map(_normal, _RUNTIME + _DEVELOPMENT)) | {"receiver"}
    assert set() == imported - declared


def test_the_build_backend_is_pinned() -> None:
    [requirement] = _PROJECT["build-system"]["requires"]
    assert re.fullmatch(r"setuptools==\d+(\.\d+)+", requirement)


def _normal(requirement: str) -> str:
    """Return the name in a requirement as PyPI compares it (PEP 503)."""
    [name] = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", str(name)).lower()


def _imported(package: str, *, typing: bool) -> set[str]:
    """Return the distributions that a package imports, those only for type checkers on request."""
    found = packages_distributions()
    distributions = set()
    for path in (_ROOT / package).rglob("*.py"):
        for name in _names(ast.parse(path.read_bytes()), typing):
            top, _, rest = name.partition(".")
            if top == "backports":  # a namespace of many distributions
                distributions.add(_normal(f"{top}.{rest.partition('.')[0]}"))
            elif top not in _STANDARD and top != package:
                distributions.add(_normal(found.get(top, [top])[0]))
    return distributions


def _names(tree: ast.AST, typing: bool) -> Iterator[str]:
    """Yield the dotted name of everything that is imported."""
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    children = ast.iter_child_nodes(tree)
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING" and not typing:
        children = iter(tree.orelse)
    for child in children:
        yield from _names(child, typing)


def _run(*command: str | Path, **environ: str) -> str:
    # Not here, where `import receiver` would find the source.
    done = subprocess.run(
        list(map(str, command)), cwd="/", env=os.environ | environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

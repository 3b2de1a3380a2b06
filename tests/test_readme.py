"""The README is held to the code: settings, files, promises and answers."""

import re
from pathlib import Path

from pydantic import ByteSize

from receiver.config import Settings, variable

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text()


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if name == "instance":
        return "the host's name"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable().replace('.0', '')}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_the_table_of_settings_is_the_settings() -> None:
    expected = [
        f"| `{variable(name)}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    actual = re.findall(
        r"^\| `(?:RECEIVER_[A-Z0-9_]+|FORWARDED_ALLOW_IPS)` \|.*$", _README, re.MULTILINE
    )
    assert expected == actual


def test_the_map_of_the_code_names_every_room() -> None:
    package = _ROOT / "receiver"
    expected = {f"receiver/{path.name}" for path in package.glob("[!_]*.py")}
    expected |= {f"receiver/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    text = (package / "README.md").read_text()
    actual = set(re.findall(r"^\| `(receiver/[a-z0-9_]+(?:\.py|/))` \|", text, re.MULTILINE))
    assert expected == actual


def test_every_test_that_holds_a_promise_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", _README))
    assert named, "the README names no tests"
    assert [] == [name for name in sorted(named) if not (_ROOT / name).exists()]


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    makefile = (_ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", _README)) | set(
        re.findall(r"^make ([a-z-]+)$", _README, re.MULTILINE)
    )
    assert named
    assert set() == named - targets

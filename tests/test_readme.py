"""The pages are held to the code: what they name exists, what they list is complete."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import ByteSize

from receiver.cli import cli
from receiver.config import SECRETS, Settings, variable
from receiver.errors import ReceiverError
from tests.tools.support.oracle import COLUMNS

_ROOT = Path(__file__).parent.parent
_PAGES = (
    "README.md",
    "receiver/README.md",
    "receiver/cli/README.md",
    "receiver/providers/README.md",
    "infra/README.md",
    "infra/settings.md",
    "infra/runbook.md",
    "tests/README.md",
    "tests/tools/bench/README.md",
)
_ROW = r"^\| `(?:RECEIVER_[A-Z0-9_]+|FORWARDED_ALLOW_IPS)` \|.*$"

each_page = pytest.mark.parametrize("page", _PAGES)


def read(page: str) -> str:
    return (_ROOT / page).read_text()


def section(page: str, title: str) -> str:
    """Return the text below a heading of the second level."""
    text = read(page).partition(f"\n## {title}\n")[2]
    assert text, f"{page} has no section {title!r}"
    return re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_list_of_pages_is_complete() -> None:
    found = {
        str(path.relative_to(_ROOT))
        for folder in ("receiver", "infra", "tests")
        for path in (_ROOT / folder).rglob("*.md")
    }
    assert set(_PAGES) == found | {"README.md"}


# The README.


def test_the_readme_can_be_read_in_a_few_minutes() -> None:
    lines = read("README.md").splitlines()
    assert len(lines) <= 200
    assert [] == [line for line in lines if len(line) > 100]


def test_the_readme_lists_the_columns_of_a_line() -> None:
    (listed,) = re.findall(r"`(delivery_id [^`]*)`", read("README.md"))
    assert list(COLUMNS) == listed.split()


def test_the_readme_shows_rows_of_the_table_of_settings() -> None:
    shown = re.findall(_ROW, read("README.md"), re.MULTILINE)
    assert len(shown) >= 8
    assert [] == [row for row in shown if row not in setting_rows()]


def test_the_readme_shows_figures_that_were_measured() -> None:
    rows = [line for line in section("README.md", "Speed").splitlines() if line.startswith("| ")]
    shown = rows[1:]
    measured = read("tests/tools/bench/README.md").splitlines()
    assert len(shown) == 3
    assert [] == [row for row in shown if not any(line.startswith(row) for line in measured)]


@pytest.mark.parametrize("number", range(1, 9))
def test_every_promise_names_its_tests(number: int) -> None:
    promises = re.split(r"^\d+\. ", section("README.md", "What it promises"), flags=re.MULTILINE)
    assert re.search(r"`tests/[\w/]+\.py`", promises[number])


# All pages.


@each_page
def test_every_path_exists(page: str) -> None:
    named = set(re.findall(r"`((?:receiver|infra|tests)/[\w./-]*)(?:::\w+)?`", read(page)))
    assert [] == sorted(path for path in named if not (_ROOT / path).exists())


@each_page
def test_every_link_leads_somewhere(page: str) -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", read(page))
    assert [] == [path for path in named if not ((_ROOT / page).parent / path).exists()]


@each_page
def test_every_test_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read(page))
    assert [] == [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(async )?def {name}\(", read(path), re.MULTILINE)
    ]


@each_page
def test_every_setting_exists(page: str) -> None:
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{variable(name)}_FILE" for name in SECRETS}
    named = set(re.findall(r"\bRECEIVER_[A-Z][A-Z0-9_]*[A-Z0-9]\b(?!_…)", read(page)))
    assert set() == named - known


@each_page
def test_every_target_of_make_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(page), re.MULTILINE))
    assert set() == named - targets


@each_page
def test_every_object_that_a_server_is_given_exists(page: str) -> None:
    for module, name in re.findall(r"\b(receiver(?:\.\w+)+):(\w+)", read(page)):
        assert callable(getattr(importlib.import_module(module), name))


@each_page
def test_every_command_is_understood(page: str) -> None:
    assert [] == [problem for command in commands(read(page)) for problem in misread(command)]


def commands(text: str) -> set[str]:
    """Return the commands of the receiver that a page names."""
    inline = re.findall(r"`[^`\n]*?(?<!-)\b(receiver [a-z][^`\n]*)`", text)
    blocks = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL))
    lines = re.findall(r"(?:^|[ (])(?<!namespace )(receiver [a-z][^\n)\"|]*)", blocks, re.MULTILINE)
    return {command for command in [*inline, *lines] if "=" not in command.split()[1]}


def misread(command: str) -> Iterator[str]:
    """Yield why a command is not understood."""
    _, *words = shlex.split(re.split(r"[|<>;]", command)[0], comments=True)
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        below = found.get_command(click.Context(found), words[0])
        if below is None:
            yield f"{command}: no command {words[0]}"
            return
        found, words = below, words[1:]
    if "--help" in words:
        return
    try:
        found.make_parser(click.Context(found)).parse_args(args=words)
    except click.UsageError as exc:
        yield f"{command}: {exc.format_message()}"


def test_commands_are_found_and_read() -> None:
    text = "`receiver find --tag x`\n```\n$ receiver nope\n$ a | receiver show --odd  # it's\n```\n"
    right, unknown, odd = sorted(commands(text))
    assert [] == list(misread(right))
    assert ["receiver nope: no command nope"] == list(misread(unknown))
    (problem,) = misread(odd)
    assert "No such option" in problem


# The other pages.


def setting_rows() -> list[str]:
    """Return the rows that the table of settings must have."""
    return [
        f"| `{variable(name)}` | {_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


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
    assert setting_rows() == re.findall(_ROW, read("infra/settings.md"), re.MULTILINE)


def test_the_settings_that_can_be_in_a_file_are_the_secrets() -> None:
    (listed,) = re.findall(r"Secrets are ([^.]*)\.", read("infra/settings.md"))
    assert {variable(name) for name in SECRETS} == set(re.findall(r"`(\w+)`", listed))


def test_the_map_of_the_code_names_every_module_and_package() -> None:
    package = _ROOT / "receiver"
    expected = {f"receiver/{path.name}" for path in package.glob("[!_]*.py")}
    expected |= {f"receiver/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    text = section("receiver/README.md", "Layers")
    actual = set(re.findall(r"^\| `(receiver/[a-z0-9_]+(?:\.py|/))` \|", text, re.MULTILINE))
    assert expected == actual


def test_every_step_of_a_callback_names_what_exists() -> None:
    steps = " ".join(section("receiver/README.md", "Life of a callback").split())
    named = re.findall(r"`(receiver/[\w/]+\.py)` `([\w.]+)`", steps)
    assert len(named) > 15
    assert [] == [f"{path} {name}" for path, name in named if name not in defined(path)]


def defined(path: str) -> set[str]:
    """Return the functions and classes of a file, methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.If):
            names |= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{one.name}"
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_every_command_is_shown() -> None:
    page = read("receiver/cli/README.md")
    # The operations of DataForApps are those of DataForSEO.
    names = [
        name for name in leaves(cli, "receiver") if not name.startswith("receiver dataforapps")
    ]
    assert [] == [name for name in names if not re.search(rf"\b{name}\b", page)]


def leaves(command: click.Command, name: str) -> Iterator[str]:
    """Yield the full name of each command that is not a group."""
    if not isinstance(command, click.Group):
        yield name
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        below = command.get_command(context, word)
        assert below is not None
        yield from leaves(below, f"{name} {word}")


def test_the_table_of_exit_statuses_is_complete() -> None:
    listed = re.findall(r"^\| (\d+) \|", read("receiver/cli/README.md"), re.MULTILINE)
    # Besides errors: done, wrong usage (click), Ctrl-C.
    assert {0, 2, 130} | {error.exit_status for error in errors()} == set(map(int, listed))


def errors(kind: type[ReceiverError] = ReceiverError) -> Iterator[type[ReceiverError]]:
    """Yield a class of errors and all that derive from it."""
    yield kind
    for below in kind.__subclasses__():
        yield from errors(below)

"""The registry: adapters of installed distributions, and what is wrong with some of them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.providers import PROVIDERS, Entrance, Recognised
from receiver.providers.registry import find_problem
from tests.providers import acme

pytestmark = pytest.mark.integration

_LIST = "from receiver.providers import PROVIDERS; print(*PROVIDERS)"
_BUILT_IN = "dataforseo dataforapps diffbot outscraper"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with a distribution on its path."""
    environ = {name: value for name, value in os.environ.items() if "RECEIVER" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_built_in_providers_need_no_entry_point() -> None:
    assert _BUILT_IN.split() == list(PROVIDERS)[:4]


def test_an_installed_adapter_comes_after_the_built_in_ones(tmp_path: Path) -> None:
    ran = run(acme.install(tmp_path), "-c", _LIST)
    assert (f"{_BUILT_IN} acme\n", "") == (ran.stdout, ran.stderr)


def test_an_entry_point_may_name_an_object_that_is_an_adapter(tmp_path: Path) -> None:
    acme.install(
        tmp_path,
        source=acme.example("python") + "\n\nadapter = Acme()\n",
        entry_points="[receiver.providers]\nacme = acme_receiver:adapter\n",
    )
    assert f"{_BUILT_IN} acme\n" == run(tmp_path, "-c", _LIST).stdout


def test_an_adapters_module_can_be_imported_first(tmp_path: Path) -> None:
    ran = run(acme.install(tmp_path), "-c", f"import acme_receiver; {_LIST}")
    assert (f"{_BUILT_IN} acme\n", "") == (ran.stdout, ran.stderr)


ACME = acme.example("python")


@pytest.mark.parametrize(
    ("source", "entry_points", "problem"),
    [
        ("", "acme = acme_receiver:Acme", "AttributeError: module 'acme_receiver' has no"),
        (ACME, "acme = acme_reciever:Acme", "ModuleNotFoundError: No module named 'acme_reciever'"),
        ("1 / 0", "acme = acme_receiver:Acme", "ZeroDivisionError: division by zero"),
        (
            ACME.replace('name = "acme"', 'name = "acme"\n\n    def __init__(self, key): ...'),
            "acme = acme_receiver:Acme",
            "TypeError: Acme.__init__() missing 1 required positional argument: 'key'",
        ),
        (
            ACME,
            "apex = acme_receiver:Acme",
            "its name is 'acme', its entry point's is 'apex'",
        ),
        (
            ACME.replace('"acme"', '"diffbot"'),
            "diffbot = acme_receiver:Acme",
            "its name is taken",
        ),
        (
            ACME.replace('"POST", ', '"POST", signature_header=b"x-signature", '),
            "acme = acme_receiver:Acme",
            "signature_header is only for built-in providers",
        ),
        (
            ACME.replace('kind="webhook"', 'kind="web hook"'),
            "acme = acme_receiver:Acme",
            "the entrance 'web hook': its kind is not 1 to 32 of a-z 0-9 _ -",
        ),
    ],
)
def test_an_adapter_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, source: str, entry_points: str, problem: str
) -> None:
    acme.install(tmp_path, source=source, entry_points=f"[receiver.providers]\n{entry_points}\n")
    ran = run(tmp_path, "-m", "receiver", "urls")
    assert (3, "") == (ran.returncode, ran.stdout)
    (line,) = ran.stderr.splitlines()
    name, _, value = entry_points.partition(" = ")
    assert line.startswith(f"receiver: provider {name} ({value}) cannot be used: ")
    assert problem in line
    assert line.endswith("; correct or uninstall acme-receiver")


@pytest.mark.parametrize("command", ["serve", "find", "sweep"])
def test_no_command_works_with_an_adapter_that_cannot_be_used(tmp_path: Path, command: str) -> None:
    acme.install(tmp_path, source="1 / 0")
    ran = run(tmp_path, "-m", "receiver", command)
    expected = "ZeroDivisionError: division by zero; correct or uninstall acme-receiver\n"
    assert (3, "", True) == (ran.returncode, ran.stdout, ran.stderr.endswith(expected)), ran


def test_the_check_names_an_adapter_that_cannot_be_used(tmp_path: Path) -> None:
    acme.install(tmp_path, source="1 / 0")
    ran = run(tmp_path, "-m", "receiver", "check", "--output", "json")
    rows = {row["check"]: row for row in map(orjson.loads, ran.stdout.splitlines())}
    assert (3, "FAILED") == (ran.returncode, rows["providers"]["result"]), ran
    assert rows["providers"]["detail"].endswith("ZeroDivisionError: division by zero")
    assert "correct or uninstall acme-receiver" == rows["providers"]["hint"]
    assert "ok" == rows["settings"]["result"]


# What an adapter must be.


class Toy:
    """An adapter that can be used."""

    name: Any = "toy"
    entrances: Any = (
        Entrance(kind="webhook", method="POST", parameter="hook"),
        Entrance(kind="ping", method="GET", parameter="ping", query="?id=$id", needs_id=True),
    )

    def recognise(self, envelope: Any, body: Any, *, whole: bool) -> Any:
        return Recognised(invalid="undecodable")


def toy(**attributes: Any) -> Any:
    return type("Odd", (Toy,), attributes)()


def test_an_adapter_that_keeps_to_the_rules_can_be_used() -> None:
    assert find_problem(Toy()) is None


@pytest.mark.parametrize("name", ["a", "a" * 32, "acme-2", "acme_eu"])
def test_a_name_is_a_slug(name: str) -> None:
    assert find_problem(toy(name=name)) is None


@pytest.mark.parametrize(
    "name",
    ["", "a" * 33, "Acme", "2acme", "-a", "a.b", "a/b", "a b", "a\n", "ä", None, 7, "healthz"],
)
def test_a_name_that_is_not_a_slug_or_is_reserved_is_refused(name: object) -> None:
    assert "its name is " in str(find_problem(toy(name=name)))
    if name != "healthz":
        assert name is None or f"{name!r}" in str(find_problem(toy(name=name)))


@pytest.mark.parametrize("entrances", [None, (), [], [Toy.entrances[0]], "webhook"])
def test_an_adapter_without_entrances_is_refused(entrances: object) -> None:
    assert "not a tuple with at least one Entrance" in str(find_problem(toy(entrances=entrances)))


def test_what_is_not_an_entrance_is_refused() -> None:
    assert "'webhook' is not an Entrance" == find_problem(toy(entrances=("webhook",)))


def test_two_entrances_of_one_kind_are_refused() -> None:
    (webhook, _) = Toy.entrances
    problem = find_problem(toy(entrances=(webhook, replace(webhook, parameter="other"))))
    assert "two entrances have the kind 'webhook'" == problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "Webhook"}, "its kind is not"),
        ({"kind": ""}, "its kind is not"),
        ({"kind": None}, "its kind is not"),
        ({"kind": "result"}, "or reserved"),
        ({"kind": "file"}, "or reserved"),
        ({"method": "PUT"}, "its method is 'PUT', not GET or POST"),
        ({"method": "post"}, "its method is 'post', not GET or POST"),
        ({"parameter": ""}, "its parameter is ''"),
        ({"parameter": "a\nb"}, "its parameter is 'a\\nb'"),
        ({"parameter": None}, "its parameter is None"),
        ({"query": "id=$id"}, "its query is 'id=$id'"),
        ({"query": "?a b"}, "its query is '?a b'"),
        ({"query": None}, "its query is None"),
        ({"needs_id": True}, "it needs an id, which its query does not have"),
    ],
)
def test_an_entrance_that_makes_no_sense_is_refused(change: dict[str, Any], problem: str) -> None:
    entrance = replace(Toy.entrances[0], **change)
    assert problem in str(find_problem(toy(entrances=(entrance,))))


@pytest.mark.parametrize(
    ("recognise", "problem"),
    [
        (lambda self, envelope, body: Recognised(), "recognise raises TypeError: "),
        (lambda self, envelope, body, *, whole: body["id"], "recognise raises TypeError: "),
        (lambda self, envelope, body, *, whole: None, "recognise returns None, not a Recognised"),
        (None, "recognise raises TypeError: "),
    ],
)
def test_an_adapter_that_cannot_recognise_is_refused(recognise: Any, problem: str) -> None:
    assert problem in str(find_problem(toy(recognise=recognise)))

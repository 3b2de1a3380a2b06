"""The page on how to add a provider: its example is an adapter like any other."""

import re
from pathlib import Path
from typing import ClassVar

from tests.providers import acme
from tests.providers.cases import AdapterCases

_ROOT = Path(__file__).parents[2]


class TestAcme(AdapterCases):
    provider = "acme"
    repeated: ClassVar[list[set[str]]] = [{"report_done", "report_done_again"}]


def test_the_files_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`((?:tests|infra|receiver)/[\w/.]+)`", acme.PAGE.read_text()))
    assert {"tests/providers/cases.py", "tests/samples/acme/report_done/"} <= named
    assert [] == [name for name in sorted(named) if not (_ROOT / name).exists()]

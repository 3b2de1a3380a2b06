"""The page on how to add a provider: its example is an adapter like any other."""

from typing import ClassVar

from tests.providers.cases import AdapterCases


class TestAcme(AdapterCases):
    provider = "acme"
    repeated: ClassVar[list[set[str]]] = [{"report_done", "report_done_again"}]

"""The dashboard asks for metrics that exist, in queries that parse."""

import itertools
import re
from typing import Any

import orjson
import pytest

from tests.infra.queries import asked, exposed, unknown
from tests.tools.support.tools import ROOT

DASHBOARD = orjson.loads((ROOT / "infra" / "grafana.json").read_bytes())
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$instance": "a|b", "$provider": ".*"}


def query(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def queries() -> list[str]:
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    annotations = DASHBOARD["annotations"]["list"]
    return [query(target["expr"]) for target in [*targets, *annotations]]


@pytest.mark.parametrize("text", queries())
def test_a_query_names_what_the_receiver_exposes(text: str) -> None:
    if "ALERTS" not in text:
        assert set() == unknown(text)
        assert asked(text).metrics


def test_every_metric_is_shown_somewhere() -> None:
    shown = set[str]().union(*(asked(text).metrics for text in queries()))
    # A histogram is shown by one of its parts at least.
    parts = [name for name in exposed() if not re.search(r"_(bucket|sum|count)$", name)]
    assert [] == [name for name in parts if name not in shown]
    for name in (
        "receiver_commit_seconds",
        "receiver_commit_records",
        "receiver_archive_ack_seconds",
    ):
        assert any(one.startswith(name) for one in shown), name


def test_variables_are_filled_from_metrics_that_exist() -> None:
    asked_for = [
        re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert asked_for
    for found in asked_for:
        assert found is not None
        assert found[2] in exposed()[found[1]] | {"instance"}


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations(panels, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)

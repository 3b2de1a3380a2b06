"""The bench runs to its end and measures every row; what the figures are is not tested."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.tools.bench.report import LABELS
from tests.tools.support.tools import needs

_PROJECT = Path(__file__).parents[3]
# Columns of the table that hold a number in every row.
_NUMBERS = {"CPU µs per callback", "callbacks/s", "p50 ms", "p99 ms"}

# It measures for half a minute where nothing else runs.
pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _wrk() -> None:
    needs("wrk")


def _tables(markdown: str) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a Markdown text, by the name of their first column."""
    tables: dict[str, list[dict[str, str]]] = {}
    header: list[str] = []
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif set(line) - set("|-: "):
            tables.setdefault(header[0], []).append(dict(zip(header, cells, strict=True)))
    return tables


# What takes a minute even when it is quick is left to `make bench`.
_ROWS = (*LABELS, "half-load", "ship", "s3", "find")


def test_a_quick_run_prints_and_writes_its_rows_with_their_figures(tmp_path: Path) -> None:
    output = tmp_path / "results"
    chosen = f"--rows={','.join(_ROWS)}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.tools.bench", "--quick", "--seconds=1", chosen),
            *("--output", str(output)),
        ],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")
    markdown = (output / "bench.md").read_text()
    assert markdown.strip() == done.stdout.strip()
    tables = _tables(markdown)
    rows = [row for row in tables["row"] if row["connections"] == "64"]
    assert list(LABELS.values()) == [row["row"] for row in rows]
    for row in rows:
        assert all(float(row[name].replace(",", "")) > 0 for name in _NUMBERS), row
    shipping = next(row for row in rows if row["row"] == LABELS["shipping"])
    assert float(shipping["parent's CPU µs"]) > 0

    raw = orjson.loads((output / "bench.json").read_bytes())
    assert {"a directory", "the stub of S3"} == raw["shipping"].keys()
    assert all(shipping["cpu_us"] > 0 for shipping in raw["shipping"].values())
    assert raw["s3_requests"]["callbacks"] > 0
    # Each segment is one callbacks object and one index object, wherever an hour does not end.
    assert raw["s3_requests"]["requests"] >= 2
    assert 0 < raw["half_load"]["sync_p50_ms"] <= raw["half_load"]["sync_p99_ms"]
    assert all(server > 1 << 20 for server, _ in raw["memory_peak_bytes"].values())

    assert (output / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (output / "bench.svg").read_text()
    assert {"bench.md", "bench.json", "bench.png", "bench.svg"} == {
        p.name for p in output.iterdir()
    }


def test_an_unknown_row_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.bench", "--rows=starlette,nginx"],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 2 == done.returncode
    assert "nginx" in done.stderr

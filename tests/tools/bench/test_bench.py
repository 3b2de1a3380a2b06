"""The bench runs to its end and measures its rows; the figures themselves are not tested."""

import shlex
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

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


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


# The rows of the receiver itself; `make bench` runs all of them.
_ROWS = ("starlette", "spool", "shipping", "half-load", "ship", "s3")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout: its Python runs this one's receiver."""
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return tmp_path / "checkout"


def test_a_quick_run_prints_and_writes_its_rows_with_their_figures(
    tmp_path: Path, checkout: Path
) -> None:
    needs("wrk")
    output = tmp_path / "results"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.tools.bench", "--quick", "--seconds=1"),
            *(f"--rows={','.join(_ROWS)}", f"--beside={checkout}", f"--output={output}"),
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
    measured = ("starlette", "spool", "beside", "shipping")
    assert [LABELS[name] for name in measured] == [row["row"] for row in rows]
    for row in rows:
        assert all(float(row[name].replace(",", "")) > 0 for name in _NUMBERS), row
    shipping = next(row for row in rows if row["row"] == LABELS["shipping"])
    assert float(shipping["parent's CPU µs"]) > 0

    raw = orjson.loads((output / "bench.json").read_bytes())
    assert {"a directory", "the stub of S3"} == raw["shipping"].keys()
    assert all(shipping["cpu_us"] > 0 for shipping in raw["shipping"].values())
    assert all(shipping["beside"]["median"] > 0 for shipping in raw["shipping"].values())
    assert ("beside", "spool") in [(ratio["row"], ratio["to"]) for ratio in raw["ratios"]]
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

"""DuckDB and `zcat | jq` read the archive as it is, whatever providers are in it."""

import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.system.conftest import place_in_bucket
from tests.tools.support.oracle import COLUMNS, BucketArchive, DirectoryArchive, Ledger, verify
from tests.tools.support.s3 import S3Server
from tests.tools.support.samples import Sample, Samples
from tests.tools.support.server import Receiver
from tests.tools.support.tools import needs

pytestmark = pytest.mark.system

_OF_PYTHON = {str: "VARCHAR", int: "BIGINT", list: "VARCHAR[][]"}
_TYPES = {name: _OF_PYTHON[types[0]] for name, types in COLUMNS.items()}
_TYPES["received_at"] = "TIMESTAMP WITH TIME ZONE"
_PIPE = 'set -o pipefail; zcat "$0"/callbacks/*/*/*/*/*.jsonl.gz | jq -r "$1"'
_PARTITIONS = ("date", "hour")
_MIXES = (
    "*/*/*/*",
    "*/*/provider=dataforseo/*",
    "*/*/provider=dataforseo/kind=pingback",
    "*/*/provider=dataforapps/kind=postback",
    "*/*/provider=diffbot/*",
    "*/*/provider=outscraper/*",
)


@dataclass(frozen=True, slots=True)
class Written:
    """An archive that the real command wrote, and what was sent."""

    root: Path
    samples: list[Sample]

    def read_json(self, mix: str = "**", options: str = "") -> str:
        """Return the table function that reads it."""
        return (
            f"read_json('{self.root}/callbacks/{mix}/*.jsonl.gz', hive_partitioning=true{options})"
        )


@pytest.fixture(scope="module", params=["directory", "s3"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> Written:
    """An archive with callbacks of all providers; one in a bucket is fetched object by object."""
    ledger, source = Ledger(), Samples(seed=91)
    samples = [sample for _ in range(5) for sample in source.of_each()]
    root = tmp_path_factory.mktemp("archive")
    place = place_in_bucket(s3.new_bucket(), s3.url)
    settings = dict(place.settings) if request.param == "s3" else {}
    with Receiver(root, settings) as it:
        it.start()
        for sample in samples:
            assert 200 == ledger.deliver(it.request, sample, token=it.token).status
        it.terminate()
    archive = place.archive if request.param == "s3" else DirectoryArchive(it.archive)
    verify(archive, ledger)
    if isinstance(archive, BucketArchive):
        for key in archive.keys():
            path = it.archive / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.get(key))
    return Written(it.archive, samples)


def query(text: str) -> list[tuple[Any, ...]]:
    """Run a query."""
    with duckdb.connect() as connection:
        return connection.sql(text).fetchall()


def test_duckdb_reads_every_line(written: Written) -> None:
    counts = query(f"SELECT provider, kind, count(*) FROM {written.read_json()} GROUP BY ALL")
    sent = Counter((sample.provider, sample.kind) for sample in written.samples)
    assert sent == {(provider, kind): count for provider, kind, count in counts}


@pytest.mark.parametrize("mix", _MIXES)
def test_duckdb_finds_the_same_columns_whatever_the_mix(written: Written, mix: str) -> None:
    described = query(f"DESCRIBE SELECT * FROM {written.read_json(mix)}")
    assert [*_TYPES, *_PARTITIONS] == [column[0] for column in described]


def test_duckdb_finds_the_types_of_the_contract(written: Written) -> None:
    described = query(f"DESCRIBE SELECT * FROM {written.read_json()}")
    # DuckDB takes strings that all look like UUIDs for UUIDs, and `09` for a string.
    hours = {path.name for path in written.root.glob("callbacks/*/hour=*")}
    hour = "VARCHAR" if any("=0" in name for name in hours) else "BIGINT"
    wanted = _TYPES | {"delivery_id": "UUID", "date": "DATE", "hour": hour}
    assert wanted == {column[0]: column[1] for column in described}


@pytest.mark.parametrize("mix", _MIXES)
def test_duckdb_takes_the_types_it_is_given_whatever_the_mix(written: Written, mix: str) -> None:
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in _TYPES.items())
    source = written.read_json(mix, f", columns={{{columns}}}")
    described = query(f"DESCRIBE SELECT * FROM {source}")
    assert _TYPES == {name: kind for name, kind, *_ in described if name not in _PARTITIONS}
    assert query(f"SELECT count(*) FROM {written.read_json(mix)}") == query(
        f"SELECT count(*) FROM {source} WHERE body_bytes >= 0 AND received_at > '2020-01-01'"
    )


def test_duckdb_looks_into_bodies(written: Written) -> None:
    rows = query(
        "SELECT task_id, body->>'$.tasks[0].id', body->>'$.tasks[0].data.tag', tag "
        f"FROM {written.read_json()} WHERE kind = 'postback' AND invalid IS NULL"
    )
    sent = {
        sample.task_id: sample.tag
        for sample in written.samples
        if sample.kind == "postback" and sample.invalid is None
    }
    assert len(sent) == len(rows) == 20
    for task_id, id_in_body, tag_in_body, tag in rows:
        assert task_id == id_in_body
        assert sent[task_id] == tag_in_body == tag


def test_duckdb_finds_bodies_unchanged(written: Written) -> None:
    rows = query(f"SELECT key, encode(body), from_base64(body_base64) FROM {written.read_json()}")
    bodies = {key: text if text is not None else binary for key, text, binary in rows}
    assert {sample.key: sample.content for sample in written.samples} == bodies


def test_duckdb_follows_the_index_to_a_line(written: Written) -> None:
    index = f"read_json('{written.root}/index/**/*.jsonl.gz')"
    rows = query(
        f"SELECT line.body_bytes, entry.body_bytes, entry.position, entry.of FROM {index} AS entry "
        f"JOIN {written.read_json()} AS line USING (delivery_id)"
    )
    assert len(written.samples) == len(rows)
    assert all(in_line == in_index and position < of for in_line, in_index, position, of in rows)


def jq(written: Written, program: str) -> list[str]:
    """Run a jq program over every line, as a shell would."""
    needs("jq")
    ran = subprocess.run(
        ["bash", "-c", _PIPE, str(written.root), program],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_jq_reads_every_line(written: Written) -> None:
    sent = Counter(f"{sample.provider} {sample.kind}" for sample in written.samples)
    assert sent == Counter(jq(written, '"\\(.provider) \\(.kind)"'))


def test_jq_finds_the_same_columns_on_every_line(written: Written) -> None:
    assert [",".join(_TYPES)] == sorted(set(jq(written, 'keys_unsorted | join(",")')))


def test_jq_looks_into_bodies(written: Written) -> None:
    program = (
        'select(.kind == "postback" and .invalid == null)'
        " | select((.body | fromjson | .tasks[0].id) == .task_id) | .task_id"
    )
    sent = [s.task_id for s in written.samples if s.kind == "postback" and s.invalid is None]
    assert sorted(map(str, sent)) == sorted(jq(written, program))

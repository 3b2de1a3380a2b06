"""The SQL of `infra/queries/` reads an archive that the real command wrote, all of it.

DuckDB and Spark run their statements unchanged.  Athena's are translated and run in DuckDB, which
tests what they ask, not whether Athena accepts them.
"""

import base64
import gzip
import hashlib
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
import sqlglot
from sqlglot import exp

from tests.tools.support import engines
from tests.tools.support.oracle import COLUMNS, INDEX_COLUMNS, DirectoryArchive, read_lines
from tests.tools.support.tools import needs

# On a busy machine Spark alone takes over a minute to start.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

Rows = list[tuple[Any, ...]]
Run = Callable[[str], tuple[tuple[str, ...], Rows]]

_PLAIN = [name for name in COLUMNS if name not in ("received_at", "headers")]
_DUCKDB_TYPES = {"TEXT": "VARCHAR", "BIGINT": "BIGINT", "ARRAY<ARRAY<TEXT>>": "VARCHAR[][]"}


class Engine:
    """An engine that has run its statements."""

    def __init__(self, name: str, run: Run, archive: Path, date: str) -> None:
        self.name = name
        self.run = run
        # The answer to each question, by its columns.
        self.answers: dict[tuple[str, ...], Rows] = {}
        for statement in engines.queries(name, str(archive), date):
            columns, rows = run(statement)
            self.answers[columns] = rows

    def column(self, query: str) -> list[Any]:
        """Return the one column of a query."""
        return [value for (value,) in self.run(query)[1]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def lines(archive: Path) -> list[dict[str, Any]]:
    return read_lines(DirectoryArchive(archive))


@pytest.fixture(scope="module")
def date(lines: list[dict[str, Any]]) -> str:
    return str(lines[-1]["received_at"][:10])


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A Spark session on loopback, for all tests of this module."""
    needs("java")
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = builder.master("local[2]").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module", params=["DuckDB", "Spark"])
def engine(request: pytest.FixtureRequest, archive: Path, date: str) -> Iterator[Engine]:
    if request.param == "Spark":
        session = request.getfixturevalue("spark")

        def ask(statement: str) -> tuple[tuple[str, ...], Rows]:
            frame = session.sql(statement)
            return tuple(frame.columns), [tuple(row) for row in frame.collect()]

        yield Engine("Spark", ask, archive, date)
        return
    with duckdb.connect() as connection:
        yield Engine("DuckDB", _asking(connection), archive, date)


def _asking(connection: duckdb.DuckDBPyConnection) -> Run:
    def ask(statement: str) -> tuple[tuple[str, ...], Rows]:
        done = connection.execute(statement)
        return tuple(column[0] for column in done.description or ()), done.fetchall()

    return ask


def newest(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model: the last line of each provider's key, a valid one if there is any."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    keyless = []
    for line in sorted(lines, key=_rank):
        if line["key"] is None:
            keyless.append(line)
        else:
            latest[line["provider"], line["key"]] = line
    return [*latest.values(), *keyless]


def _rank(line: dict[str, Any]) -> tuple[bool, str, str]:
    return line["invalid"] is None, line["received_at"], line["delivery_id"]


def by_day(lines: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    """The model: the number of lines per day, provider and status."""
    return Counter((x["received_at"][:10], x["provider"], x["status"]) for x in lines)


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(line["delivery_id"] for line in lines)


def results(lines: list[dict[str, Any]], date: str) -> dict[str, dict[str, Any]]:
    """The model: the first task in each of the newest results of a day, by task id."""
    return {
        line["task_id"]: orjson.loads(line["body"])["tasks"][0]
        for line in newest(lines)
        if line["kind"] == "postback" and line["invalid"] is None and line["body"]
        if line["received_at"].startswith(date)
    }


def test_the_archive_has_what_engines_must_cope_with(
    archive: Path, lines: list[dict[str, Any]]
) -> None:
    members = defaultdict(set)
    for entry in entries_of(archive):
        members[entry["object"]].add(entry["member_offset"])
    for suffix in (".jsonl.gz", ".jsonl.zst"):
        assert any(len(members[key]) > 2 for key in members if key.endswith(suffix))
    assert any(len(line["body"] or "") > 20_000_000 for line in lines)
    assert any(line["key"] is None for line in lines)
    assert len(newest(lines)) < len(lines)


def entries_of(archive: Path) -> list[dict[str, Any]]:
    """Return the index."""
    contents = [gzip.decompress(path.read_bytes()) for path in archive.glob("index/*/*/*.gz")]
    return [orjson.loads(line) for content in contents for line in content.splitlines()]


def test_every_column_of_every_line_is_read(engine: Engine, lines: list[dict[str, Any]]) -> None:
    micros = {"DuckDB": "epoch_us", "Spark": "unix_micros"}[engine.name]
    named = ", ".join(f"callbacks.{name}" for name in _PLAIN)
    _, rows = engine.run(f"SELECT {micros}(received_at), headers, {named} FROM callbacks")
    read = {row[2]: row for row in rows}
    assert len(lines) == len(rows)
    for line in lines:
        at, headers, *plain = read[line["delivery_id"]]
        assert line["received_at"] == _rfc3339(at)
        assert line["headers"] == [list(pair) for pair in headers]
        for name, value in zip(_PLAIN, plain, strict=True):
            # Compared as a digest: a difference in 21 MB takes minutes to print.
            assert _digest(line[name]) == _digest(value), (line["delivery_id"], name)


def _rfc3339(micros: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _digest(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 1000:
        return hashlib.sha256(value.encode()).hexdigest()
    return value


def test_every_column_of_every_entry_is_read(engine: Engine, archive: Path) -> None:
    micros = {"DuckDB": "epoch_us", "Spark": "unix_micros"}[engine.name]
    plain = [name for name in INDEX_COLUMNS if name != "received_at"]
    named = ", ".join(f"entries.{name}" for name in plain)
    _, rows = engine.run(f"SELECT {micros}(received_at), {named} FROM entries")
    read = [
        {"received_at": _rfc3339(at), **dict(zip(plain, values, strict=True))}
        for at, *values in rows
    ]
    expected = entries_of(archive)
    assert sorted(expected, key=_by_id) == sorted(read, key=_by_id)


def _by_id(entry: dict[str, Any]) -> str:
    return str(entry["delivery_id"])


def test_bodies_are_text_or_bytes(engine: Engine, lines: list[dict[str, Any]]) -> None:
    unbase64 = {"DuckDB": "from_base64", "Spark": "unbase64"}[engine.name]
    read = engine.column(
        f"SELECT {unbase64}(body_base64) FROM callbacks WHERE body_base64 IS NOT NULL"
    )
    expected = [base64.b64decode(x["body_base64"]) for x in lines if x["body_base64"] is not None]
    assert sorted(expected) == sorted(bytes(body) for body in read)


def test_the_days_are_counted(engine: Engine, lines: list[dict[str, Any]]) -> None:
    rows = engine.answers["day", "provider", "status", "callbacks"]
    assert by_day(lines) == {(str(day), *rest): count for day, *rest, count in rows}


def test_of_each_key_the_newest_is_seen(engine: Engine, lines: list[dict[str, Any]]) -> None:
    assert ids(newest(lines)) == sorted(engine.column("SELECT delivery_id FROM newest"))


def test_values_are_taken_out_of_bodies(
    engine: Engine, lines: list[dict[str, Any]], date: str
) -> None:
    found = results(lines, date)
    rows = engine.answers["task_id", "code", "tag"]
    assert sorted(found)[:3] == [task_id for task_id, _, _ in rows]
    for task_id, code, tag in rows:
        assert str(found[task_id]["status_code"]) == code
        assert found[task_id]["data"]["tag"] == tag


def test_a_value_is_taken_out_of_the_longest_body(engine: Engine) -> None:
    path = {"DuckDB": "body->>'$.{}'", "Spark": "get_json_object(body, '$.{}')"}[engine.name]
    columns = f"{path.format('tasks[0].data.tag')}, length({path.format('tasks[0].result[0]')})"
    _, rows = engine.run(f"SELECT {columns} FROM newest WHERE task_id = 'long'")
    assert [("long", 998)] == rows


def test_the_index_joins_the_lines(engine: Engine, lines: list[dict[str, Any]]) -> None:
    assert [(len(lines), len(lines))] == engine.answers["lines", "lines_in_index"]


def test_spark_says_so_where_a_line_is_damaged(spark: Any, archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "callbacks"
    shutil.copytree(archive / "callbacks", broken)
    (broken / "date=2026-01-01/hour=00/provider=diffbot/kind=notification").mkdir(parents=True)
    wrong = broken / "date=2026-01-01/hour=00/provider=diffbot/kind=notification/wrong.jsonl"
    wrong.write_text('{"delivery_id": "cut sho')
    [create] = [s for s in engines.queries("Spark", str(tmp_path)) if "VIEW callbacks" in s]
    spark.sql(create.replace("callbacks (", "damaged (", 1))
    with pytest.raises(Exception, match="MALFORMED_RECORD_IN_PARSING"):
        spark.sql("SELECT max(body_bytes) FROM damaged").collect()


def test_spark_takes_the_tables_of_athena_for_those_of_hive(spark: Any) -> None:
    parser = spark._jsparkSession.sessionState().sqlParser()
    plans = [
        parser.parsePlan(statement).getClass().getSimpleName()
        for statement in engines.athena()
        if "EXTERNAL TABLE" in statement
    ]
    assert ["CreateTable", "CreateTable"] == plans


@pytest.fixture(scope="module")
def athena(archive: Path) -> Iterator[Run]:
    """Athena's tables and view in DuckDB, made from their DDL."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA receiver")
        for statement in engines.athena():
            if "EXTERNAL TABLE" in statement:
                connection.execute(_table(statement, archive))
            elif "VIEW" in statement:
                connection.execute(_translated(statement))
        yield _asking(connection)


def _table(statement: str, archive: Path) -> str:
    table: Any = sqlglot.parse_one(statement, dialect="hive")
    types = {
        column.name: _DUCKDB_TYPES[column.args["kind"].sql()]
        for column in table.this.find_all(exp.ColumnDef)
    }
    partitioned: Any = table.find(exp.PartitionedByProperty)
    partitions = [column.name for column in partitioned.find_all(exp.ColumnDef)]
    location = re.sub(r"^s3://my-bucket/callbacks", str(archive), _location(table))
    columns = ", ".join(f"\"{name}\": '{kind}'" for name, kind in types.items())
    kinds = ", ".join(f"'{name}': VARCHAR" for name in partitions)
    return (
        f"CREATE VIEW receiver.{table.this.this.name} AS FROM read_json('{location}**/*.jsonl.*', "
        f"hive_partitioning=true, hive_types={{{kinds}}}, maximum_object_size=100000000, "
        f"columns={{{columns}}})"
    )


def _location(table: Any) -> str:
    return str(table.find(exp.LocationProperty).this.name)


def _translated(statement: str) -> str:
    return sqlglot.transpile(statement, read="trino", write="duckdb")[0]


def questions(archive_date: str) -> dict[str, str]:
    """Return Athena's questions in DuckDB's dialect, each by a word that only it contains."""
    texts = [s for s in engines.athena() if s.startswith("SELECT")]
    words = ("AS day", "member_offset", "id_in_body", "lines_in_index")
    return {
        word: _translated(
            text.replace("2026-11-21", archive_date).replace("2026-11-20", archive_date)
        )
        for word in words
        for text in texts
        if word in text
    }


def test_athena_counts_the_days(athena: Run, lines: list[dict[str, Any]], date: str) -> None:
    _, rows = athena(questions(date)["AS day"])
    assert by_day(lines) == {tuple(what): count for *what, count in rows}


def test_athena_finds_a_task_in_the_index(athena: Run, lines: list[dict[str, Any]]) -> None:
    query = questions("")["member_offset"]
    tasks = [line for line in lines if line["task_id"] == "long"]
    _, rows = athena(query.replace("08141207-1535-0066-0000-5b1f0c9a7e21", "long"))
    assert [(x["received_at"], x["provider"], x["kind"], x["status"]) for x in tasks] == [
        row[:4] for row in rows
    ]


def test_athena_sees_the_newest_and_looks_into_bodies(
    athena: Run, lines: list[dict[str, Any]], date: str
) -> None:
    assert ids(newest(lines)) == sorted(
        value for (value,) in athena("SELECT delivery_id FROM receiver.newest")[1]
    )
    _, rows = athena(questions(date)["id_in_body"])
    found = results([line for line in lines if line["provider"] == "dataforseo"], date)
    expected = [(task_id, task["id"], str(task["status_code"])) for task_id, task in found.items()]
    assert sorted(expected) == sorted(rows)


def test_athena_joins_the_index(athena: Run, lines: list[dict[str, Any]], date: str) -> None:
    of_day = [line for line in lines if line["received_at"].startswith(date)]
    assert [(len(of_day), len(of_day))] == athena(questions(date)["lines_in_index"])[1]

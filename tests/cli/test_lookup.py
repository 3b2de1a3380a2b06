"""`find`, `export`, `verify` and `show` where there is little or nothing; and `sweep`."""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import clock
from tests.cli.conftest import TOKEN, Command
from tests.tools.deliveries import head_of, segment_file
from tests.tools.simulators.dataforseo import DataForSeo


@pytest.mark.parametrize(
    "words",
    [
        *(("verify",), ("find",), ("show", "task-1"), ("export",)),
        ("replay", "--to", "http://127.0.0.1:9", "task-1"),
    ],
    ids=" ".join,
)
def test_an_archive_that_is_not_there_is_an_error(
    receiver: Command, words: tuple[str, ...]
) -> None:
    outcome = receiver(*words, ARCHIVE="data/archvie")
    assert (3, "") == (outcome.status, outcome.out)
    assert "receiver: there is no archive at data/archvie (RECEIVER_ARCHIVE)\n" == outcome.err


def test_what_waits_in_the_spool_is_found_without_an_archive(receiver: Command) -> None:
    segment_file(Path("data/spool"), [(head_of("a", target="/x?id=task-1"), b"{}")])
    (row,) = receiver("find", "--output", "json").rows
    assert ("a", "spool") == (row["delivery_id"], row["where"])
    assert '"delivery_id":"a"' in receiver("show", "task-1", "--output", "json").out
    assert 3 == receiver("find", "--task-id", "task-2").status


def test_an_archive_that_holds_nothing_yet_is_no_error(receiver: Command) -> None:
    assert 0 == receiver("check", DISK_RESERVE_BYTES="0").status
    outcome = receiver("find")
    assert (1, "", "receiver: nothing found\n") == (outcome.status, outcome.out, outcome.err)
    for to in ("-", "file.jsonl"):
        outcome = receiver("export", "--to", to)
        assert (1, "") == (outcome.status, outcome.out)
        assert "receiver: nothing found in the archive\n" == outcome.err
    assert "" == Path("file.jsonl").read_text()
    outcome = receiver("verify", "--since", "2026-11-21", "--until", "9999-12-31")
    nothing = "nothing to verify between 2026-11-21T00:00:00Z and 9999-12-31T00:00:00Z\n"
    assert (0, nothing, "") == (outcome.status, outcome.out, outcome.err)


def test_what_waits_is_named_where_nothing_could_be_exported(receiver: Command) -> None:
    assert 0 == receiver("check", DISK_RESERVE_BYTES="0").status
    segment_file(Path("data/spool"), [(head_of(), b"{}")])
    outcome = receiver("export")
    nothing, waits = outcome.err.splitlines()
    assert (1, "") == (outcome.status, outcome.out)
    assert "receiver: nothing found in the archive" == nothing
    assert waits.endswith("1 more waits in this machine's spool")
    receiver("ship")
    assert 0 == receiver("export").status


def test_a_dash_is_standard_output_and_a_file_of_that_name_can_be_named(receiver: Command) -> None:
    delivery_id = clock.new_id()
    segment_file(Path("data/spool"), [(head_of(delivery_id), b"{}")])
    receiver("ship")
    (row,) = receiver("export", "--to", "-").rows
    assert delivery_id == row["delivery_id"]
    assert [] == list(Path().glob("*-*"))
    assert "" == receiver("export", "--to", "./-").out
    assert row == orjson.loads(Path("-").read_bytes())


def test_a_line_is_shown_whole_also_of_a_body_that_is_no_text(receiver: Command) -> None:
    body = b"\xff\xfe" + TOKEN.encode()
    segment_file(Path("data/spool"), [(head_of(target="/x?id=task-1"), body)])

    def shown() -> dict[str, Any]:
        (row,) = receiver("show", "task-1", "--output", "json", TOKENS=TOKEN).rows
        return row

    waiting = shown()
    assert None is waiting["body"]
    # Secrets are starred here, too.
    assert b"\xff\xfe***" == base64.b64decode(waiting["body_base64"])
    receiver("ship")
    assert waiting | {"where": "archive"} == (archived := shown())
    (line,) = receiver("export").rows
    assert [*line, "where"] == list(archived)
    assert line | {"body_base64": archived["body_base64"], "where": "archive"} == archived


@pytest.mark.parametrize("words", ["find", "export", "spool verify", "spool cat"])
def test_a_segment_that_cannot_be_read_is_named(receiver: Command, words: str) -> None:
    Path("data/spool/p/p-0.seg").mkdir(parents=True)
    Path("data/archive").mkdir()
    outcome = receiver(*words.split())
    assert (1, "") == (outcome.status, outcome.out)
    assert "receiver: cannot read data/spool/p/p-0.seg: Is a directory\n" == outcome.err


@pytest.mark.integration
def test_each_provider_is_swept_once(receiver: Command) -> None:
    with DataForSeo() as simulator:
        given = {
            "TOKENS": TOKEN,
            "DATAFORSEO_URL": simulator.url,
            "DATAFORSEO_LOGIN": simulator.settings.login,
            "DATAFORSEO_PASSWORD": simulator.settings.password,
        }
        words = ("sweep", "dataforseo", "dataforseo", "--dry-run", "--output", "json")
        outcome = receiver(*words, **given)
    assert (0, ["summary"]) == (outcome.status, [row["type"] for row in outcome.rows])

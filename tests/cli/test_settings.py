"""`receiver urls` and `receiver config`."""

import re

import pytest

from receiver.config import Settings
from tests.cli.conftest import TOKEN, Command


def test_urls_are_printed_whole_as_a_table_and_as_json(receiver: Command) -> None:
    public = "https://hooks.example.net/a/rather/long/prefix/of/ours"
    given = {"PUBLIC_URL": public, "TOKENS": TOKEN}
    rows = receiver("urls", "--output", "json", **given).rows
    assert 6 == len(rows)
    table = receiver("urls", **given)
    assert (0, 6) == (table.status, len(table.out.splitlines()))
    for row in rows:
        assert row["url"].startswith(f"{public}/{row['provider']}/{row['kind']}/{TOKEN}")
        assert row["url"] in table.out


def test_a_new_token_is_printed_alone(receiver: Command) -> None:
    outcome = receiver("urls", "--new-token")
    assert re.fullmatch(r"[0-9a-f]{48}\n", outcome.out)
    assert outcome.out != receiver("urls", "--new-token").out


def test_urls_need_tokens_where_strangers_can_call(receiver: Command) -> None:
    outcome = receiver("urls", HOST="0.0.0.0")
    assert 3 == outcome.status
    assert "RECEIVER_TOKENS must be set" in outcome.err


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_settings_are_shown_without_secrets(receiver: Command, output: str) -> None:
    outcome = receiver(
        "config",
        "--output",
        output,
        TOKENS=f"{TOKEN},{TOKEN}-2",
        OUTSCRAPER_API_KEYS="key-of-outscraper",
        BATCH_SECONDS="2.5",
    )
    assert 0 == outcome.status
    assert TOKEN not in outcome.out
    assert "key-of-outscraper" not in outcome.out
    assert "***,***" in outcome.out
    if output == "json":
        values = {row["variable"]: row["value"] for row in outcome.rows}
        assert ("2.5", "***,***", "***") == (
            values["RECEIVER_BATCH_SECONDS"],
            values["RECEIVER_TOKENS"],
            values["RECEIVER_OUTSCRAPER_API_KEYS"],
        )
        assert "127.0.0.1" == values["FORWARDED_ALLOW_IPS"]


def test_all_settings_are_listed_even_where_one_is_unknown(receiver: Command) -> None:
    outcome = receiver("config", "--output", "json", PROT="8000")
    assert 3 == outcome.status
    assert "did you mean RECEIVER_PORT?" in outcome.err
    assert len(Settings.model_fields) == len(outcome.rows)


def test_a_token_that_was_made_is_told_and_not_shown(receiver: Command) -> None:
    def tokens() -> str:
        rows = receiver("config", "--output", "json").rows
        return str({row["variable"]: row["value"] for row in rows}["RECEIVER_TOKENS"])

    assert "" == tokens()
    assert 0 == receiver("urls").status
    assert "*** (made, in data/spool/token)" == tokens()


def test_sizes_are_shown_as_people_write_them_and_no_line_ends_in_spaces(
    receiver: Command,
) -> None:
    outcome = receiver("config", BODY_BYTES_MAX=str(3 << 20))
    values = {line.split()[0]: line.split()[1] for line in outcome.out.splitlines()}
    assert ("10GiB", "3MiB") == (
        values["RECEIVER_SPOOL_BYTES_MAX"],
        values["RECEIVER_BODY_BYTES_MAX"],
    )
    assert all(line == line.rstrip() for line in outcome.out.splitlines())

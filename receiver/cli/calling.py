"""Calls, lists of ids, and printed answers, for the commands that operate a provider."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from receiver.cli.bars import counting_bar
from receiver.cli.output import print_json
from receiver.errors import ProviderError
from receiver.instance import Receiver
from receiver.providers.conversation import Conversation, Reply
from receiver.reconciler.call_url import check_id
from receiver.reconciler.caller import Caller

T = TypeVar("T")


def hold(receiver: Receiver, provider: str, conversation: Conversation[T]) -> T:
    """Make the calls of one conversation and return what it learned.  Raises `ProviderError`."""

    async def once() -> T:
        async with receiver.caller(provider) as caller:
            return await caller.hold(conversation)

    return asyncio.run(once())


def checked(provider: str, *ids: str) -> None:
    """Raise `click.UsageError` unless a call may name each of these ids."""
    for each in ids:
        try:
            check_id(provider, each)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from None


def ids_options(command: Any) -> Any:
    """Add ids, as arguments or from a file, to a command."""
    command = click.option(
        "--from",
        "source",
        type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False),
        help="Read ids from a file, or from standard input (-).",
    )(command)
    return click.argument("ids", nargs=-1, metavar="[ID]…")(command)


def read_ids(provider: str, ids: tuple[str, ...], source: Path | None) -> list[str]:
    """Return ids from arguments and a file or standard input, in order and without repeats.

    Raises `click.UsageError` if there are none, or if one cannot be an id of this provider.
    """
    found = list(ids)
    if source is not None:
        content = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
        try:
            found.extend(content.decode().split())
        except UnicodeDecodeError as exc:
            raise click.UsageError(
                f"--from {source} is not a list of ids: it is not UTF-8 text"
            ) from exc
    if not found:
        raise click.UsageError("no ids: name them, or give --from FILE (- is standard input)")
    checked(provider, *found)
    return list(dict.fromkeys(found))


def in_batches(
    receiver: Receiver,
    provider: str,
    ids: list[str],
    operation: Callable[[Caller, Sequence[str]], AsyncIterator[dict[str, str]]],
) -> list[dict[str, str]]:
    """Run an operation over ids in batches, with a bar; return the answer to each id."""
    rows: list[dict[str, str]] = []
    with counting_bar(provider) as bar:
        task = bar.add_task("", total=len(ids))

        async def all_of_them() -> None:
            async with receiver.caller(provider) as caller:
                async for answers in operation(caller, ids):
                    rows.extend({"id": each, "answer": answers[each]} for each in answers)
                    bar.update(task, completed=len(rows))

        asyncio.run(all_of_them())
    return rows


def failed(rows: Sequence[Mapping[str, str]]) -> int:
    """Return the exit status for the answers to ids: 1 unless all of them are 20xxx."""
    return int(any(not row["answer"].startswith("20") for row in rows))


def print_reply(reply: Reply) -> None:
    """Print a provider's JSON answer."""
    try:
        print_json(orjson.loads(reply.content), indent=True)
    except orjson.JSONDecodeError as exc:
        raise ProviderError("the answer is too large to print; a sweep archives it") from exc

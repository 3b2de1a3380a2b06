"""What the providers' operations share: calls, ids, questions, and secrets kept off the screen."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from receiver import config, log
from receiver.cli.masking import Mask, json_text
from receiver.errors import ProviderError
from receiver.providers.conversation import Conversation, Reply
from receiver.reconciler.caller import Caller
from receiver.service.reconciling import caller_of

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def load_settings() -> config.Settings:
    """Return the settings, with logs sent to stderr."""
    settings = config.load()
    log.configure(
        form=settings.log_format, level="error", stream=sys.stderr, hide=Mask(settings).text
    )
    return settings


def hold(settings: config.Settings, provider: str, conversation: Conversation[T]) -> T:
    """Make the calls of one conversation."""

    async def once() -> T:
        async with caller_of(settings, provider) as caller:
            return await caller.hold(conversation)

    return run(settings, once())


def run(settings: config.Settings, calls: Coroutine[Any, Any, T]) -> T:
    """Make calls to a provider; what it says of those that fail is told without secrets."""
    try:
        return asyncio.run(calls)
    except ProviderError as exc:
        raise type(exc)(Mask(settings).text(str(exc))) from None


def masked(settings: config.Settings, rows: Rows) -> list[dict[str, Any]]:
    """Replace every secret in force by stars, wherever a provider repeats it."""
    text = Mask(settings).text(orjson.dumps(list(rows)).decode())
    masked: list[dict[str, Any]] = orjson.loads(text)
    return masked


def show(settings: config.Settings, row: Mapping[str, Any]) -> None:
    """Print one object, without secrets."""
    (hidden,) = masked(settings, [row])
    click.echo(json_text(orjson.dumps(hidden, option=orjson.OPT_INDENT_2)))


def confirm(what: str, *, yes: bool) -> None:
    """Ask before something that destroys or costs; ``what`` says what this does."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"this {what}: give --yes")
    click.confirm(f"This {what}. Go on?", abort=True)


def ids_of(ids: tuple[str, ...], source: Path | None) -> list[str]:
    """Return ids from arguments, a file, or standard input, each once and in order."""
    found = list(ids)
    if source is not None:
        content = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
        try:
            found.extend(content.decode().split())
        except UnicodeDecodeError as exc:
            raise click.UsageError(f"--from {source} is no list of ids: it is no text") from exc
    if not found:
        raise click.UsageError("no ids: name them, or give --from FILE (- is standard input)")
    return list(dict.fromkeys(found))


def in_batches(
    settings: config.Settings,
    provider: str,
    ids: list[str],
    operation: Callable[[Caller, Sequence[str]], AsyncIterator[dict[str, str]]],
) -> list[dict[str, str]]:
    """Run an operation over ids in batches, with progress; return what was said of each."""
    rows: list[dict[str, str]] = []
    with Progress(
        TextColumn(provider),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=len(ids))

        async def all_of_them() -> None:
            async with caller_of(settings, provider) as caller:
                async for said in operation(caller, ids):
                    rows.extend({"id": task_id, "answer": said[task_id]} for task_id in said)
                    bar.update(task, completed=len(rows))

        run(settings, all_of_them())
    return masked(settings, rows)


def ids_options(command: Any) -> Any:
    """Let a command take ids as arguments, from a file, or from standard input."""
    command = click.option(
        "--from",
        "source",
        type=click.Path(path_type=Path, allow_dash=True, exists=True, dir_okay=False),
        help="Read ids from a file, or - for standard input.",
    )(command)
    return click.argument("ids", nargs=-1, metavar="[ID]…")(command)


def failed(rows: Sequence[Mapping[str, str]]) -> int:
    """Return the exit status for what a provider said of each id."""
    return int(any(not row["answer"].startswith("20") for row in rows))


def show_reply(settings: config.Settings, reply: Reply) -> None:
    """Print a provider's JSON answer, without secrets."""
    try:
        show(settings, orjson.loads(reply.content))
    except orjson.JSONDecodeError as exc:
        raise ProviderError("the answer is too large to print; a sweep archives it") from exc

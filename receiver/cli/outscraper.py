"""`receiver outscraper`."""

from collections.abc import Callable
from datetime import UTC, datetime

import click
import orjson

from receiver.cli.asking import (
    confirm,
    hold,
    load_settings,
    masked,
    show,
    show_reply,
    yes_option,
)
from receiver.cli.output import output_option, print_rows
from receiver.providers import outscraper_api
from receiver.providers.conversation import Conversation, Reply


@click.group()
def outscraper() -> None:
    """Operations of Outscraper's tasks and requests."""


@outscraper.command("tasks")
@click.option(
    "--most",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@click.option("--tag", help="Only tasks with this tag.")
@output_option
def tasks(most: int, tag: str | None, output: str) -> None:
    """List tasks, the newest first.

    \b
    Examples:
      receiver outscraper tasks --most 20
    """
    settings = load_settings()
    found = hold(settings, "outscraper", outscraper_api.tasks(most=most, query=tag))
    if output == "json":
        print_rows(masked(settings, found), output=output, columns=())
        return
    columns = ("id", "status", "created", "updated")
    rows = [{column: row.get(column) for column in columns} for row in found]
    print_rows(masked(settings, rows), output=output, columns=columns)


def _outscraper_command(
    name: str,
    conversation: Callable[[str], Conversation[Reply]],
    help_text: str,
    *,
    asks: str | None = None,
) -> None:
    @click.argument("task_id", metavar="ID")
    def command(task_id: str, yes: bool = False) -> None:
        settings = load_settings()
        if asks is not None:
            confirm(asks.format(task_id=task_id), yes=yes)
        reply = hold(settings, "outscraper", conversation(task_id))
        answer = orjson.loads(reply.content)
        show(settings, answer if isinstance(answer, dict) else {"answer": answer})

    if asks is not None:
        command = yes_option(command)
    help_text = f"{help_text}\n\n\b\nExamples:\n  receiver outscraper {name} ID"
    outscraper.command(name, help=help_text)(command)


_outscraper_command("task", outscraper_api.task, "Print one task.")
_outscraper_command(
    "restart",
    outscraper_api.restart,
    "Run a task again; it costs again.",
    asks="runs {task_id} again, which costs again",
)
_outscraper_command(
    "terminate",
    outscraper_api.terminate,
    "Remove a task.",
    asks="removes the task {task_id} for good",
)


@outscraper.command("request", short_help="Print a request's result.")
@click.argument("request_id", metavar="ID")
def request(request_id: str) -> int:
    """Print a request's result; it is kept for four hours, then says Pending again.

    \b
    Examples:
      receiver outscraper request ID
    """
    settings = load_settings()
    fetched = hold(settings, "outscraper", outscraper_api.request(request_id))
    if fetched.reply.content:
        show_reply(settings, fetched.reply)
    if fetched.status != "Success":
        click.echo(f"receiver: {request_id}: {fetched.status}", err=True)
    return int(fetched.status != "Success")


@outscraper.command(
    "webhook-calls", short_help="List the failed webhook calls of the last 24 hours."
)
@output_option
def webhook_calls(output: str) -> None:
    """List the failed webhook calls of the last 24 hours; the API gives no ids.

    \b
    Examples:
      receiver outscraper webhook-calls
    """
    settings = load_settings()
    rows = [
        {
            "date": datetime.fromtimestamp(int(row.get("date") or 0), UTC).isoformat(),
            "status": row.get("status"),
        }
        for row in hold(settings, "outscraper", outscraper_api.webhook_calls())
    ]
    print_rows(masked(settings, rows), output=output, columns=("date", "status"))

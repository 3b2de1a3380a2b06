"""`receiver outscraper`."""

from collections.abc import Callable
from datetime import UTC, datetime

import click
import orjson

from receiver.cli.asking import confirm, yes_option
from receiver.cli.base import load
from receiver.cli.calling import checked, hold, print_reply
from receiver.cli.output import complain, output_option, print_json, print_rows
from receiver.providers import outscraper_api
from receiver.providers.conversation import Conversation, Reply


@click.group()
def outscraper() -> None:
    """List and control tasks and requests at Outscraper."""


@outscraper.command("tasks")
@click.option(
    "--most",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Maximum number of tasks.",
)
@click.option("--tag", help="Only tasks with this tag.")
@output_option
def tasks(most: int, tag: str | None, output: str) -> None:
    """List tasks, newest first.

    \b
    Examples:
      receiver outscraper tasks --most 20
    """
    found = hold(load(level="error"), "outscraper", outscraper_api.tasks(most=most, query=tag))
    if output == "json":
        print_rows(found, output=output, columns=())
        return
    columns = ("id", "status", "created", "updated")
    rows = [{column: row.get(column) for column in columns} for row in found]
    print_rows(rows, output=output, columns=columns)


def _add_command(
    name: str,
    conversation: Callable[[str], Conversation[Reply]],
    help_text: str,
    *,
    asks: str | None = None,
) -> None:
    @click.argument("task_id", metavar="ID")
    def command(task_id: str, yes: bool = False) -> None:
        checked("outscraper", task_id)
        receiver = load(level="error")
        if asks is not None:
            confirm(asks.format(task_id=task_id), yes=yes)
        reply = hold(receiver, "outscraper", conversation(task_id))
        answer = orjson.loads(reply.content)
        print_json(answer if isinstance(answer, dict) else {"answer": answer}, indent=True)

    if asks is not None:
        command = yes_option(command)
    help_text = f"{help_text}\n\n\b\nExamples:\n  receiver outscraper {name} ID"
    outscraper.command(name, help=help_text)(command)


_add_command("task", outscraper_api.task, "Print one task.")
_add_command(
    "restart",
    outscraper_api.restart,
    "Run a task again, at full cost.",
    asks="runs {task_id} again, at full cost",
)
_add_command(
    "terminate",
    outscraper_api.terminate,
    "Remove a task.",
    asks="removes the task {task_id} for good",
)


@outscraper.command("request", short_help="Print a request's result.")
@click.argument("request_id", metavar="ID")
def request(request_id: str) -> int:
    """Print a request's result, which Outscraper keeps for four hours.

    After that the request is Pending again.  Exit status 1 if there is no result.

    \b
    Examples:
      receiver outscraper request ID
    """
    checked("outscraper", request_id)
    fetched = hold(load(level="error"), "outscraper", outscraper_api.request(request_id))
    if fetched.reply.content:
        print_reply(fetched.reply)
    if fetched.status != "Success":
        complain(f"{request_id}: {fetched.status}")
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
    rows = [
        {
            "date": datetime.fromtimestamp(int(row.get("date") or 0), UTC).isoformat(),
            "status": row.get("status"),
        }
        for row in hold(load(level="error"), "outscraper", outscraper_api.webhook_calls())
    ]
    print_rows(rows, output=output, columns=("date", "status"))

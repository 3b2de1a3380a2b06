"""`receiver diffbot`."""

from collections.abc import Mapping

import click

from receiver.cli.asking import confirm, yes_option
from receiver.cli.base import load
from receiver.cli.calling import checked, hold
from receiver.cli.output import output_option, print_json, print_rows
from receiver.providers import diffbot_api


@click.group()
def diffbot() -> None:
    """List and control crawl and bulk jobs at Diffbot."""


@diffbot.command("jobs")
@output_option
def jobs(output: str) -> None:
    """List all crawl and bulk jobs.

    \b
    Examples:
      receiver diffbot jobs
      receiver diffbot jobs --output json
    """
    found = hold(load(level="error"), "diffbot", diffbot_api.jobs())
    if output == "json":
        print_rows(found, output=output, columns=())
        return
    rows = [
        {
            "name": job.get("name"),
            "type": job.get("type"),
            "status": (job.get("jobStatus") or {}).get("status"),
            "message": (job.get("jobStatus") or {}).get("message"),
            "rounds": job.get("roundsCompleted"),
            "objects": job.get("objectsFound"),
        }
        for job in found
    ]
    columns = ("name", "type", "status", "message", "rounds", "objects")
    print_rows(rows, output=output, columns=columns)


def _add_command(
    name: str, action: Mapping[str, str], help_text: str, *, asks: str | None = None
) -> None:
    @click.argument("job", metavar="NAME")
    def command(job: str, yes: bool = False) -> None:
        checked("diffbot", job)
        receiver = load(level="error")
        if asks is not None:
            confirm(asks.format(job=job), yes=yes)
        print_json(hold(receiver, "diffbot", diffbot_api.job(job, action=action)), indent=True)

    if asks is not None:
        command = yes_option(command)
    help_text = f"{help_text}\n\n\b\nExamples:\n  receiver diffbot {name} my-job"
    diffbot.command(name, help=help_text)(command)


_add_command("job", {}, "Print one job.")
_add_command("pause", diffbot_api.PAUSE, "Pause a job.")
_add_command("resume", diffbot_api.RESUME, "Resume a job.")
_add_command(
    "restart",
    diffbot_api.RESTART,
    "Erase a job's data and run it again, at full cost.",
    asks="erases the data of {job} and runs it again, at full cost",
)
_add_command(
    "delete",
    diffbot_api.DELETE,
    "Delete a job and its data.",
    asks="deletes the job {job} and its data for good",
)

"""`receiver diffbot`."""

from collections.abc import Mapping

import click

from receiver.cli.asking import confirm, hold, load_settings, masked, show, yes_option
from receiver.cli.output import output_option, print_rows
from receiver.providers import diffbot_api


@click.group()
def diffbot() -> None:
    """Operations of Diffbot's crawl and bulk jobs."""


@diffbot.command("jobs")
@output_option
def jobs(output: str) -> None:
    """List all crawl and bulk jobs.

    \b
    Examples:
      receiver diffbot jobs
      receiver diffbot jobs --output json
    """
    settings = load_settings()
    found = hold(settings, "diffbot", diffbot_api.jobs())
    if output == "json":
        print_rows(masked(settings, found), output=output, columns=())
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
    print_rows(masked(settings, rows), output=output, columns=columns)


def _diffbot_command(
    name: str, action: Mapping[str, str], help_text: str, *, asks: str | None = None
) -> None:
    @click.argument("job", metavar="NAME")
    def command(job: str, yes: bool = False) -> None:
        settings = load_settings()
        if asks is not None:
            confirm(asks.format(job=job), yes=yes)
        show(settings, hold(settings, "diffbot", diffbot_api.job(job, action=action)))

    if asks is not None:
        command = yes_option(command)
    help_text = f"{help_text}\n\n\b\nExamples:\n  receiver diffbot {name} my-job"
    diffbot.command(name, help=help_text)(command)


_diffbot_command("job", {}, "Print one job.")
_diffbot_command("pause", diffbot_api.PAUSE, "Pause a job.")
_diffbot_command("resume", diffbot_api.RESUME, "Resume a job.")
_diffbot_command(
    "restart",
    diffbot_api.RESTART,
    "Erase a job's data and begin it again; it costs again.",
    asks="erases the data of {job} and begins it again, which costs again",
)
_diffbot_command(
    "delete",
    diffbot_api.DELETE,
    "Delete a job and its data.",
    asks="deletes the job {job} and its data for good",
)

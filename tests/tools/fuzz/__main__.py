"""`python -m tests.tools.fuzz`: more requests than the tests have time for."""

import tempfile
from pathlib import Path

import click

from tests.tools.fuzz.campaign import SETTINGS, Campaign, Footprint, Report
from tests.tools.support.server import Receiver

_SHOWN = 20


@click.command(context_settings={"show_default": True})
@click.option("--requests", type=click.IntRange(1), default=100_000, help="How many, about.")
@click.option("--seed", type=int, default=1, help="Another seed, other requests.")
def main(requests: int, seed: int) -> None:
    """Send mutated requests to a receiver on loopback; exit with 1 if it does not stand them."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Receiver(Path(directory), SETTINGS) as receiver,
    ):
        receiver.start()
        report = Campaign(receiver, seed=seed, requests=requests).run()
    _print(report)
    raise SystemExit(bool(report.problems))


def _print(report: Report) -> None:
    classes = {status[0] + "xx": 0 for status in sorted(report.answers)}
    for status, count in report.answers.items():
        classes[status[0] + "xx"] += count
    click.echo(f"requests     {report.requests} on {report.connections} connections")
    click.echo(f"seconds      {report.seconds:.0f}")
    click.echo(f"answers      {classes} {dict(sorted(report.answers.items()))}")
    click.echo(f"connections  {dict(report.ends.most_common())}")
    click.echo(f"changes      {dict(report.changes.most_common())}")
    click.echo(f"archived     {report.archived}, {report.compared} compared with what was sent")
    for name, footprint in (("after warm-up", report.before), ("at the end", report.after)):
        click.echo(f"{name:<13}{_told(footprint)}")
    click.echo(f"problems     {len(report.problems)}")
    for problem in report.problems[:_SHOWN]:
        click.echo(f"  {problem}")


def _told(footprint: Footprint | None) -> str:
    assert footprint is not None
    servers, parent = footprint.servers_bytes >> 20, footprint.parent_bytes >> 20
    files = f"{footprint.open_files} open files in processes {footprint.processes}"
    return f"server process {servers} MiB, parent {parent} MiB, {files}"


if __name__ == "__main__":
    main()

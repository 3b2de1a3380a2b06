"""`python -m tests.tools.fuzz`: more requests than the tests have time for."""

import tempfile
from pathlib import Path

import click

from tests.tools.fuzz import amplification, hostile_bucket, odd_text
from tests.tools.fuzz.campaign import SETTINGS, Campaign, Footprint, Report
from tests.tools.support.server import Receiver

_SHOWN = 20


_FAMILIES = ("requests", "odd-text", "hostile-bucket", "amplification")


@click.command(context_settings={"show_default": True})
@click.option("--family", type=click.Choice(_FAMILIES), default="requests", help="What to send.")
@click.option("--requests", type=click.IntRange(1), default=100_000, help="How many, about.")
@click.option("--seed", type=int, default=1, help="Another seed, other requests.")
@click.option(
    "--number", type=click.IntRange(0), help="Only the one of this number; not for `requests`."
)
def main(family: str, requests: int, seed: int, number: int | None) -> None:
    """Attack a receiver on loopback, or its archive; exit with 1 if it does not stand it.

    \b
    requests        mutated HTTP requests
    odd-text        text that strict parsers refuse, in all that providers send
    hostile-bucket  archives that somebody has changed, read by every command
    amplification   small inputs that could cost much memory, disk or time
    """
    click.echo(f"seed         {seed}")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        if family == "requests":
            problems = _requests(root, seed, requests)
        else:
            problems = _family(family, root, seed, requests, number)
    click.echo(f"problems     {len(problems)}")
    for problem in problems[:_SHOWN]:
        click.echo(f"  {problem}")
    raise SystemExit(bool(problems))


def _requests(root: Path, seed: int, requests: int) -> list[str]:
    with Receiver(root, SETTINGS) as receiver:
        receiver.start()
        report = Campaign(receiver, seed=seed, requests=requests).run()
    _print(report)
    return report.problems


def _family(family: str, root: Path, seed: int, requests: int, number: int | None) -> list[str]:
    if family == "hostile-bucket":
        return hostile_bucket.problems(root, seed=seed, requests=requests, number=number)
    if family == "amplification":
        costs = amplification.costs(root, number=number)
        for cost in costs:
            click.echo(str(cost))
        return [problem for cost in costs for problem in cost.problems]
    with Receiver(root, SETTINGS) as receiver:
        receiver.start()
        return odd_text.problems(receiver, seed=seed, requests=requests, number=number)


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


def _told(footprint: Footprint | None) -> str:
    assert footprint is not None
    servers, parent = footprint.servers_bytes >> 20, footprint.parent_bytes >> 20
    files = f"{footprint.open_files} open files in processes {footprint.processes}"
    return f"server process {servers} MiB, parent {parent} MiB, {files}"


if __name__ == "__main__":
    main()

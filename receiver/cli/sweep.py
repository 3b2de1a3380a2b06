"""`receiver sweep`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from receiver.cli.bars import counting_bar
from receiver.cli.base import load
from receiver.cli.output import complain, output_option, print_json, print_rows
from receiver.errors import LeaseHeld, LeaseLost, ProviderError, SettingsError, SpoolUnavailable
from receiver.instance import APIS, Receiver
from receiver.providers import PROVIDERS
from receiver.reconciler import SweepRun, run_sweep

_COLUMNS = ("provider", "listed", "foreign", "young", "held", "outcomes", "alarms")
_REPAIRS = ("provider", "task_id", "tag", "outcome", "missing_seconds", "why", "how", "detail")


@click.command()
@click.argument("providers", nargs=-1, type=click.Choice(list(PROVIDERS)), metavar="[PROVIDER]…")
@click.option("--dry-run", is_flag=True, help="Print what would be fetched, and fetch nothing.")
@output_option
def sweep(providers: tuple[str, ...], dry_run: bool, output: str) -> int:
    """Fetch the results that the providers have finished and the archive lacks, once.

    Sweeps all providers whose API credentials are set, unless some are named.  Exit status 1 if a
    result could not be fetched, or another instance is sweeping.

    \b
    Examples:
      receiver sweep --dry-run
      receiver sweep dataforseo --output json
    """
    for provider in providers:
        if provider not in APIS:
            raise click.UsageError(f"nothing to sweep for {provider}: receiver knows no API of it")
    receiver = load(level="error")
    chosen = tuple(dict.fromkeys(providers)) or tuple(receiver.configured)
    if not chosen:
        raise SettingsError("no provider's API credentials are set; `receiver config` lists them")
    _ = receiver.store  # a wrong archive is one error, not one for each provider
    # A provider that is down stops neither the others nor the shipping of what was fetched.
    status = max(_status(receiver, provider, dry_run, output) for provider in chosen)
    if not dry_run:
        receiver.shipper.ship(receiver.settings.spool)
    return status


def _status(receiver: Receiver, provider: str, dry_run: bool, output: str) -> int:
    try:
        return int(_sweep(receiver, provider, dry_run, output))
    except (ProviderError, SpoolUnavailable, LeaseLost) as exc:
        complain(f"{provider}: {str(exc).removeprefix(f'{provider}: ')}")
        return exc.exit_status


def _sweep(receiver: Receiver, provider: str, dry_run: bool, output: str) -> bool:
    """Sweep one provider and print its report; return whether something failed."""
    with counting_bar(provider) as bar:
        task = bar.add_task("", total=None)

        def progress(*, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        async def once() -> tuple[SweepRun, Any]:
            run = receiver.sweep_run(provider, dry_run=dry_run, progress=progress)
            return run, await run_sweep(receiver.sweep(provider), run)

        try:
            run, summary = asyncio.run(once())
        except LeaseHeld as exc:
            complain(f"{provider}: another instance is sweeping: {exc}")
            return True
    rows = [asdict(repair) for repair in run.report.repairs]
    _print(rows, asdict(summary), output)
    return bool(summary.failed)


def _print(repairs: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], output: str) -> None:
    if output == "json":
        for repair in repairs:
            print_json({"type": "task", **repair})
        print_json({"type": "summary", **summary})
        return
    if repairs:
        print_rows(repairs, output=output, columns=_REPAIRS)
        click.echo()
    outcomes = " ".join(f"{count} {name}" for name, count in summary["outcomes"].items())
    alarms = "; ".join(summary["alarms"])
    row = {**summary, "outcomes": outcomes or "nothing to do", "alarms": alarms}
    print_rows([row], output=output, columns=_COLUMNS)

"""`receiver sweep`."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from receiver import config, log
from receiver.cli.masking import Mask
from receiver.cli.output import complain, output_option, print_json, print_rows
from receiver.errors import LeaseHeld, LeaseLost, ProviderError, SettingsError, SpoolUnavailable
from receiver.providers import PROVIDERS
from receiver.reconciler import SweepRun, run_sweep
from receiver.service import reconciling
from receiver.service.apis import APIS
from receiver.service.parts import shipper_of, store_of
from receiver.store import Store

_COLUMNS = ("provider", "listed", "foreign", "young", "held", "outcomes", "alarms")
_REPAIRS = ("provider", "task_id", "tag", "outcome", "missing_seconds", "why", "how", "detail")


@click.command(short_help="Fetch what the providers finished and the archive lacks.")
@click.argument("providers", nargs=-1, type=click.Choice(list(PROVIDERS)), metavar="[PROVIDER]…")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched; collect nothing.")
@output_option
def sweep(providers: tuple[str, ...], dry_run: bool, output: str) -> int:
    """Fetch what the providers finished and the archive lacks; all that are configured by default.

    \b
    Examples:
      receiver sweep --dry-run
      receiver sweep dataforseo --output json
    """
    for provider in providers:
        if provider not in APIS:
            raise click.UsageError(f"nothing to sweep for {provider}: receiver knows no API of it")
    settings = config.load()
    log.configure(
        form=settings.log_format, level="error", stream=sys.stderr, hide=Mask(settings).text
    )
    chosen = tuple(dict.fromkeys(providers)) or tuple(reconciling.configured(settings))
    if not chosen:
        raise SettingsError("no provider's API credentials are set; `receiver config` lists them")
    store = store_of(settings)
    # A provider that is down does not stop the others, nor the shipping of what was fetched.
    status = max(_status(settings, store, provider, dry_run, output) for provider in chosen)
    if not dry_run:
        shipper_of(settings, store).ship(settings.spool)
    return status


def _status(
    settings: config.Settings, store: Store, provider: str, dry_run: bool, output: str
) -> int:
    try:
        return int(_sweep(settings, store, provider, dry_run, output))
    except (ProviderError, SpoolUnavailable, LeaseLost) as exc:
        text = str(exc).removeprefix(f"{provider}: ")
        complain(f"{provider}: {Mask(settings).text(text)}")
        return exc.exit_status


def _sweep(
    settings: config.Settings, store: Store, provider: str, dry_run: bool, output: str
) -> bool:
    with Progress(
        TextColumn(provider),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=None)

        def progress(*, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        async def once() -> tuple[SweepRun, Any]:
            run = reconciling.sweep_run_of(
                settings, provider, store, dry_run=dry_run, progress=progress
            )
            return run, await run_sweep(reconciling.sweep_of(settings, provider), run)

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

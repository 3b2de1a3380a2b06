"""`receiver replay` and `receiver jobs`."""

import asyncio
import functools
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import uvloop

from receiver.catalog import Catalog
from receiver.catalog.filters import Filters, Shard, read_shard
from receiver.cli.asking import confirm, yes_option
from receiver.cli.base import load
from receiver.cli.lookup import LIMIT, check_archive, filter_options, synced
from receiver.cli.output import complain, output_option, print_json, print_rows
from receiver.cli.selecting import Asked, begin, lacking, selected
from receiver.cli.sending import SendingBar, send_options
from receiver.instance import Receiver
from receiver.replay import Form, Job, ReplaySummary, Selection, Sender, job, replay

# More callbacks than this are sent only after confirmation.
ASK_ABOVE = 1000
# How long an answer is assumed to take, for the estimate of a plan.
_ANSWER_SECONDS = 0.02
_FAILED_COLUMNS = ("delivery_id", "attempts", "why")


class _Part(click.ParamType[Shard]):
    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        if isinstance(value, Shard):
            return value
        try:
            return read_shard(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


@click.command("replay")
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--to", "url", required=True, metavar="URL", help="URL to send them to.")
@filter_options
@click.option("--limit", type=LIMIT, help="Maximum number of callbacks, in the given order.")
@click.option(
    "--latest", is_flag=True, help="Only the newest, if possible valid, delivery of each key."
)
@click.option(
    "--order",
    type=click.Choice(["arrival", "newest", "object"]),
    default="arrival",
    show_default=True,
    help="By arrival, newest first, or as stored in the archive (fewest requests).",
)
@click.option("--shard", type=_Part(), help="Only one of N parts of the keys: I/N, with I from 0.")
@send_options
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Attempts per callback before giving up.",
)
@click.option("--job", "job_name", metavar="NAME", help="Record outcomes in a job, and resume it.")
@click.option("--failed-of", metavar="NAME", help="Send the callbacks that failed in this job.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@yes_option
@output_option
def command(
    ids: tuple[str, ...],
    url: str,
    job_name: str | None,
    failed_of: str | None,
    dry_run: bool,
    yes: bool,
    output: str,
    **given: Any,
) -> int:
    """Send archived callbacks to a URL again, selected by delivery or task ids, or by filters.

    Method, query, body and content type are those of the callback; Standard Webhooks headers
    identify it, and sign it if RECEIVER_REPLAY_SECRET is set.  The URL may hold {provider}, {kind}
    and {path}.  Callbacks of one task are sent in order, one at a time.  Asks for confirmation
    above 1000 callbacks.  With --job, run the same command again to send only callbacks that are
    not confirmed yet.  Exit status 1 if a callback failed, an id is not in the archive, or nothing
    is found.

    \b
    Examples:
      receiver replay --to http://127.0.0.1:9000/hook --tag run-42 --dry-run
      receiver replay --to https://example.com/hook --since 2h --latest --rate 200 --job run-42
      receiver replay --to https://example.com/hook --failed-of run-42
      receiver replay --to https://example.com/hook --since 7d --shard $JOB_COMPLETION_INDEX/8 \\
          --job part-$JOB_COMPLETION_INDEX --yes
    """
    receiver = load()
    sending = {name: given.pop(name) for name in ("rate", "concurrency", "gzip", "attempts")}
    form = receiver.form(url, gzip=sending["gzip"])
    check_archive(receiver.store)
    jobs = receiver.settings.jobs
    asked = Asked(url=url, ids=ids, failed_of=failed_of, given=given)
    with ExitStack() as stack:
        opened = _opened(stack, jobs, job_name, failed_of)
        selection = selected(asked, jobs, opened)
        catalog = synced(receiver, Filters(since_us=selection.since_us))
        plan = _plan(selection, catalog, opened, sending)
        found = plan["callbacks"] + plan["confirmed_before"]
        lacks = lacking(selection, catalog, found=found)
        if lacks:
            complain(lacks)
        if dry_run:
            print_rows([{**plan, "target": form.origin}], output=output, columns=(*plan, "target"))
            return int(bool(lacks))
        if lacks and not found:
            return 1
        if plan["callbacks"] > ASK_ABOVE:
            confirm(f"sends {plan['callbacks']} callbacks to {form.origin}", yes=yes)
        if opened is not None:
            begin(asked, selection, opened)
        run = functools.partial(_send, receiver, selection, form, sending, opened)
        return max(int(bool(lacks)), _print_outcome(run, plan["callbacks"], output))


def _opened(
    stack: ExitStack, jobs: Path, job_name: str | None, failed_of: str | None
) -> Job | None:
    """Open the job to record outcomes in, if any; what failed in a job is recorded there again."""
    if job_name is not None:
        return stack.enter_context(Job(jobs, job_name))
    if failed_of is not None:
        job.check_exists(jobs, failed_of)
        return stack.enter_context(Job(jobs, failed_of))
    return None


def _plan(
    selection: Selection, catalog: Catalog, opened: Job | None, sending: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how much there is to send, and an estimate of how long it takes."""
    size = selection.size(catalog)
    left = size.callbacks
    if opened is not None and selection.ids:
        left = sum(1 for _ in opened.unconfirmed(selection.entries(catalog)))
    elif opened is not None:
        left = max(0, left - opened.counts().confirmed)
    rate = sending["concurrency"] / _ANSWER_SECONDS
    if sending["rate"] is not None:
        rate = min(rate, sending["rate"])
    return {
        "callbacks": left,
        "confirmed_before": size.callbacks - left,
        "bytes": size.bytes,
        "estimated_seconds": round(left / rate, 1),
    }


def _send(
    receiver: Receiver,
    selection: Selection,
    form: Form,
    sending: Mapping[str, Any],
    opened: Job | None,
    summary: ReplaySummary,
    bar: SendingBar,
) -> None:
    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with receiver.target(connections=sending["concurrency"]) as target:
            sender = Sender(
                target,
                signer=receiver.signer,
                concurrency=sending["concurrency"],
                rate=sending["rate"],
                attempts_max=sending["attempts"],
            )
            await replay(
                functools.partial(selection.entries, receiver.catalog),
                store=receiver.store,
                form=form,
                sender=sender,
                summary=summary,
                job=opened,
                progress=bar,
            )

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())
    except asyncio.CancelledError:
        raise click.Abort from None


def _print_outcome(run: Any, total: int, output: str) -> int:
    """Run a replay and print its outcome, also when it ends early."""
    summary = ReplaySummary()
    with SendingBar("replay", total=total) as bar:
        try:
            run(summary, bar)
        finally:
            bar.stop()
            _print(summary, bar, output)
    return int(bool(summary.failed))


def _print(summary: ReplaySummary, bar: SendingBar, output: str) -> None:
    rate = round(summary.confirmed / summary.seconds, 1) if summary.seconds else 0.0
    row = {**asdict(summary), "callbacks_per_second": rate}
    if output == "json":
        for failed in bar.failed:
            print_json({"type": "failed", **failed})
        print_json({"type": "summary", **row})
        return
    if bar.failed:
        print_rows(bar.failed, output=output, columns=_FAILED_COLUMNS)
        click.echo()
    print_rows([row], output=output, columns=tuple(row))
    unlisted = summary.failed - len(bar.failed)
    if unlisted:
        click.echo(f"{unlisted} more failed; with --job NAME, `receiver jobs NAME` lists all")


@click.command("jobs")
@click.argument("name", required=False)
@output_option
def jobs(name: str | None, output: str) -> int:
    """List the jobs of `replay`, or the callbacks that failed in one of them.

    For one job, exit status 1 if callbacks failed.

    \b
    Examples:
      receiver jobs
      receiver jobs run-42 --output json
    """
    directory = load(level="error").settings.jobs
    if name is not None:
        _, _, failed = job.look(directory, name)
        rows = [{n: v for n, v in asdict(each).items() if n != "confirmed"} for each in failed]
        print_rows(rows, output=output, columns=_FAILED_COLUMNS)
        return int(bool(rows))
    listed = []
    for known in job.names(directory):
        what, counts, _ = job.look(directory, known)
        listed.append({"job": known, "begun_at": what.get("begun_at"), **asdict(counts)})
    print_rows(listed, output=output, columns=("job", "begun_at", "confirmed", "failed"))
    return 0

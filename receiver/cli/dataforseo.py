"""`receiver dataforseo` and `receiver dataforapps`: the same operations for both brands."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from receiver.cli.asking import confirm, yes_option
from receiver.cli.base import load
from receiver.cli.calling import (
    checked,
    failed,
    hold,
    ids_options,
    in_batches,
    print_reply,
    read_ids,
)
from receiver.cli.output import complain, counted, output_option, print_rows
from receiver.providers import dataforseo_api
from receiver.reconciler import operations


def _group(provider: str, brand: str) -> click.Group:
    group = click.Group(provider, help=f"List and control tasks at {brand}.")
    for add in (
        _add_status,
        _add_tasks_ready,
        _add_task,
        _add_errors,
        _add_resend,
        _add_force_stop,
    ):
        add(group, provider)
    return group


def _add_status(group: click.Group, provider: str) -> None:
    @group.command("status", short_help="Print the state of each API and endpoint.")
    @output_option
    def status(output: str) -> int:
        """Print the state of each API and endpoint, problems first.

        DataForSEO allows ten calls per minute.  Exit status 1 if an API is not ok.

        \b
        Examples:
          receiver dataforseo status
          receiver dataforseo status --output json
        """
        receiver = load(level="error")
        rows = [
            {"api": row.get("api"), "endpoint": end.get("endpoint"), "status": end.get("status")}
            for row in hold(receiver, provider, dataforseo_api.status())
            for end in (
                {"endpoint": "", "status": row.get("status")},
                *(row.get("endpoints") or ()),
            )
        ]
        rows.sort(key=lambda row: row["status"] == "ok")
        print_rows(rows, output=output, columns=("api", "endpoint", "status"))
        return int(any(row["status"] != "ok" for row in rows))


def _add_tasks_ready(group: click.Group, provider: str) -> None:
    @group.command("tasks-ready", short_help="List finished tasks that were not collected.")
    @click.argument("family", required=False)
    @output_option
    def tasks_ready(family: str | None, output: str) -> None:
        """List finished tasks that were not collected, of one family or of all that are swept.

        \b
        Examples:
          receiver dataforseo tasks-ready serp
          receiver dataforseo tasks-ready keywords_data/google_ads/search_volume
        """
        receiver = load(level="error")
        families = [family] if family else getattr(receiver.settings, f"{provider}_families")
        rows = [
            {
                "family": name,
                "id": task.task_id,
                "tag": task.tag,
                "date_posted": task.posted_at,
                "path": task.endpoints[task.best()],
            }
            for name in families
            for task in hold(receiver, provider, dataforseo_api.tasks_ready(name)).tasks
        ]
        columns = ("family", "id", "tag", "date_posted", "path")
        print_rows(rows, output=output, columns=columns)


def _add_task(group: click.Group, provider: str) -> None:
    @group.command("task")
    @click.argument("task_id", metavar="ID")
    @click.option("--function", help="The API function of the task, such as serp/google/organic.")
    @click.option("--datatype", help="regular, advanced, html or json, if there are several.")
    def task(task_id: str, function: str | None, datatype: str | None) -> int:
        """Collect a task and print the answer.  Collecting takes the task off tasks_ready.

        Exit status 1 if the task is not finished.

        \b
        Examples:
          receiver dataforseo task ID --function serp/google/organic --datatype advanced
          receiver dataforseo task ID              # looks for it in the lists of finished tasks
        """
        checked(provider, task_id)
        receiver = load(level="error")

        async def collect() -> dataforseo_api.Collected:
            async with receiver.caller(provider) as caller:
                if function is None:
                    families = getattr(receiver.settings, f"{provider}_families")
                    path = await operations.find_path(caller, families, task_id)
                else:
                    parts = ["/v3", function.strip("/"), "task_get", datatype, task_id]
                    path = "/".join(part for part in parts if part)
                return await caller.hold(dataforseo_api.task_get(path))

        collected = asyncio.run(collect())
        print_reply(collected.reply)
        if collected.state != "done":
            complain(f"{task_id}: {collected.detail}")
        return int(collected.state != "done")


def _add_errors(group: click.Group, provider: str) -> None:
    @group.command("errors", short_help="List failed calls, such as failed deliveries.")
    @click.option("--api", "name", default=None, help="One API, such as serp.")
    @click.option(
        "--function",
        default="postback_url",
        show_default=True,
        help="Only errors of this function.",
    )
    @click.option(
        "--hours",
        type=click.IntRange(1, 167),
        default=24,
        show_default=True,
        help="Errors of the last hours.",
    )
    @output_option
    def errors(name: str | None, function: str, hours: int, output: str) -> None:
        """List failed calls; those of postback_url and pingback_url are failed deliveries.

        \b
        Examples:
          receiver dataforseo errors
          receiver dataforseo errors --api serp --function pingback_url --hours 167
        """
        receiver = load(level="error")
        families = getattr(receiver.settings, f"{provider}_families")
        names = [name] if name else list(dict.fromkeys(f.partition("/")[0] for f in families))
        now = datetime.now(UTC)
        # Clocks differ, and the provider refuses times that are a second outside its window.
        span = (now - timedelta(hours=hours) + timedelta(minutes=5), now + timedelta(minutes=5))
        since, until = map(dataforseo_api.write_time, span)
        rows = [
            row
            for api in names
            for row in hold(
                receiver, provider, dataforseo_api.errors(api, function, since=since, until=until)
            )
        ]
        columns = ("id", "datetime", "function", "http_code", "http_time", "http_response")
        filled = [{column: None for column in columns} | dict(row) for row in rows]
        print_rows(filled, output=output, columns=columns)


def _add_resend(group: click.Group, provider: str) -> None:
    @group.command("resend", short_help="Have the webhooks of tasks sent again, free of charge.")
    @ids_options
    @output_option
    def resend(ids: tuple[str, ...], source: Path | None, output: str) -> int:
        """Have the webhooks of tasks sent again, 100 tasks per call, free of charge.

        Exit status 1 if the provider refuses a task.

        \b
        Examples:
          receiver dataforseo resend ID ID
          receiver dataforseo errors --output json | jq -r .id | receiver dataforseo resend --from -
        """
        receiver = load(level="error")
        rows = in_batches(
            receiver, provider, read_ids(provider, ids, source), operations.webhook_resend
        )
        print_rows(rows, output=output, columns=("id", "answer"))
        return failed(rows)


def _add_force_stop(group: click.Group, provider: str) -> None:
    @group.command("force-stop", short_help="Stop OnPage crawls.")
    @ids_options
    @yes_option
    @output_option
    def force_stop(ids: tuple[str, ...], source: Path | None, yes: bool, output: str) -> int:
        """Stop OnPage crawls, 1000 per call; the pages crawled so far remain available.

        Exit status 1 if the provider refuses a task.

        \b
        Examples:
          receiver dataforseo force-stop ID
          receiver dataforseo force-stop --from ids.txt --yes
        """
        receiver = load(level="error")
        wanted = read_ids(provider, ids, source)
        confirm(f"stops {counted(len(wanted), 'crawl')} for good", yes=yes)
        rows = in_batches(receiver, provider, wanted, operations.force_stop)
        print_rows(rows, output=output, columns=("id", "answer"))
        return failed(rows)


dataforseo = _group("dataforseo", "DataForSEO")
dataforapps = _group("dataforapps", "DataForApps")

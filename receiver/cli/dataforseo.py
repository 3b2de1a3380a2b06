"""`receiver dataforseo` and `receiver dataforapps`: one set of operations for both brands."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from receiver.cli.asking import (
    confirm,
    failed,
    hold,
    ids_of,
    ids_options,
    in_batches,
    load_settings,
    masked,
    run,
    show_reply,
    yes_option,
)
from receiver.cli.masking import Mask
from receiver.cli.output import complain, counted, output_option, print_rows
from receiver.providers import dataforseo_api
from receiver.reconciler import operations
from receiver.service.reconciling import caller_of


def _group(provider: str, brand: str) -> click.Group:
    group = click.Group(provider, help=f"Operations of {brand}'s API v3.")
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
        """Print the state of each API and endpoint, problems first; at most 10 a minute.

        \b
        Examples:
          receiver dataforseo status
          receiver dataforseo status --output json
        """
        settings = load_settings()
        rows = [
            {"api": row.get("api"), "endpoint": end.get("endpoint"), "status": end.get("status")}
            for row in hold(settings, provider, dataforseo_api.status())
            for end in (
                {"endpoint": "", "status": row.get("status")},
                *(row.get("endpoints") or ()),
            )
        ]
        rows.sort(key=lambda row: row["status"] == "ok")
        print_rows(masked(settings, rows), output=output, columns=("api", "endpoint", "status"))
        return int(any(row["status"] != "ok" for row in rows))


def _add_tasks_ready(group: click.Group, provider: str) -> None:
    @group.command("tasks-ready", short_help="List finished tasks that nobody collected.")
    @click.argument("family", required=False)
    @output_option
    def tasks_ready(family: str | None, output: str) -> None:
        """List finished tasks that nobody collected, of one family or of all that are swept.

        \b
        Examples:
          receiver dataforseo tasks-ready serp
          receiver dataforseo tasks-ready keywords_data/google_ads/search_volume
        """
        settings = load_settings()
        families = [family] if family else getattr(settings, f"{provider}_families")
        rows = [
            {
                "family": name,
                "id": task.task_id,
                "tag": task.tag,
                "date_posted": task.posted_at,
                "path": task.endpoints[task.best()],
            }
            for name in families
            for task in hold(settings, provider, dataforseo_api.tasks_ready(name)).tasks
        ]
        columns = ("family", "id", "tag", "date_posted", "path")
        print_rows(masked(settings, rows), output=output, columns=columns)


def _add_task(group: click.Group, provider: str) -> None:
    @group.command("task")
    @click.argument("task_id", metavar="ID")
    @click.option("--function", help="Where it belongs, such as serp/google/organic.")
    @click.option("--datatype", help="regular, advanced, html or json, where there are several.")
    def task(task_id: str, function: str | None, datatype: str | None) -> int:
        """Collect a task and print its answer.  Collecting takes it off tasks_ready.

        \b
        Examples:
          receiver dataforseo task ID --function serp/google/organic --datatype advanced
          receiver dataforseo task ID              # looks for it in the lists of finished tasks
        """
        settings = load_settings()

        async def collect() -> dataforseo_api.Collected:
            async with caller_of(settings, provider) as caller:
                if function is None:
                    families = getattr(settings, f"{provider}_families")
                    path = await operations.find_path(caller, families, task_id)
                else:
                    parts = ["/v3", function.strip("/"), "task_get", datatype, task_id]
                    path = "/".join(part for part in parts if part)
                return await caller.hold(dataforseo_api.task_get(path))

        collected = run(settings, collect())
        show_reply(settings, collected.reply)
        if collected.state != "done":
            complain(Mask(settings).text(f"{task_id}: {collected.detail}"))
        return int(collected.state != "done")


def _add_errors(group: click.Group, provider: str) -> None:
    @group.command("errors", short_help="List failed calls, such as deliveries that failed.")
    @click.option("--api", "name", default=None, help="One API, such as serp.")
    @click.option(
        "--function", default="postback_url", show_default=True, help="Only this function's errors."
    )
    @click.option(
        "--hours",
        type=click.IntRange(1, 167),
        default=24,
        show_default=True,
        help="Those of so many hours up to now.",
    )
    @output_option
    def errors(name: str | None, function: str, hours: int, output: str) -> None:
        """List failed calls: with postback_url and pingback_url, deliveries that failed.

        \b
        Examples:
          receiver dataforseo errors
          receiver dataforseo errors --api serp --function pingback_url --hours 167
        """
        settings = load_settings()
        families = getattr(settings, f"{provider}_families")
        names = [name] if name else list(dict.fromkeys(f.partition("/")[0] for f in families))
        now = datetime.now(UTC)
        # Clocks differ, and the provider refuses what is a second older than its window.
        span = (now - timedelta(hours=hours) + timedelta(minutes=5), now + timedelta(minutes=5))
        since, until = map(dataforseo_api.write_time, span)
        rows = [
            row
            for api in names
            for row in hold(
                settings, provider, dataforseo_api.errors(api, function, since=since, until=until)
            )
        ]
        columns = ("id", "datetime", "function", "http_code", "http_time", "http_response")
        filled = [{column: None for column in columns} | dict(row) for row in rows]
        print_rows(masked(settings, filled), output=output, columns=columns)


def _add_resend(group: click.Group, provider: str) -> None:
    @group.command("resend", short_help="Ask for the webhooks of tasks again; free of charge.")
    @ids_options
    @output_option
    def resend(ids: tuple[str, ...], source: Path | None, output: str) -> int:
        """Ask for the webhooks of tasks again, 100 a call; free of charge.

        \b
        Examples:
          receiver dataforseo resend ID ID
          receiver dataforseo errors --output json | jq -r .id | receiver dataforseo resend --from -
        """
        settings = load_settings()
        rows = in_batches(settings, provider, ids_of(ids, source), operations.webhook_resend)
        print_rows(rows, output=output, columns=("id", "answer"))
        return failed(rows)


def _add_force_stop(group: click.Group, provider: str) -> None:
    @group.command("force-stop", short_help="Stop OnPage crawls.")
    @ids_options
    @yes_option
    @output_option
    def force_stop(ids: tuple[str, ...], source: Path | None, yes: bool, output: str) -> int:
        """Stop OnPage crawls, 1000 a call; pages crawled so far stay readable.

        \b
        Examples:
          receiver dataforseo force-stop ID
          receiver dataforseo force-stop --from ids.txt --yes
        """
        settings = load_settings()
        wanted = ids_of(ids, source)
        confirm(f"stops {counted(len(wanted), 'crawl')} for good", yes=yes)
        rows = in_batches(settings, provider, wanted, operations.force_stop)
        print_rows(rows, output=output, columns=("id", "answer"))
        return failed(rows)


dataforseo = _group("dataforseo", "DataForSEO")
dataforapps = _group("dataforapps", "DataForApps")

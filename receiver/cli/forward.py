"""`receiver forward`."""

import asyncio
import io
import signal
import sys
from typing import Any

import click
import uvloop
from rich.console import Console

from receiver import config, log
from receiver.cli.masking import Mask
from receiver.cli.moment import Instant, Moment
from receiver.cli.sending import send_options
from receiver.errors import SettingsError
from receiver.loop import repeat
from receiver.service.forwarding import ASK_SECONDS, NAME, Forwarding
from receiver.service.parts import store_of

_SHOW_SECONDS = 1.0


@click.command(short_help="Send callbacks to a URL as they reach the archive.")
@click.option("--to", "url", metavar="URL", help="Where to send them; RECEIVER_FORWARD_URL if not.")
@click.option(
    "--since", type=Moment(), help="Where a new name begins: RFC 3339, a date, or an age; now."
)
@click.option(
    "--name", default=NAME, show_default=True, help="Each name has a position and a lease."
)
@send_options
def forward(
    url: str | None,
    since: Instant | None,
    name: str,
    rate: float | None,
    concurrency: int,
    gzip: bool,
) -> int:
    """Send callbacks to a URL as they reach the archive, until interrupted; at least once.

    The position is kept in the bucket, so any machine goes on where another stopped; of several,
    one works and the others stand by.  A target that is down is waited for.

    \b
    Examples:
      receiver forward --to http://127.0.0.1:9000/hook
      receiver forward --to https://example.com/hook --since 2h --name example
    """
    settings = config.load()
    log.queue_standard_streams()  # the line of progress, too, must not wait for a terminal
    log.configure(
        form=settings.log_format,
        level=settings.log_level,
        stream=sys.stderr,
        hide=Mask(settings).text,
    )
    if url is None:
        if settings.forward_url is None:
            raise SettingsError("give --to URL, or set RECEIVER_FORWARD_URL")
        url = settings.forward_url.get_secret_value()
    source = click.get_current_context().get_parameter_source("concurrency")
    if source is not click.core.ParameterSource.DEFAULT:
        settings = settings.model_copy(update={"forward_concurrency": concurrency})
    settings = settings.model_copy(update={"forward_gzip": gzip or settings.forward_gzip})
    forwarding = Forwarding(
        settings,
        store_of(settings),
        url=url,
        name=name,
        since_us=None if since is None else since.us,
        rate=rate,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        interrupted, status = runner.run(_forward(settings, forwarding))
    click.echo(_said(status), err=True)
    return 130 if interrupted else 0


async def _forward(
    settings: config.Settings, forwarding: Forwarding
) -> tuple[bool, dict[str, Any]]:
    """Forward until a signal comes; return whether it was Ctrl-C, and how far it was then."""
    stop = asyncio.Event()
    signals: list[signal.Signals] = []

    def stopped(number: signal.Signals) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped, number)
    repeating = asyncio.create_task(
        repeat(
            "forward",
            forwarding.run,
            interval_seconds=ASK_SECONDS,
            retry_seconds_max=settings.retry_seconds_max,
            stop=stop,
        )
    )
    showing = asyncio.create_task(_show(forwarding))
    await stop.wait()
    status = forwarding.status()
    showing.cancel()
    repeating.cancel()
    await asyncio.wait((repeating, showing))
    # What was under way then has come to its end.
    counts = forwarding.status()
    status |= {name: counts[name] for name in ("confirmed", "failed")}
    return signals[0] is signal.SIGINT, status


async def _show(forwarding: Forwarding) -> None:
    """Keep a line on the terminal that says how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    with console.status("") as line, log.redirected(_Above(console)):
        while True:
            line.update(_said(forwarding.status()))
            await asyncio.sleep(_SHOW_SECONDS)


class _Above(io.TextIOBase):
    """Takes what is to stand above the line on a terminal, which stays the last one."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str, /) -> int:
        self._console.print(text, end="", soft_wrap=True, markup=False, highlight=False)
        return len(text)


def _said(status: dict[str, Any]) -> str:
    state = "forwarding" if status["active"] else (status["held_by"] or "not forwarding")
    counts = f"{status['confirmed']} confirmed, {status['failed']} failed"
    return f"{state} to {status['target']}: {counts}, {status['lag_seconds']:.1f} s behind"

"""`receiver forward`."""

import asyncio
import io
import signal
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.text import Text

from receiver import log
from receiver.cli.base import load
from receiver.cli.moment import Instant, Moment
from receiver.cli.output import one_line
from receiver.cli.sending import send_options
from receiver.errors import SettingsError
from receiver.service.forwarding import ASK_SECONDS, DEFAULT_NAME, Forwarding
from receiver.service.loop import Passes

_SHOW_SECONDS = 1.0


@click.command()
@click.option(
    "--to", "url", metavar="URL", help="URL to send them to; by default RECEIVER_FORWARD_URL."
)
@click.option(
    "--since",
    type=Moment(),
    help="Where a new name begins: RFC 3339, a date, or an age (2h); by default now.",
)
@click.option(
    "--name",
    default=DEFAULT_NAME,
    show_default=True,
    help="Name of the forwarding; each has its own position and lease.",
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
    """Send callbacks to a URL as they reach the archive, until interrupted.

    Each callback is sent at least once.  The position is kept in the archive, so any machine can
    continue where another stopped; if several run, one forwards and the others stand by.  While
    the target is down, forwarding waits.

    \b
    Examples:
      receiver forward --to http://127.0.0.1:9000/hook
      receiver forward --to https://example.com/hook --since 2h --name example
    """
    source = click.get_current_context().get_parameter_source("concurrency")
    asked = source is not click.core.ParameterSource.DEFAULT
    log.queue_standard_streams()  # the progress line must not wait for a terminal, either
    receiver = load(
        level=None,
        forward_url=url,
        forward_concurrency=concurrency if asked else None,
        forward_gzip=gzip or None,
    )
    if receiver.settings.forward_url is None:
        raise SettingsError("give --to URL, or set RECEIVER_FORWARD_URL")
    forwarding = Forwarding(
        receiver, name=name, since_us=None if since is None else since.us, rate=rate
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        interrupted, status = runner.run(
            _forward(forwarding, retry_seconds_max=receiver.settings.retry_seconds_max)
        )
    click.echo(_summary(status), err=True)
    return 130 if interrupted else 0


async def _forward(
    forwarding: Forwarding, *, retry_seconds_max: float
) -> tuple[bool, dict[str, Any]]:
    """Forward until a signal comes; return whether it was Ctrl-C, and the status at that time."""
    stop = asyncio.Event()
    signals: list[signal.Signals] = []

    def stopped(number: signal.Signals) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped, number)
    repeating = asyncio.create_task(
        Passes().repeat(
            "forward",
            forwarding.run,
            interval_seconds=ASK_SECONDS,
            retry_seconds_max=retry_seconds_max,
            stop=stop,
        )
    )
    showing = asyncio.create_task(_show(forwarding))
    await stop.wait()
    status = forwarding.status()
    showing.cancel()
    repeating.cancel()
    await asyncio.wait((repeating, showing))
    # By now the requests in flight are settled.
    counts = forwarding.status()
    status |= {name: counts[name] for name in ("confirmed", "failed")}
    return signals[0] is signal.SIGINT, status


async def _show(forwarding: Forwarding) -> None:
    """Keep a line with the status at the bottom of the terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    with console.status("") as line, log.redirected(_Above(console)):
        while True:
            # Text, because a name in brackets would be markup.
            line.update(Text(_summary(forwarding.status())))
            await asyncio.sleep(_SHOW_SECONDS)


class _Above(io.TextIOBase):
    """Prints above the status line, which stays the last one on the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str, /) -> int:
        self._console.print(text, end="", soft_wrap=True, markup=False, highlight=False)
        return len(text)


def _summary(status: dict[str, Any]) -> str:
    state = "forwarding" if status["active"] else (status["held_by"] or "not forwarding")
    counts = f"{status['confirmed']} confirmed, {status['failed']} failed"
    # The lease, and so its owner's name, is read from the bucket.
    return one_line(
        f"{state} to {status['target']}: {counts}, {status['lag_seconds']:.1f} s behind"
    )

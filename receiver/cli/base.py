"""The beginning of every command: reads the settings, and sets up logging and masking."""

import sys
from typing import Any

import click

from receiver import config, log
from receiver.cli.output import mask_with
from receiver.instance import Receiver


def load(*, level: str | None = "warning", **given: Any) -> Receiver:
    """Return the receiver of this environment; ``given`` settings take precedence over it.

    Logs go to stderr, from ``level`` on, which is `RECEIVER_LOG_LEVEL` if None.  Neither they nor
    what the command prints shows a secret.  Raises `SettingsError`.
    """
    receiver = masked(config.load(**given))
    settings = receiver.settings
    log.configure(
        form=settings.log_format,
        level=level or settings.log_level,
        stream=sys.stderr,
        hide=receiver.masker.text,
    )
    return receiver


def load_service(settings: config.Settings) -> Receiver:
    """Return the receiver of a command that runs until it is stopped.

    Logs go to stdout.  If stdout and stderr are not read, that stops nothing.
    """
    from receiver import metrics

    receiver = masked(settings)
    log.queue_standard_streams()
    log.configure(
        form=settings.log_format,
        level=settings.log_level,
        hide=receiver.masker.text,
        dropped=metrics.log_dropped.inc,
        queue_bytes_max=int(settings.log_queue_bytes_max),
    )
    return receiver


def masked(settings: config.Settings) -> Receiver:
    """Return the receiver of these settings; its secrets are masked in all that is printed."""
    receiver = Receiver(settings)
    mask_with(receiver.masker)
    return receiver


def check_spool(settings: config.Settings) -> None:
    """Raise `click.UsageError` if there is no spool."""
    if not settings.spool.is_dir():
        raise click.UsageError(f"there is no spool at {settings.spool}")

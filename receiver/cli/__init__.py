"""The command `receiver`: one file for each group of commands.

Exit status: 0 done, 1 some items failed, 2 usage, 3 settings, 4 store or provider unreachable,
130 interrupted.
"""

import importlib
import os
import sys
from typing import Any

import click

from receiver.errors import ReceiverError

# Command, the module that has it, and its name there; imported only when it is asked for.
_COMMANDS = {
    "serve": ("serve", "serve"),
    "server-process": ("serve", "server_process"),
    "ship": ("ship", "ship"),
    "drain": ("ship", "drain"),
    "urls": ("settings", "urls"),
    "config": ("settings", "show_config"),
    "check": ("settings", "check"),
    "sweep": ("sweep", "sweep"),
    "audit": ("audit", "audit"),
    "find": ("find", "find"),
    "show": ("show", "show"),
    "export": ("export", "export"),
    "replay": ("replay", "command"),
    "jobs": ("replay", "jobs"),
    "forward": ("forward", "forward"),
    "verify": ("verify", "verify"),
    "spool": ("spool", "spool"),
    "dataforseo": ("dataforseo", "dataforseo"),
    "dataforapps": ("dataforseo", "dataforapps"),
    "diffbot": ("diffbot", "diffbot"),
    "outscraper": ("outscraper", "outscraper"),
}
_HIDDEN = {"server-process"}


class _Commands(click.Group):
    """Finds a command's module by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if name not in _HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"receiver.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            click.echo(nl=False)  # flushes, also where there is no stdout
        except BrokenPipeError:
            # The reader of a pipe has seen enough.  What is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from receiver import __version__

        click.echo(f"receiver {__version__}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Take callbacks of data providers, keep them on disk, and move them to S3.

    Settings are environment variables RECEIVER_…; `receiver config` lists them.
    """


def main() -> None:
    """Run the command and exit with its status."""
    try:
        status = cli(standalone_mode=False)
    except ReceiverError as exc:
        from receiver.cli.output import complain

        complain(str(exc))
        sys.exit(exc.exit_status)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("receiver: interrupted", err=True)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)

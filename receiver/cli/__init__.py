"""The command `receiver`: one file for each group of commands.

Exit status: 0 done, 1 some failed or nothing found, 2 usage, 3 settings, 4 the store, a provider
or the target cannot be reached, 130 interrupted.
"""

import codecs
import errno
import importlib
import io
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
# How writing fails.  Files of ours are named when it does.
_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN}


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
            # The reader of a pipe has seen enough.
            _give_up_stdout()
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
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Take callbacks of data providers, keep them on disk, and move them to S3.

    Settings are environment variables RECEIVER_…; `receiver config` lists them.
    """
    from receiver.log import plain

    if plain():
        ctx.color = False


def main() -> None:
    """Run the command and exit with its status."""
    _open_streams()
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
    except UnicodeEncodeError:
        click.echo("receiver: an argument is no UTF-8", err=True)
        sys.exit(2)
    except OSError as exc:
        from receiver.cli.output import complain

        complain(_told(exc))
        sys.exit(3 if isinstance(exc, PermissionError) else 1)
    sys.exit(status if isinstance(status, int) else 0)


def _open_streams() -> None:
    """Make standard streams of what is given: some may be closed, or know few characters."""
    # No file of ours may get the number of a stream that is closed: processes inherit those.
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    codecs.register_error("receiver.escape", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="receiver.escape")


def _escaped(exc: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a stream does not know; JSON stays JSON."""
    assert isinstance(exc, UnicodeEncodeError)
    units = exc.object[exc.start : exc.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), exc.end


def _told(exc: OSError) -> str:
    why = exc.strerror or str(exc)
    if exc.filename is not None:
        return f"cannot read {exc.filename}: {why}"
    if exc.errno in _WRITING:
        _give_up_stdout()
        return f"cannot write standard output: {why}"
    return why


def _give_up_stdout() -> None:
    """Have what is still buffered go nowhere, or the interpreter fails by it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

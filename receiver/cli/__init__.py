"""The command `receiver`: one file for each command or group of commands.

Exit status: 0 done, 1 some items failed or nothing was found, 2 usage, 3 settings or credentials,
4 store, provider or target cannot be reached, 130 interrupted.
"""

import codecs
import errno
import importlib
import io
import os
import sys
from typing import Any, NamedTuple

import click

from receiver.errors import ReceiverError


class _Listed(NamedTuple):
    """A command in the list: the module that has it, its name there, and what it does."""

    module: str
    name: str
    help: str


# A command's module is imported only when the command is run: some take half a second.
_COMMANDS = {
    "serve": _Listed("serve", "serve", "Take callbacks and ship them to the archive."),
    "ship": _Listed("ship", "ship", "Ship what is in the spool, once or until stopped."),
    "drain": _Listed("ship", "drain", "Empty a spool whose receiver is gone."),
    "urls": _Listed("settings", "urls", "Print the URLs to register with each provider."),
    "config": _Listed("settings", "show_config", "Print the settings in force."),
    "check": _Listed("check", "check", "Check what the receiver needs, and how to fix it."),
    "sweep": _Listed("sweep", "sweep", "Fetch results that the archive lacks."),
    "audit": _Listed("audit", "audit", "Compare the provider's list of tasks with the archive."),
    "find": _Listed("find", "find", "Find callbacks in the archive and the spool."),
    "show": _Listed("show", "show", "Print one callback."),
    "export": _Listed("export", "export", "Write callbacks as JSON Lines."),
    "replay": _Listed("replay", "command", "Send archived callbacks to a URL again."),
    "jobs": _Listed("replay", "jobs", "List the jobs of `replay`, or failures in one."),
    "forward": _Listed("forward", "forward", "Send callbacks to a URL as they are archived."),
    "verify": _Listed("verify", "verify", "Check that the archive holds what its index names."),
    "spool": _Listed("spool", "spool", "Look into a spool."),
    "dataforseo": _Listed("dataforseo", "dataforseo", "List and control tasks at DataForSEO."),
    "dataforapps": _Listed("dataforseo", "dataforapps", "List and control tasks at DataForApps."),
    "diffbot": _Listed("diffbot", "diffbot", "List and control jobs at Diffbot."),
    "outscraper": _Listed("outscraper", "outscraper", "List and control tasks at Outscraper."),
}
_HIDDEN = {"server-process": _Listed("serve", "server_process", "")}
# Errors of writing.  Files that the receiver opens itself are named in the error.
_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN}


class _Commands(click.Group):
    """Finds a command's module by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        listed = _COMMANDS.get(cmd_name) or _HIDDEN.get(cmd_name)
        if listed is None:
            return None
        command = getattr(importlib.import_module(f"receiver.cli.{listed.module}"), listed.name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, listed.help) for name, listed in _COMMANDS.items()])

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
        click.echo("receiver: an argument is not UTF-8", err=True)
        sys.exit(2)
    except OSError as exc:
        from receiver.cli.output import complain

        complain(_explain(exc))
        sys.exit(3 if isinstance(exc, PermissionError) else 1)
    sys.exit(status if isinstance(status, int) else 0)


def _open_streams() -> None:
    """Open standard streams that are closed, and let stdout escape what it cannot encode."""
    # No file of the receiver's may get the number of a closed stream: processes inherit those.
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
    """Return escapes for characters that a stream cannot encode, so that JSON stays JSON."""
    assert isinstance(exc, UnicodeEncodeError)
    units = exc.object[exc.start : exc.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), exc.end


def _explain(exc: OSError) -> str:
    why = exc.strerror or str(exc)
    if exc.filename is not None:
        return f"cannot read {exc.filename}: {why}"
    if exc.errno in _WRITING:
        _give_up_stdout()
        return f"cannot write standard output: {why}"
    return why


def _give_up_stdout() -> None:
    """Send what is still buffered nowhere, or the interpreter fails to write it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What `serve` prints once it serves: where it listens, and on a terminal what to try first."""

import functools
import logging
import shlex
import shutil
import sys
from pathlib import Path

from receiver import log
from receiver.instance import Receiver

_BODY = '{"tasks":[{"id":"task-1"}]}'


def announce(receiver: Receiver, *, base: str, admin_base: str, welcome: bool) -> None:
    """Print where this instance listens; in JSON one record each, at every level.

    Where people read the log, a first screen follows: what to try and how to stop.  With
    ``welcome`` it holds a callback to send, and the token in its URL, which must be one that was
    made here: what an operator has set is shown nowhere.
    """
    log.announce(f"admin on {admin_base}")
    log.announce(f"listening on {base}")
    if log.form() != "json" and logging.getLogger().isEnabledFor(logging.INFO):
        # Not through the log, which masks the token.
        sys.stdout.write(_first_screen(receiver, _url(receiver, base) if welcome else None))


def _url(receiver: Receiver, base: str) -> str:
    """Return the URL of a first callback."""
    url = next(url["url"] for url in receiver.urls(base) if url["kind"] == "postback")
    return url.replace("$id", "task-1").replace("$tag", "try")


def _first_screen(receiver: Receiver, url: str | None) -> str:
    """Return at most 13 lines, most of which fit into 80 columns."""
    settings, command = receiver.settings, program()
    watched = log.form() == "terminal"
    bold = functools.partial(log.painted, colour=log.BOLD) if watched and not log.plain() else str
    later = f"on disk, and {settings.batch_seconds:g} s later in {settings.archive}"
    public = "" if settings.public_url else "RECEIVER_PUBLIC_URL=https://hooks.example.net "
    if url is None:
        first = f"A callback that is answered 200 is {later}. To find the newest:"
        commands = [(first, f"{command} find --limit 10")]
    else:
        commands = [
            ("Send a first callback from another terminal:", f"curl -d '{_BODY}' '{url}'"),
            (f"Once answered it is {later}. To find it:", f"{command} find --task-id task-1"),
        ]
    commands += [("To print the URLs to register with the providers:", f"{public}{command} urls")]
    lines = [f"{what}\n  {bold(line)}\n" for what, line in commands]
    end = "Callbacks are shown below as they come; Ctrl-C stops the receiver.\n" if watched else ""
    return "\n".join(["", *lines, end])


def program() -> str:
    """Return the command of this program as its user can type it."""
    started = sys.argv[0]
    name = Path(started).name
    if name == "__main__.py" and "-m" in sys.orig_argv:
        return shlex.join(sys.orig_argv[: sys.orig_argv.index("-m") + 2])
    found = shutil.which(name)
    is_on_path = found is not None and Path(found).absolute() == Path(started).absolute()
    return shlex.quote(name if is_on_path else started)

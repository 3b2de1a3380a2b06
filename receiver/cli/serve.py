"""`receiver serve`."""

import socket

import click

from receiver import config, log
from receiver.cli.masking import Mask
from receiver.errors import ReceiverError


@click.command(short_help="Take callbacks and ship them to the archive, until stopped.")
@click.option("--host", help="Address to listen on (RECEIVER_HOST).")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one (RECEIVER_PORT).")
@click.option("--workers", type=int, help="Server processes (RECEIVER_WORKERS).")
def serve(host: str | None, port: int | None, workers: int | None) -> int:
    """Take callbacks and ship them to the archive, until SIGTERM or Ctrl-C.

    \b
    Examples:
      receiver serve                                  # on loopback, archive in data/archive
      RECEIVER_ARCHIVE=s3://bucket/callbacks RECEIVER_TOKENS_FILE=/run/secrets/tokens \\
          receiver serve --host 0.0.0.0 --workers 4
    """
    settings = config.load(host=host, port=port, workers=workers)
    _print_without_waiting(settings)
    from receiver.service import parent

    return parent.serve(settings)


@click.command(hidden=True)
@click.argument("listener", type=int)
@click.argument("channel", type=int)
def server_process(listener: int, channel: int) -> None:
    """Run one of the server processes of `serve`, on sockets inherited from it."""
    to_parent = socket.socket(fileno=channel)
    settings = config.restore(_first_line(to_parent))
    _print_without_waiting(settings)
    from receiver.service import server

    server.run(settings, listener=socket.socket(fileno=listener), channel=to_parent)


def _print_without_waiting(settings: config.Settings) -> None:
    """Put log, stdout and stderr on the queue: whoever does not read them stops nothing."""
    from receiver import metrics

    log.queue_standard_streams()
    log.configure(
        form=settings.log_format,
        level=settings.log_level,
        hide=Mask(settings).text,
        dropped=metrics.log_dropped.inc,
    )


def _first_line(channel: socket.socket) -> bytes:
    """Read up to the first newline and not a byte more: what follows is for the server."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            raise ReceiverError("the parent is gone")
        line += byte
    return bytes(line)

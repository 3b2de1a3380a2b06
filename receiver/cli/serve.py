"""`receiver serve`."""

import socket

import click

from receiver import config
from receiver.cli.base import load_service
from receiver.errors import ReceiverError


@click.command()
@click.option("--host", help="Address to listen on (RECEIVER_HOST).")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one (RECEIVER_PORT).")
@click.option("--workers", type=int, help="Server processes (RECEIVER_WORKERS).")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Take callbacks and ship them to the archive, until SIGTERM or Ctrl-C.

    While the archive is down it retries with pauses; SIGUSR1 ends a pause at once.

    \b
    Examples:
      receiver serve                                  # on loopback, archive in data/archive
      RECEIVER_ARCHIVE=s3://bucket/callbacks RECEIVER_TOKENS_FILE=/run/secrets/tokens \\
          receiver serve --host 0.0.0.0 --workers 4
    """
    receiver = load_service(config.load(host=host, port=port, workers=workers))
    from receiver.service import parent

    parent.serve(receiver)


@click.command(hidden=True)
@click.argument("listener", type=int)
@click.argument("channel", type=int)
def server_process(listener: int, channel: int) -> None:
    """Run one of the server processes of `serve`, on sockets inherited from it."""
    to_parent = socket.socket(fileno=channel)
    receiver = load_service(config.restore(_first_line(to_parent)))
    from receiver.service import server

    server.run(receiver, listener=socket.socket(fileno=listener), channel=to_parent)


def _first_line(channel: socket.socket) -> bytes:
    """Read up to the first newline and not a byte more: what follows is for the server."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            raise ReceiverError("the parent is gone")
        line += byte
    return bytes(line)

"""`receiver show`."""

import base64
import sys
from collections.abc import Iterator
from typing import Any

import click
import orjson
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from receiver import clock, log
from receiver.archive import reading, schema
from receiver.archive.reading import Callback
from receiver.catalog.filters import Filters
from receiver.cli.base import load
from receiver.cli.lookup import check_archive, in_spool, synced
from receiver.cli.output import binary_stdout, json_text, one_line, printable
from receiver.errors import ReceiverError
from receiver.instance import Receiver
from receiver.masking import Masker

# A body up to this size is formatted; of a longer one a terminal shows the beginning.
_PRETTY_BYTES = 8 << 20
_COLOURED_BYTES = 1 << 20
_BEGINNING_BYTES = 64 << 10
_HEAD = ("method", "target", "headers")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--raw", is_flag=True, help="Write only the body, byte for byte, with secrets.")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Print for people, or as the line in the archive.",
)
def show(identifier: str, raw: bool, output: str) -> None:
    """Print one callback, by its delivery id, or the newest callback of a task.

    Secrets in force and headers that hold credentials are masked.  A JSON body is printed
    formatted; --raw writes its exact bytes.

    \b
    Examples:
      receiver show 01a1ffe2-9af7-7876-bde4-fce4249227b4
      receiver show 08141207-1535-0066-0000-5b1f0c9a7e21 --raw | jq .tasks[0].result
    """
    if raw and output == "json":
        raise click.UsageError("give --raw or --output json, not both")
    receiver = load()
    callback = _one(receiver, identifier)
    if raw:
        file = binary_stdout()
        for step in callback.body():
            file.write(step)
    elif output == "json":
        click.echo(_line(receiver.masker, callback))
    else:
        _print(receiver.masker, callback)


def _one(receiver: Receiver, identifier: str) -> Callback:
    """Return a delivery, or the newest one of a task."""
    identifier = identifier.strip()
    found = None
    if clock.is_id(identifier.lower()):
        at_us = clock.id_time_us(identifier)
        within = Filters(since_us=at_us, until_us=at_us + 1000)
        found = _newest(receiver, within, delivery_id=identifier.lower())
    found = found or _newest(receiver, Filters(task_id=identifier))
    if found is None:
        check_archive(receiver.store)
        raise ReceiverError(f"{identifier} is neither in the archive nor in this machine's spool")
    return found


def _newest(
    receiver: Receiver, filters: Filters, *, delivery_id: str | None = None
) -> Callback | None:
    # The spool first: what is shipped between the two looks is seen twice, not never.
    newest: Callback | None = None
    for callback in in_spool(receiver, filters):
        if delivery_id in (None, callback.columns["delivery_id"]) and (
            newest is None or _order(newest.columns) < _order(callback.columns)
        ):
            newest = callback
    for entry in synced(receiver, filters).find(filters, order="newest"):
        if delivery_id in (None, entry.delivery_id):
            if newest and _order(newest.columns) > (entry.received_at, entry.delivery_id):
                break
            return reading.callback(receiver.store, entry)
    return newest


def _order(columns: dict[str, Any]) -> tuple[str, str]:
    return columns["received_at"], columns["delivery_id"]


def _line(masker: Masker, callback: Callback) -> str:
    """Return the line of a callback in the archive, without secrets, and where it is."""
    content = b"".join(callback.body())
    shown = callback.columns | _body(masker, content, is_text=callback.is_text)
    shown["headers"] = masker.headers(shown["headers"])
    return json_text(orjson.dumps(masker.value(shown | {"where": callback.where})))


def _body(masker: Masker, content: bytes, *, is_text: bool) -> dict[str, str]:
    if is_text:
        return {schema.BODY: masker.text(content.decode())}
    # Latin-1 maps each byte to one character, and back.
    hidden = masker.text(content.decode("latin-1")).encode("latin-1")
    return {schema.BODY_BASE64: base64.b64encode(hidden).decode()}


def _print(masker: Masker, callback: Callback) -> None:
    columns = callback.columns
    facts = {"where": callback.where, **columns}
    width = max(map(len, facts))
    for name, value in facts.items():
        if name not in _HEAD and value is not None:
            text = one_line(masker.text(str(value)))
            click.echo(f"{click.style(name.ljust(width), dim=True)}  {text}")
    click.echo()
    request = f"{columns['method']} {masker.text(columns['target'])}"
    click.secho(one_line(request), bold=True)
    for name, value in masker.headers(columns["headers"]):
        click.echo(f"{click.style(one_line(name) + ':', fg='cyan')} {one_line(value)}")
    _print_body(masker, callback)


def _print_body(masker: Masker, callback: Callback) -> None:
    size = callback.columns["body_bytes"]
    if not size:
        return
    click.echo()
    if not callback.is_text:
        click.echo(f"({size} bytes that are not text; --raw writes them)")
        return
    if size > _PRETTY_BYTES:
        _print_long(masker, callback)
        return
    text = b"".join(callback.body()).decode()
    try:
        pretty = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        click.echo(printable(masker.text(text)))
        return
    _print_json(printable(masker.text(pretty)))


def _print_long(masker: Masker, callback: Callback) -> None:
    if not sys.stdout.isatty():
        click.echo(printable(masker.text(b"".join(callback.body()).decode())))
        return
    click.echo(printable(masker.text(_beginning(callback.body()))))
    click.echo(f"({callback.columns['body_bytes']} bytes in all; --raw writes them)")


def _beginning(steps: Iterator[bytes]) -> str:
    held = b""
    for step in steps:
        held += step
        if len(held) >= _BEGINNING_BYTES:
            break
    return held[:_BEGINNING_BYTES].decode(errors="ignore")


def _print_json(text: str) -> None:
    console = Console()
    if log.plain() or not console.is_terminal or len(text) > _COLOURED_BYTES:
        click.echo(text)
        return
    coloured: Text = Syntax("", "json", theme="ansi_dark", background_color="default").highlight(
        text
    )
    console.print(coloured, soft_wrap=True, end="")

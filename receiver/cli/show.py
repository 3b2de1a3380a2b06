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

from receiver import clock, config, log
from receiver.archive import reading, schema
from receiver.archive.reading import Callback
from receiver.catalog.filters import Filters
from receiver.cli.find import check_archive, in_spool, load, synced
from receiver.cli.masking import Mask, json_text, one_line, printable
from receiver.cli.output import binary_stdout
from receiver.errors import ReceiverError
from receiver.service.parts import store_of
from receiver.store import Store

# Up to this size a body is put in good order; of a longer one a terminal sees the beginning.
_PRETTY_BYTES = 8 << 20
_COLOURED_BYTES = 1 << 20
_BEGINNING_BYTES = 64 << 10
_HEAD = ("method", "target", "headers")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the body alone, byte for byte, unmasked.")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print: for people, or its line of the archive.",
)
def show(identifier: str, raw: bool, output: str) -> None:
    """Print one callback: by delivery id, or the newest of a task.

    Secrets in force are masked, and header values that are credentials.  A body is printed in
    good order if it is JSON; --raw gives what it really is.

    \b
    Examples:
      receiver show 01a1ffe2-9af7-7876-bde4-fce4249227b4
      receiver show 08141207-1535-0066-0000-5b1f0c9a7e21 --raw | jq .tasks[0].result
    """
    if raw and output == "json":
        raise click.UsageError("give --raw or --output json, not both")
    settings = load()
    callback = _one(settings, store_of(settings), identifier)
    if raw:
        file = binary_stdout()
        for step in callback.body():
            file.write(step)
    elif output == "json":
        click.echo(_line(Mask(settings), callback))
    else:
        _print(Mask(settings), callback)


def _one(settings: config.Settings, store: Store, identifier: str) -> Callback:
    """Return a delivery, or the newest one of a task."""
    identifier = identifier.strip()
    found = None
    if clock.is_id(identifier.lower()):
        at_us = clock.id_time_us(identifier)
        within = Filters(since_us=at_us, until_us=at_us + 1000)
        found = _newest(settings, store, within, delivery_id=identifier.lower())
    found = found or _newest(settings, store, Filters(task_id=identifier))
    if found is None:
        check_archive(store)
        raise ReceiverError(f"{identifier} is neither in the archive nor in this machine's spool")
    return found


def _newest(
    settings: config.Settings, store: Store, filters: Filters, *, delivery_id: str | None = None
) -> Callback | None:
    # The spool first: what is shipped between the two looks is seen twice, not never.
    newest: Callback | None = None
    for callback in in_spool(settings, filters):
        if delivery_id in (None, callback.columns["delivery_id"]) and (
            newest is None or _order(newest.columns) < _order(callback.columns)
        ):
            newest = callback
    for entry in synced(settings, store, filters).find(filters, order="newest"):
        if delivery_id in (None, entry.delivery_id):
            if newest and _order(newest.columns) > (entry.received_at, entry.delivery_id):
                break
            return reading.callback(store, entry)
    return newest


def _order(columns: dict[str, Any]) -> tuple[str, str]:
    return columns["received_at"], columns["delivery_id"]


def _line(mask: Mask, callback: Callback) -> str:
    """Return its line of the archive without secrets, and where it is."""
    content = b"".join(callback.body())
    shown = callback.columns | _body(mask, content, is_text=callback.is_text)
    shown["target"] = mask.text(shown["target"])
    shown["headers"] = mask.headers(shown["headers"])
    return json_text(orjson.dumps(shown | {"where": callback.where}))


def _body(mask: Mask, content: bytes, *, is_text: bool) -> dict[str, str]:
    if is_text:
        return {schema.BODY: mask.text(content.decode())}
    # Each byte a character, and back.
    hidden = mask.text(content.decode("latin-1")).encode("latin-1")
    return {schema.BODY_BASE64: base64.b64encode(hidden).decode()}


def _print(mask: Mask, callback: Callback) -> None:
    columns = callback.columns
    facts = {"where": callback.where, **columns}
    width = max(map(len, facts))
    for name, value in facts.items():
        if name not in _HEAD and value is not None:
            text = one_line(mask.text(str(value)))
            click.echo(f"{click.style(name.ljust(width), dim=True)}  {text}")
    click.echo()
    request = f"{columns['method']} {mask.text(columns['target'])}"
    click.secho(one_line(request), bold=True)
    for name, value in mask.headers(columns["headers"]):
        click.echo(f"{click.style(one_line(name) + ':', fg='cyan')} {one_line(value)}")
    _print_body(mask, callback)


def _print_body(mask: Mask, callback: Callback) -> None:
    size = callback.columns["body_bytes"]
    if not size:
        return
    click.echo()
    if not callback.is_text:
        click.echo(f"({size} bytes that are no text; --raw writes them)")
        return
    if size > _PRETTY_BYTES:
        _print_long(mask, callback)
        return
    text = b"".join(callback.body()).decode()
    try:
        pretty = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        click.echo(printable(mask.text(text)))
        return
    _print_json(printable(mask.text(pretty)))


def _print_long(mask: Mask, callback: Callback) -> None:
    if not sys.stdout.isatty():
        click.echo(printable(mask.text(b"".join(callback.body()).decode())))
        return
    click.echo(printable(mask.text(_beginning(callback.body()))))
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

"""`receiver urls` and `receiver config`."""

import click
import orjson

from receiver import config
from receiver.cli.base import masked
from receiver.cli.output import json_text, output_option, print_rows
from receiver.config.types import shown
from receiver.instance import Receiver, new_token


@click.command()
@click.option("--new-token", "new", is_flag=True, help="Print a new token and nothing else.")
@output_option
def urls(new: bool, output: str) -> None:
    """Print the URLs to register with each provider, with their placeholders and the token.

    Quote them in a shell: the provider fills in $id and $tag.

    \b
    Examples:
      RECEIVER_PUBLIC_URL=https://hooks.example.net receiver urls
      receiver urls --new-token
    """
    if new:
        click.echo(new_token())
        return
    # Printed as they are: the token is part of what has to be registered.
    for url in Receiver(config.load()).urls():
        if output == "json":
            click.echo(json_text(orjson.dumps(url)))
        else:
            click.echo(f"{url['provider']:<11} {url['parameter']:<13} {url['url']}")


@click.command("config")
@output_option
def show_config(output: str) -> None:
    """Print the settings in force, with secrets masked.

    \b
    Examples:
      receiver config
      receiver config --output json
    """
    receiver = masked(config.load_known())
    rows = [
        {
            "variable": config.variable(name),
            "value": _tokens(receiver)
            if name == "tokens"
            else shown(getattr(receiver.settings, name)),
            "meaning": field.description,
        }
        for name, field in config.Settings.model_fields.items()
    ]
    print_rows(rows, output=output, columns=("variable", "value", "meaning"))
    # After the list, in which the right name can be found.
    config.refuse_unknown()


def _tokens(receiver: Receiver) -> str:
    """Return the tokens, masked, or where the token is kept that was made because none are set."""
    made = receiver.made_token
    try:
        in_force = not receiver.settings.tokens and made.exists()
    except OSError:
        in_force = False  # this user may not see it
    return f"*** (made, in {made})" if in_force else shown(receiver.settings.tokens)

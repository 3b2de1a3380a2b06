"""Asking before something that destroys or costs."""

import sys

import click

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether to go on; ``what`` completes the sentence "This …".

    Raises `click.Abort` if the answer is no, and `click.UsageError` if there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"this {what}: give --yes")
    click.confirm(f"This {what}. Go on?", abort=True)

"""What a start prints once it serves: where it listens, and what to try without any account."""

import sys

from receiver.instance import Receiver

_EXAMPLE = '{"status_code":20000,"tasks":[{"id":"task-1","status_code":20000}]}'


def announce(receiver: Receiver, *, base: str, admin_base: str, welcome: bool) -> None:
    """Print to stdout; with ``welcome`` also the URLs to register, and a first callback."""
    if welcome:
        _print(_welcome(receiver, base))
    _print(f"admin on {admin_base}")
    _print(f"listening on {base}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _welcome(receiver: Receiver, base: str) -> str:
    urls = receiver.urls(base)
    postback = next(url["url"] for url in urls if url["kind"] == "postback")
    example = postback.replace("$id", "task-1").replace("$tag", "try")
    return "\n".join(
        [
            "URLs to register:",
            *(f"  {url['provider']:<11} {url['parameter']:<13} {url['url']}" for url in urls),
            "Try it:",
            f"  curl -d '{_EXAMPLE}' '{example}'",
        ]
    )

"""Runs a simulator with work in it: ``python -m tests.tools.simulators dataforseo``."""

import argparse
import signal
from collections.abc import Callable

from tests.tools.simulators.dataforseo import DataForSeo
from tests.tools.simulators.dataforseo import Settings as DataForSeoSettings
from tests.tools.simulators.diffbot import Diffbot
from tests.tools.simulators.outscraper import Outscraper
from tests.tools.simulators.server import Simulator


def main() -> None:
    """Serve until interrupted or terminated."""
    arguments = _parser().parse_args()
    # Blocked before any thread begins, so that none of them takes what the end waits for.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    simulator = _STARTS[arguments.provider](arguments)
    with simulator:
        # Said first and flushed, so that a program that starts this one can read it.
        print(f"{arguments.provider} on {simulator.url}", flush=True)
        _SHOW[arguments.provider](simulator, arguments)
        print("serving until interrupted", flush=True)
        signal.sigwait(ends)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.simulators", description=__doc__)
    parser.add_argument("provider", choices=tuple(_STARTS))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--tasks", type=int, default=3, help="finished pieces of work to begin with"
    )
    parser.add_argument("--login", default="login", help="DataForSEO, DataForApps")
    parser.add_argument("--password", default="password", help="DataForSEO, DataForApps")
    parser.add_argument("--token", default="token", help="Diffbot")
    parser.add_argument("--api-key", default="key", help="Outscraper")
    parser.add_argument("--finish-after", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--callback", metavar="URL", help="post work that calls back to this URL")
    parser.add_argument("--fail", metavar="FAULT", help="stopped, html, half_json, endless, …")
    parser.add_argument("--location", default="http://127.0.0.1:1/elsewhere", help="of a redirect")
    return parser


def _dataforseo(arguments: argparse.Namespace) -> Simulator:
    settings = DataForSeoSettings(
        login=arguments.login,
        password=arguments.password,
        finish_after_seconds=arguments.finish_after,
        errors_window_strict=False,
    )
    brand = arguments.provider
    return DataForSeo(brand, settings=settings, host=arguments.host, port=arguments.port)


def _fill_dataforseo(simulator: Simulator, arguments: argparse.Namespace) -> None:
    assert isinstance(simulator, DataForSeo)
    ready = simulator.add_ready("app_data/google/app_info", arguments.tasks, tag="demo", app_id="x")
    running: list[str] = []
    if simulator.brand == "dataforseo":
        ready += simulator.add_ready("serp/google/organic", arguments.tasks, tag="demo")
        ready += simulator.add_ready("serp/bing/organic", 1, tag="another-program")
        simulator.settings.finish_after_seconds = None
        running = simulator.post(
            "on_page",
            {"target": "example.org", "max_crawl_pages": 100, "tag": "demo"},
            {"target": "example.com", "max_crawl_pages": 50, "tag": "demo"},
        )
        simulator.settings.finish_after_seconds = arguments.finish_after
    simulator.status.set("app_data", "webhook_delay", endpoint="postback/pingback")
    simulator.status.set("merchant", "partial_outage")
    # A webhook that nobody takes: in the errors list, and its task in tasks_ready.
    url = arguments.callback or "http://127.0.0.1:1/dataforseo/postback/TOKEN?id=$id&tag=$tag"
    posted = {"app_id": "x", "postback_data": "advanced", "postback_url": url, "tag": "demo"}
    (called_back,) = simulator.post("app_data/google/app_info", posted)
    simulator.finish(called_back)
    simulator.wait_idle()
    print(f"login {arguments.login} password {arguments.password}")
    print("ready:", *ready, sep="\n  ")
    print("called back:", called_back, sep="\n  ")
    if running:
        print("crawls in progress:", *running, sep="\n  ")


def _diffbot(arguments: argparse.Namespace) -> Simulator:
    simulator = Diffbot(host=arguments.host, port=arguments.port)
    simulator.settings.tokens = (arguments.token,)
    return simulator


def _fill_diffbot(simulator: Simulator, arguments: argparse.Namespace) -> None:
    assert isinstance(simulator, Diffbot)
    webhook = arguments.callback or "http://127.0.0.1:1/diffbot/notification/TOKEN"
    names = [f"shop-{number}" for number in range(arguments.tasks)]
    for name in names:
        simulator.create(name, seeds="https://shop.example.org", notifyWebhook=webhook)
        simulator.complete(name)
    simulator.create(
        "news-daily", seeds="https://news.example.org", repeat="1", notifyWebhook=webhook
    )
    simulator.complete("news-daily")
    simulator.create("pages", kind="bulk", urls="https://example.org/1", notifyWebhook=webhook)
    simulator.wait_idle()
    print(f"token {arguments.token}")
    print("jobs:", *names, "news-daily", "pages", sep="\n  ")


def _outscraper(arguments: argparse.Namespace) -> Simulator:
    simulator = Outscraper(host=arguments.host, port=arguments.port)
    simulator.settings.api_keys = (arguments.api_key,)
    simulator.settings.finish_after_seconds = arguments.finish_after
    return simulator


def _fill_outscraper(simulator: Simulator, arguments: argparse.Namespace) -> None:
    assert isinstance(simulator, Outscraper)
    webhook = arguments.callback or "http://127.0.0.1:1/outscraper/webhook/TOKEN"
    tasks = [simulator.create_task(tags=["demo"], webhook=webhook) for _ in range(arguments.tasks)]
    requests = [simulator.submit("bars ny usa", webhook=webhook) for _ in range(arguments.tasks)]
    for work_id in tasks + requests:
        simulator.finish(work_id)
    simulator.wait_idle()
    print(f"api key {arguments.api_key}")
    print("tasks:", *tasks, sep="\n  ")
    print("requests:", *requests, sep="\n  ")


def _and_fail(
    fill: Callable[[Simulator, argparse.Namespace], None],
) -> Callable[[Simulator, argparse.Namespace], None]:
    def show(simulator: Simulator, arguments: argparse.Namespace) -> None:
        fill(simulator, arguments)
        if arguments.fail:
            simulator.fail(arguments.fail, location=arguments.location)
            print(f"failing: {arguments.fail}")

    return show


_STARTS: dict[str, Callable[[argparse.Namespace], Simulator]] = {
    "dataforseo": _dataforseo,
    "dataforapps": _dataforseo,
    "diffbot": _diffbot,
    "outscraper": _outscraper,
}
_SHOW: dict[str, Callable[[Simulator, argparse.Namespace], None]] = {
    "dataforseo": _and_fail(_fill_dataforseo),
    "dataforapps": _and_fail(_fill_dataforseo),
    "diffbot": _and_fail(_fill_diffbot),
    "outscraper": _and_fail(_fill_outscraper),
}

if __name__ == "__main__":
    main()

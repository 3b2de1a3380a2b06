"""Callbacks in the manners of the four providers, each unlike any other.

A sample says what is sent, and what an archive must say about it.  The shapes follow the
providers' pages; the values are made up, from a seed.
"""

import gzip
import hashlib
import hmac
import random
import threading
from dataclasses import dataclass
from urllib.parse import quote

import orjson

API_KEY = "outscraper-canary-key-77c1b0"
DIFFBOT_TOKEN = "diffbot-canary-token-51ae"

_WORDS = (
    "garden", "hose", "Grüße", "naïve", "東京", "🧰", "\u2028", 'say "hi"', "back\\slash", "</b>",
    "tab\there", "line\nbreak", "&amp;", "null", "ÅÄÖ", "%41",
)  # fmt: skip
_TAGS = (
    "run-42",
    "acme|run",
    "a&b=c",
    "50%",
    "1+1",
    "Zürich",
    "x y",
    "100 % ok",
    "a/b?c#d",
    "東京",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One callback: what goes over the wire, and what must be known of it afterwards."""

    provider: str
    kind: str
    method: str
    # What follows the token in the target.
    rest: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    wire: bytes = b""
    content: bytes = b""
    task_id: str | None
    tag: str | None = None
    key: str | None
    status: str | None = None
    invalid: str | None = None


class Samples:
    """An endless supply; usable from several threads."""

    def __init__(self, seed: int, *, api_key: str = API_KEY) -> None:
        self._random = random.Random(seed)
        self._guard = threading.Lock()
        self._count = 0
        self._api_key = api_key
        self._makers = (
            *(self.postback,) * 8,
            *(self.pingback,) * 3,
            *(self.notification,) * 2,
            *(self.webhook,) * 2,
            self.odd_postback,
        )

    def next(self) -> Sample:
        """Return a sample of any provider and kind."""
        with self._guard:
            return self._random.choice(self._makers)()

    def of_each(self) -> list[Sample]:
        """Return one sample for every provider and kind."""
        brands = ("dataforseo", "dataforapps")
        return [
            *(self.postback(brand, squeezed) for brand in brands for squeezed in (True, False)),
            *(self.pingback(brand) for brand in brands),
            *(self.odd_postback(brand) for brand in brands),
            self.notification(),
            self.webhook(),
        ]

    def postback(self, brand: str | None = None, squeezed: bool | None = None) -> Sample:
        """DataForSEO or DataForApps: the task's result, mostly gzip (providers.md §1.3)."""
        random = self._random
        task_id, tag = self._task_id(), random.choice(_TAGS)
        datatype = random.choice(("regular", "advanced", "html"))
        code = random.choice((20000, 20000, 20000, 40102, 50000))
        content = orjson.dumps(
            {
                "version": "0.1.20260801",
                "status_code": 20000,
                "tasks": [
                    {
                        "id": task_id,
                        "status_code": code,
                        "data": {"api": "serp", "tag": tag, "postback_data": datatype},
                        "result": [{"items": self._items()}],
                    }
                ],
            }
        )
        if squeezed is None:
            squeezed = random.random() < 0.7
        headers = [("Content-Type", "application/json")] if random.random() < 0.5 else []
        if squeezed and random.random() < 0.7:
            headers.append(("Content-Encoding", "gzip"))
        return Sample(
            provider=brand or random.choice(("dataforseo", "dataforapps")),
            kind="postback",
            method="POST",
            rest=f"?id={task_id}&tag={quote(tag, safe='')}",
            headers=tuple(headers),
            wire=gzip.compress(content, 1) if squeezed else content,
            content=content,
            task_id=task_id,
            tag=tag,
            key=f"{task_id}:{datatype}",
            status=str(code),
        )

    def odd_postback(self, brand: str | None = None) -> Sample:
        """A body that is not what it should be, and is somebody's result all the same."""
        task_id = self._task_id()
        unique = task_id.encode()
        content, invalid = self._random.choice(
            (
                (b"\x1f\x8b\x08" + self._random.randbytes(300) + unique, "not_gzip"),
                (gzip.compress(unique * 9)[:-7], "not_gzip"),
                (b"\xff\xfe\x00" + self._random.randbytes(200) + unique, "not_json"),
                (b'{"tasks": [' + unique, "not_json"),
                (b"<html>" + unique + "Grüße".encode(), "not_json"),
                (b"", "empty"),
            )
        )
        return Sample(
            provider=brand or self._random.choice(("dataforseo", "dataforapps")),
            kind="postback",
            method="POST",
            rest=f"?id={task_id}&tag=$tag",
            wire=content,
            content=content,
            task_id=task_id,
            key=task_id,
            invalid=invalid,
        )

    def pingback(self, brand: str | None = None) -> Sample:
        """DataForSEO or DataForApps: a GET that says which task is done (providers.md §1.2)."""
        random = self._random
        task_id, tag = self._task_id(), random.choice((*_TAGS, None))
        path = random.choice(("", "/", "/serp/google/organic", "/on_page"))
        spelled = "$tag" if tag is None else quote(tag, safe="")
        return Sample(
            provider=brand or random.choice(("dataforseo", "dataforapps")),
            kind="pingback",
            method="GET",
            rest=f"{path}?id={task_id}&tag={spelled}",
            headers=(("User-Agent", "caf\xe9/1.0"), ("X-Twice", "a"), ("X-Twice", "b")),
            task_id=task_id,
            tag=tag,
            key=f"{task_id}:pingback",
        )

    def notification(self) -> Sample:
        """Diffbot: a job's metadata behind blank lines (providers.md §2.2)."""
        name = f"shop {self._number()}/ü"
        created = self._random.randrange(1_700_000_000, 1_800_000_000)
        rounds, status = self._random.randrange(5), self._random.choice((1, 2, 3, 9, 10))
        job = {
            "name": name,
            "type": "crawl",
            "jobCreationTimeUTC": created,
            "jobCompletionTimeUTC": created + 3600,
            "jobStatus": {"status": status, "message": "Job has completed."},
            "roundsCompleted": rounds,
            "downloadJson": f"http://api.diffbot.com/v3/crawl/download/{DIFFBOT_TOKEN}-x.json",
            "seeds": " ".join(self._random.choices(_WORDS, k=20)),
        }
        content = b"\n\n\n" + orjson.dumps(job, option=orjson.OPT_INDENT_2) + b"\n"
        return Sample(
            provider="diffbot",
            kind="notification",
            method="POST",
            headers=(
                ("User-Agent", "Crawlbot/2.0"),
                ("X-Crawl-Name", "shop"),
                ("X-Crawl-Status", "Job has completed and no repeat is scheduled."),
                ("Content-Type", "application/json"),
            ),
            wire=content,
            content=content,
            task_id=name,
            key=f"crawl:{quote(name, safe='')}:{created}:{rounds}:{status}:{created + 3600}",
            status=str(status),
        )

    def webhook(self, *, signed: bool | None = None) -> Sample:
        """Outscraper: a finished request, mostly signed (providers.md §3.3)."""
        task_id = f"{self._random.getrandbits(64):016x}-{self._number()}"
        content = orjson.dumps(
            {
                "id": task_id,
                "user_id": "65f0c1b2a7",
                "status": "SUCCESS",
                "api_task": True,
                "results_location": f"https://api.outscraper.cloud/requests/{task_id}",
                "quota_usage": [{"product_name": "Google Maps Data", "quantity": 1}],
            }
        )
        headers = [("Content-Type", "application/json")]
        if signed or (signed is None and self._random.random() < 0.7):
            headers.append(("X-Hub-Signature-256", signature(content, self._api_key)))
        return Sample(
            provider="outscraper",
            kind="webhook",
            method="POST",
            headers=tuple(headers),
            wire=content,
            content=content,
            task_id=task_id,
            key=task_id,
            status="SUCCESS",
        )

    def _items(self) -> list[str]:
        random = self._random
        # Mostly a few kilobytes, now and then more than a gzip member of the archive holds.
        count = random.choice((3, 30, 300, 300, 600)) if random.random() < 0.98 else 60_000
        return random.choices(_WORDS, k=count)

    def _task_id(self) -> str:
        number = self._number()
        tail = self._random.getrandbits(48)
        return f"08141207-{number // 10000:04d}-{number % 10000:04d}-0000-{tail:012x}"

    def _number(self) -> int:
        self._count += 1
        return self._count


def signature(content: bytes, api_key: str) -> str:
    """Return what Outscraper sends as `X-Hub-Signature-256`."""
    return "sha256=" + hmac.new(api_key.encode(), content, hashlib.sha256).hexdigest()

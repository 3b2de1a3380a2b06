"""The standard callback: a postback of DataForSEO, 38 KB of JSON in 7 KB of gzip.

Made anew each time from a seed, and always the same bytes.  The shape is that of
`serp/google/organic` (providers.md §1.3); the words are invented.
"""

import gzip
import random
from typing import Any

import orjson

_ITEMS = 23
_WORDS = (
    "garden hose watering can sprinkler nozzle rubber flexible expandable reel coupling brass "
    "outdoor repair guide review best cheap online shop delivery stock warranty customer rating "
    "garten schlauch test vergleich kaufen preis angebot lieferung versand sofort farbe gummi "
    "soft pressure winter storage leak proof kit adapter metal plastic length diameter inch "
    "litre per minute compare order today free return policy new used quality brand model spare "
    "part tap connector drip irrigation timer holder wall mounted heavy duty light weight "
    "Gießkanne für Größe café"
).split()
_DOMAINS = ("example.org", "garten.example.de", "shop.example.com", "ogrod.example.pl")


def standard(seed: int = 0) -> bytes:
    """Return a body as it comes over the wire, gzip."""
    return gzip.compress(
        orjson.dumps(_postback(random.Random(seed), f"acme|run-{seed}")), 6, mtime=0
    )


def query(seed: int = 0) -> str:
    """Return the query of the URL that goes with a body."""
    return f"id={_task_id(random.Random(seed))}&tag=acme%7Crun-{seed}"


def _task_id(noise: random.Random) -> str:
    return f"08141207-1535-0066-0000-{noise.getrandbits(48):012x}"


def _postback(noise: random.Random, tag: str) -> dict[str, Any]:
    task_id = _task_id(noise)
    keyword = _text(noise, 3)
    items = [_item(noise, rank) for rank in range(1, _ITEMS + 1)]
    path = ["v3", "serp", "google", "organic", "task_get", "advanced", task_id]
    return {
        "version": "0.1.20260801",
        "status_code": 20000,
        "status_message": "Ok.",
        "time": "0.0713 sec.",
        "cost": 0,
        "tasks_count": 1,
        "tasks_error": 0,
        "tasks": [
            {
                "id": task_id,
                "status_code": 20000,
                "status_message": "Ok.",
                "time": "0.0529 sec.",
                "cost": 0,
                "result_count": 1,
                "path": path,
                "data": {
                    "api": "serp",
                    "function": "task_get",
                    "se": "google",
                    "se_type": "organic",
                    "language_code": "en",
                    "location_code": 2840,
                    "keyword": keyword,
                    "device": "desktop",
                    "os": "windows",
                    "tag": tag,
                    "postback_data": "advanced",
                    "postback_url": "https://hooks.example.net/post?id=$id&tag=$tag",
                },
                "result": [
                    {
                        "keyword": keyword,
                        "type": "organic",
                        "se_domain": "google.com",
                        "location_code": 2840,
                        "language_code": "en",
                        "check_url": "https://www.google.com/search?q=" + keyword.replace(" ", "+"),
                        "datetime": "2026-08-14 10:09:31 +00:00",
                        "spell": None,
                        "item_types": ["organic", "people_also_ask"],
                        "se_results_count": noise.randrange(10**6, 10**8),
                        "items_count": len(items),
                        "items": items,
                    }
                ],
            }
        ],
    }


def _item(noise: random.Random, rank: int) -> dict[str, Any]:
    domain = noise.choice(_DOMAINS)
    slug = "-".join(noise.choices(_WORDS, k=3)).lower()
    url = f"https://{domain}/{slug}?ref={noise.getrandbits(160):040x}"
    return {
        "type": "organic",
        "rank_group": rank,
        "rank_absolute": rank + 2,
        "page": 1 + rank // 10,
        "position": "left",
        "xpath": f"/html[1]/body[1]/div[3]/div[1]/div[12]/div[1]/div[2]/div[2]/div[{rank}]/div[1]",
        "domain": domain,
        "title": _text(noise, 8),
        "url": url,
        "cache_url": None,
        "related_search_url": None,
        "breadcrumb": f"https://{domain} \u203a {slug}",
        "website_name": domain.partition(".")[0].title(),
        "is_image": False,
        "is_video": False,
        "is_featured_snippet": False,
        "is_malicious": False,
        "is_web_story": False,
        "description": f"{_text(noise, 30)} “{_text(noise, 4)}” {_text(noise, 20)} "
        + f'— "{_text(noise, 6)}".',
        "pre_snippet": None,
        "extended_snippet": None,
        "images": None,
        "amp_version": False,
        "rating": {
            "rating_type": "Max5",
            "value": round(noise.uniform(2, 5), 1),
            "votes_count": noise.randrange(5000),
            "rating_max": 5,
        },
        "price": None,
        "highlighted": noise.choices(_WORDS, k=2),
        "links": [
            {
                "type": "link_element",
                "title": _text(noise, 2),
                "description": None,
                "url": f"{url}#{noise.choice(_WORDS)}",
                "domain": domain,
            }
        ],
        "faq": None,
        "extended_people_also_search": None,
        "about_this_result": None,
        "related_result": None,
        "timestamp": f"2026-0{noise.randrange(1, 9)}-1{noise.randrange(10)} 00:00:00 +00:00",
        "rectangle": None,
    }


def _text(noise: random.Random, words: int) -> str:
    return " ".join(noise.choices(_WORDS, k=words)).capitalize()

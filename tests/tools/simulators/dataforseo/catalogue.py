"""The functions of DataForSEO's API v3 that take tasks, and the lists that show them.

A function is named by its path: ``serp/google/organic``, ``on_page``.  What it accepts and what
can be collected of it follows providers.md §1.4, §1.7, §1.9 and §1.10 (the official OpenAPI).
"""

from collections.abc import Iterator
from dataclasses import dataclass

# Where the engine's name in `se` ends and the type in `se_type` begins: serp/google/organic.
_SERP_ORGANICS = tuple(
    f"{se}/organic" for se in ("google", "bing", "yahoo", "baidu", "naver", "seznam")
)
# providers.md §1.7 [D]
_SERP_GOOGLE = (
    "organic", "ai_mode", "maps", "local_finder", "news", "events", "images", "search_by_image",
    "jobs", "autocomplete", "dataset_search", "dataset_info", "ads_advertisers", "ads_search",
    "finance_explore", "finance_markets", "finance_quote", "finance_ticker_search",
)  # fmt: skip
_SERP_YOUTUBE = ("organic", "video_info", "video_subtitles", "video_comments")
# providers.md §1.10 [D]: html beside the six organics.
_SERP_HTML = frozenset(
    f"google/{kind}"
    for kind in (
        "ai_mode", "finance_explore", "finance_markets", "finance_quote", "images", "jobs",
        "local_finder", "news", "search_by_image",
    )
)  # fmt: skip
# providers.md §1.4 [D]: what `postback_data` takes, where it is not (advanced, html) or advanced.
_SERP_ALL = frozenset(
    ("google/organic", "google/jobs", "bing/organic", "naver/organic", "seznam/organic")
)
_SERP_REGULAR_HTML = frozenset(("yahoo/organic", "baidu/organic"))
_SERP_ADVANCED_HTML = frozenset(
    f"google/{kind}"
    for kind in (
        "ai_mode", "local_finder", "news", "images", "search_by_image", "finance_explore",
        "finance_markets", "finance_quote", "finance_ticker_search",
    )
)  # fmt: skip

# providers.md §1.9 [D]: the fields of a tasks_ready entry, per family.
_COMMON = ("id", "se", "se_type", "date_posted", "tag")
FIELDS_SERP = (*_COMMON, "endpoint_regular", "endpoint_advanced", "endpoint_html")
FIELDS_TWO = (*_COMMON, "endpoint_advanced", "endpoint_html")
FIELDS_ONE = (*_COMMON, "endpoint")
FIELDS_BING = (*_COMMON, "endpoint", "function")
FIELDS_GEMINI = ("id", "se", "function", "date_posted", "tag", "endpoint_advanced", "endpoint_html")
FIELDS_ON_PAGE = ("id", "target", "date_posted", "tag")
FIELDS_LIGHTHOUSE = ("id", "tag", "endpoint_json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function that takes tasks."""

    path: str
    # What task_get offers; empty where its path has no datatype.
    datatypes: tuple[str, ...]
    # What `postback_data` may be; empty where the function has no such parameter.
    postback_data: tuple[str, ...]
    ready_fields: tuple[str, ...]
    takes_postback: bool = True
    takes_pingback: bool = True

    @property
    def api(self) -> str:
        """The first part of the path: ``serp``."""
        return self.path.partition("/")[0]

    @property
    def se(self) -> str | None:
        """The engine: ``google``, ``google_ads``; the OnPage functions have none."""
        parts = self.path.split("/")
        return parts[1] if len(parts) == 3 else None

    @property
    def se_type(self) -> str | None:
        """What is asked of the engine: ``organic``."""
        parts = self.path.split("/")
        return parts[2] if len(parts) == 3 else None

    @property
    def lists(self) -> tuple[str, ...]:
        """The tasks_ready lists that show its tasks, by path."""
        return (
            (self.path, self.api)
            if self.api in API_WIDE and self.path != self.api
            else (self.path,)
        )

    def endpoint(self, datatype: str | None, task_id: str) -> str:
        """Return the host-relative path that collects a task."""
        if self.path == "on_page":
            return f"/v3/on_page/summary/{task_id}"
        middle = f"{datatype}/" if datatype else ""
        return f"/v3/{self.path}/task_get/{middle}{task_id}"

    @property
    def main_datatype(self) -> str | None:
        """What is collected where nobody chose."""
        if "advanced" in self.datatypes:
            return "advanced"
        return self.datatypes[0] if self.datatypes else None


# providers.md §1.7 [D]: the lists that show all functions of an API.  OnPage's shows no Lighthouse.
API_WIDE = ("serp", "merchant", "app_data", "business_data")
# providers.md §1.11 [D]; DOSSIER adds ai_optimization and content_analysis [C].
APIS_WITH_ERRORS = (
    "app_data", "backlinks", "business_data", "dataforseo_labs", "domain_analytics",
    "keywords_data", "merchant", "on_page", "serp", "ai_optimization", "content_analysis",
)  # fmt: skip
# providers.md §1.12 [D]
APIS_WITH_ID_LIST = APIS_WITH_ERRORS


def _functions() -> Iterator[Function]:
    yield from _serp()
    yield from _merchant_and_apps()
    yield from _business()
    yield from _keywords_and_ai()
    # providers.md §1.2, §1.4 [D]: pingbacks only.
    yield Function(
        path="on_page", datatypes=(), postback_data=(), ready_fields=FIELDS_ON_PAGE,
        takes_postback=False,
    )  # fmt: skip
    yield Function(
        path="on_page/lighthouse", datatypes=("json",), postback_data=(),
        ready_fields=FIELDS_LIGHTHOUSE, takes_postback=False,
    )  # fmt: skip


def _serp() -> Iterator[Function]:
    names = [f"google/{kind}" for kind in _SERP_GOOGLE]
    names += [name for name in _SERP_ORGANICS if name != "google/organic"]
    names += [f"youtube/{kind}" for kind in _SERP_YOUTUBE]
    for name in names:
        # providers.md §1.10 [D]
        if name in _SERP_ORGANICS:
            datatypes: tuple[str, ...] = ("regular", "advanced", "html")
        else:
            datatypes = ("advanced", "html") if name in _SERP_HTML else ("advanced",)
        # providers.md §1.4 [D]
        if name in _SERP_ALL:
            postback_data: tuple[str, ...] = ("regular", "advanced", "html")
        elif name in _SERP_REGULAR_HTML:
            postback_data = ("regular", "html")
        else:
            postback_data = ("advanced", "html") if name in _SERP_ADVANCED_HTML else ("advanced",)
        yield Function(
            path=f"serp/{name}", datatypes=datatypes, postback_data=postback_data,
            ready_fields=FIELDS_SERP,
        )  # fmt: skip


def _merchant_and_apps() -> Iterator[Function]:
    # providers.md §1.4, §1.10 [D]: both lists agree for these.
    with_html = {"merchant/google/products", "merchant/amazon/products", "merchant/amazon/asin"}
    with_html.add("merchant/amazon/sellers")
    kinds = ("app_searches", "app_list", "app_info", "app_reviews")
    with_html.update(f"app_data/google/{kind}" for kind in kinds)
    without = {"merchant/google/sellers", "merchant/google/product_info"}
    without.update(f"app_data/apple/{kind}" for kind in kinds)
    for path in sorted(with_html | without):
        datatypes = ("advanced", "html") if path in with_html else ("advanced",)
        yield Function(
            path=path, datatypes=datatypes, postback_data=datatypes, ready_fields=FIELDS_TWO
        )


def _business() -> Iterator[Function]:
    google = (
        "my_business_info", "my_business_updates", "hotel_searches", "reviews",
        "extended_reviews", "questions_and_answers",
    )  # fmt: skip
    names = [f"google/{kind}" for kind in google]
    names += [
        f"{se}/{kind}" for se in ("trustpilot", "tripadvisor") for kind in ("search", "reviews")
    ]
    for name in names:
        yield Function(
            path=f"business_data/{name}", datatypes=(), postback_data=(), ready_fields=FIELDS_ONE
        )
    # providers.md §1.4, §1.10 [D]: the one of its API with datatypes.
    yield Function(
        path="business_data/google/hotel_info", datatypes=("advanced", "html"),
        postback_data=("advanced", "html"), ready_fields=FIELDS_ONE,
    )  # fmt: skip


def _keywords_and_ai() -> Iterator[Function]:
    ads = ("search_volume", "keywords_for_site", "keywords_for_keywords", "ad_traffic_by_keywords")
    one = [f"keywords_data/google_ads/{kind}" for kind in ads]
    one += ["keywords_data/google_trends/explore", "keywords_data/bing/search_volume_history"]
    one += [f"ai_optimization/{se}/llm_responses" for se in ("chat_gpt", "claude", "gemini")]
    for path in one:
        yield Function(path=path, datatypes=(), postback_data=(), ready_fields=FIELDS_ONE)
    for kind in (
        "search_volume",
        "keywords_for_site",
        "keywords_for_keywords",
        "keyword_performance",
    ):
        yield Function(
            path=f"keywords_data/bing/{kind}", datatypes=(), postback_data=(),
            ready_fields=FIELDS_BING,
        )  # fmt: skip
    # providers.md §1.4 [D]: no callback is listed for it.
    yield Function(
        path="keywords_data/bing/audience_estimation", datatypes=(), postback_data=(),
        ready_fields=FIELDS_ONE, takes_postback=False, takes_pingback=False,
    )  # fmt: skip
    # providers.md §1.9 [D]: the two scrapers' lists differ.
    for se, fields in (("chat_gpt", FIELDS_SERP), ("gemini", FIELDS_GEMINI)):
        yield Function(
            path=f"ai_optimization/{se}/llm_scraper", datatypes=("advanced", "html"),
            postback_data=("advanced", "html"), ready_fields=fields,
        )  # fmt: skip


FUNCTIONS = {function.path: function for function in _functions()}
# Every list that there is, by the path before ``/tasks_ready``.
READY_LISTS = tuple(sorted({name for function in FUNCTIONS.values() for name in function.lists}))

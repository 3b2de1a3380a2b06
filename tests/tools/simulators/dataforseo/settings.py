"""What a test may set of the simulated DataForSEO; the defaults are what is documented.

Where the provider's manners are unknown or contradictory (providers.md §6), the setting says so:
what is built against this simulator should hold for every value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.tools.simulators.limits import Window

DAY_SECONDS = 86_400.0


@dataclass(slots=True, kw_only=True)
class Settings:
    """May be changed while the simulator runs."""

    login: str = "login"
    password: str = "password"
    # Answered to every call: 40201 paused, 40200 payment required, 40104, 40207 (§1.16 [D]).
    account_code: int | None = None

    # Seconds of the clock until a posted task is done; None: only `finish` ends it.
    finish_after_seconds: float | None = None
    # A posted task is 40601 this long, then 40602 (§1.10 [D]).
    handed_seconds: float = 1.0
    # So many first task_gets of a task are answered 40402 although it is there (§1.10 [C]).
    invalid_path_times: int = 0
    # §1.10 [D]: kept 30 days, html 7.
    result_seconds: float = 30 * DAY_SECONDS
    html_seconds: float = 7 * DAY_SECONDS
    # About how many bytes of result a task has; the standard callback has 38 KB.
    result_bytes: int = 600

    # §1.8 [D]: a "small delay", of unknown length.
    list_delay_seconds: float = 0.0
    ready_seconds: float = 3 * DAY_SECONDS
    ready_max: int = 1000
    # §1.8 [D], contradicted by [D] HC: a postback that failed puts its task on the list.
    failed_postbacks_listed: bool = True
    # §1.8 [D] HC: a task can be on the list in the gap before its postback is delivered.
    listed_before_delivery: bool = False
    # §6 no. 6 [?]: whether a resend that succeeds takes the task off the list.
    resend_unlists: bool = False
    # §1.9 [I]: endpoints are remote data; a test can forge them.
    forge_endpoint: Callable[[str], str] | None = None

    tasks_per_post_max: int = 100  # §1.1 [D]
    resend_max: int = 100  # §1.13 [D]
    force_stop_max: int = 1000  # §1.15 [D]
    simultaneous_max: int = 30  # §1.17 [D]
    # §1.17 [D]: 2000 in most docs, 10,000 in a later note.
    calls_per_minute: int | None = 2000
    ready_per_minute: int | None = 20  # §1.8 [D]; 60 in a sample of user_data [C]
    status_per_minute: int | None = 10  # §1.14 [D]
    id_list_per_minute: int | None = 10  # §1.12 [C]
    # §6 no. 9 [?]: whether 20 a minute are for all lists together or for each.
    ready_limit_per: Literal["account", "list"] = "account"
    limit_window: Window = "sliding"
    # Whether 40202 stands at the top with no tasks, or in a task; both have to be understood.
    refusals_in: Literal["envelope", "task"] = "envelope"

    # §1.2 [D]: the receiver's time.
    deadline_seconds: float = 10.0
    # Whether those seconds are the clock's, so that a move lets them pass, or real ones.
    deadline_on_clock: bool = False
    deliveries_at_once: int = 20
    # §1.5 [?]: undocumented, and users disagree.
    delivery_retries: int = 0
    # §1.5 [D]: 50 to 1000 ms between webhooks, as it was when the task was posted; 0 is none.
    webhook_delay_ms: int = 0
    # §1.3 [C]: users saw both.
    content_encoding: bool = True
    content_type: str | None = None
    user_agent: str | None = None
    # §1.2 [C]: what arrives for `$tag` where no tag was set; an empty value is seen, too.
    unset_tag: str = "$tag"
    # §1.2, §6 no. 8 [?]: whether the `%` of what was filled in is encoded once more.
    encode_percent: bool = False
    # §1.3 [C]: users' samples show both.
    postback_function: Literal["task_get", "task_post"] = "task_get"
    # §1.15 [?]
    pingback_after_force_stop: bool = False

    # §1.11 [?]: the code of webhook entries was never seen; this is the sample's.
    webhook_error_code: int = 50000
    # §1.11 [D]: 7 days; DataForApps' page, and older ones, say 24 hours.
    errors_seconds: float = 7 * DAY_SECONDS
    # Whether a window that reaches further back is refused with 40501, or cut.
    errors_window_strict: bool = True
    # §1.11: the order of entries is not documented.
    errors_newest_first: bool = True

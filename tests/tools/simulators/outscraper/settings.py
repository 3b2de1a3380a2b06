"""What a test may set of the simulated Outscraper; the defaults are what is documented."""

from dataclasses import dataclass, field
from typing import Literal

HOUR_SECONDS = 3600.0


@dataclass(slots=True, kw_only=True)
class Settings:
    """May be changed while the simulator runs."""

    # All are accepted; the first signs (§3.3: the key is the account's API key).
    api_keys: tuple[str, ...] = ("key",)
    user_id: str = "65f0c1b2a7"
    # Answer 402 to everything (§3.7 [D]).
    payment_required: bool = False
    # §3.1 [D]: about 20 a second on average.  What is answered beyond is not documented [?].
    calls_per_second: int | None = 20
    # Seconds of the clock until work is done; None: only `finish` ends it.
    finish_after_seconds: float | None = None
    # §3.4 [D]: four hours, then `Pending` again.
    result_seconds: float = 4 * HOUR_SECONDS
    # §3.4: documented as a 204, which cannot carry the documented body: both are possible.
    failure_form: Literal["204", "200"] = "204"
    # §3.7 [D]: 422 exists; requests whose results are answered with it, every time.
    refused: set[str] = field(default_factory=set)
    requests_listed_max: int = 100  # §3.4 [D]
    listed_seconds: float = 24 * HOUR_SECONDS  # §3.4, §3.6 [D]
    # §3.3 [D]: the account's webhook; the parameter `webhook` of a request overwrites it.
    webhook: str | None = None
    # §3.3 [?]: whether every call is signed.
    signed: bool = True
    # §3.3 [?]: neither is documented.
    webhook_seconds: float = 10.0
    webhook_retries: int = 0
    # What `results_location` begins with; None is this server.  It is remote data [I].
    results_base: str | None = None

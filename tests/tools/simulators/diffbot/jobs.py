"""Crawl and bulk jobs, identified by token and name (providers.md §2.1, §2.2, §2.4)."""

from dataclasses import dataclass, field
from typing import Literal

from tests.tools.simulators.server import Json

Kind = Literal["crawl", "bulk"]

# §2.4 [D] S001
MESSAGES = {
    0: "Job is initializing",
    1: "Job has reached maxRounds limit",
    2: "Job has reached maxToCrawl limit",
    3: "Job has reached maxToProcess limit",
    4: "Next round to start in {seconds} seconds",
    5: "No URLs were added to the crawl",
    6: "Job paused",
    7: "Job in progress",
    8: "All crawling temporarily paused by root administrator for maintenance",
    9: "Job has completed and no repeat is scheduled.",  # with the full stop of the samples
    10: "Failed to crawl any seed",
    11: (
        "Job automatically paused because crawl is inefficient. Successfully downloaded 10000+ "
        "consecutive pages without a single successfully processed page"
    ),
}
RUNNING = (0, 7)
# Ends of a job or a round: the ones that are notified (§2.2 [D]: limits and completion).
ENDS = (1, 2, 3, 4, 5, 9, 10)
_PER_ROUND = (
    "objectsFound", "urlsHarvested", "pageCrawlAttempts", "pageCrawlSuccesses",
    "pageCrawlSuccessesThisRound", "pageProcessAttempts", "pageProcessSuccesses",
    "pageProcessSuccessesThisRound",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Job:
    """One job."""

    token: str
    name: str
    kind: Kind
    created_at: int
    parameters: dict[str, str]
    status: int = 0
    completed_at: int = 0
    round_started_at: int = 0
    rounds_completed: int = 0
    # Set by sending, whatever became of it (§2.2 [S]).
    notification_sent: int = 0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PER_ROUND, 0))
    status_before_pause: int = 7

    @property
    def repeat_days(self) -> float:
        """Days between rounds; 0 is no repeat."""
        return float(self.parameters.get("repeat") or 0)

    @property
    def rounds_max(self) -> int:
        """The rounds it may run; 0 or less is no limit."""
        return int(self.parameters.get("maxRounds") or 0)

    @property
    def webhook(self) -> str:
        """Where it is to be notified; the old spelling is accepted, too (§2.2 [S])."""
        return self.parameters.get("notifyWebhook") or self.parameters.get("notifyWebHook") or ""

    @property
    def message(self) -> str:
        """The text of its status."""
        return MESSAGES[self.status].format(seconds=int(self.repeat_days * 86_400))

    def erase(self) -> None:
        """Forget what was processed, and begin again (§2.4: restart)."""
        self.status = 7
        self.completed_at = self.round_started_at = 0
        self.rounds_completed = self.notification_sent = 0
        self.counters = dict.fromkeys(_PER_ROUND, 0)

    def count_round(self) -> None:
        """Count the pages of a round that has run."""
        for name in _PER_ROUND:
            self.counters[name] += 10
        for name in ("pageCrawlSuccessesThisRound", "pageProcessSuccessesThisRound"):
            self.counters[name] = 10

    def end_round(self, now: float, status: int | None) -> None:
        """End the round: for good, with a status, or until the next one is due."""
        self.count_round()
        self.completed_at = int(now)
        if status is not None:
            self.status = status
        elif self.repeat_days == 0:
            self.status = 9
        elif self.rounds_max > 0 and self.rounds_completed + 1 >= self.rounds_max:
            self.status = 1
        else:
            self.status = 4

    def start_round(self, now: float) -> None:
        """Begin the next round; the sent flag is reset by it (§2.2 [S])."""
        self.rounds_completed += 1
        self.round_started_at = int(now)
        self.completed_at = 0
        self.notification_sent = 0
        self.status = 7

    def shown(self, *, now: float, download_base: str) -> Json:
        """Return the job object, of the list and of the notification (§2.2, §2.4 [D])."""
        text = self.parameters.get
        limits: Json = {
            "maxToCrawl": int(text("maxToCrawl") or 100_000),
            "maxToProcess": int(text("maxToProcess") or 100_000),
            "onlyProcessIfNew": int(text("onlyProcessIfNew") or 1),
            "seeds": text("seeds", ""),
        }
        stem = f"{download_base}/v3/{self.kind}/download/{self.token}-{self.name}"
        return {
            "name": self.name,
            "type": self.kind,
            "jobCreationTimeUTC": self.created_at,
            "jobCompletionTimeUTC": self.completed_at,
            "jobStatus": {"status": self.status, "message": self.message},
            "sentJobDoneNotification": self.notification_sent,
            **self.counters,
            "maxRounds": self.rounds_max,
            "repeat": self.repeat_days,
            "crawlDelay": 0.25,
            "obeyRobots": 1,
            **(limits if self.kind == "crawl" else {}),  # §2.2 [S]: bulk bodies have none of these
            "roundsCompleted": self.rounds_completed,
            "roundStartTime": self.round_started_at,
            "currentTime": int(now),
            "currentTimeUTC": int(now),
            "apiUrl": text("apiUrl", "https://api.diffbot.com/v3/analyze"),
            "urlCrawlPattern": text("urlCrawlPattern", ""),
            "urlProcessPattern": text("urlProcessPattern", ""),
            "pageProcessPattern": text("pageProcessPattern", ""),
            "urlCrawlRegEx": text("urlCrawlRegEx", ""),
            "urlProcessRegEx": text("urlProcessRegEx", ""),
            "maxHops": int(text("maxHops") or -1),
            # §2.2 [D] S001: the account's token stands in the payload.
            "downloadJson": f"{stem}_data.json",
            "downloadUrls": f"{stem}_urls.csv",
            "notifyEmail": text("notifyEmail", ""),
            "notifyWebhook": self.webhook,
        }

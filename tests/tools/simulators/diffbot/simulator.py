"""The simulated Diffbot: ``/v3/crawl`` and ``/v3/bulk``, and what a test can arrange and see."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson
from aiohttp import web

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.diffbot import data
from tests.tools.simulators.diffbot.jobs import ENDS, RUNNING, Job, Kind
from tests.tools.simulators.diffbot.notification import Notification, send, write_body
from tests.tools.simulators.limits import Limit
from tests.tools.simulators.outbox import Outbox
from tests.tools.simulators.server import CODE, Json, Simulator
from tests.tools.simulators.timeline import Timeline


@dataclass(slots=True, kw_only=True)
class Settings:
    """May be changed while the simulator runs."""

    tokens: tuple[str, ...] = ("token",)
    # Seconds of the clock until a job's round is done; None: only `complete` ends it.
    complete_after_seconds: float | None = None
    jobs_max: int = 1000  # §2.4 [D]
    # §2.4 [D]: 429 exists, its number does not stand anywhere.
    calls_per_minute: int | None = None
    notify_seconds: float = 60.0  # §2.2 [S]
    # §2.2 [S]: the old engine does not escape some strings.
    escape: bool = False
    # What download URLs begin with; None is this server.  The sample has http://api.diffbot.com.
    download_base: str | None = None
    # §2.4 [I]: the types of a job's fields are remote data; a test can forge what the list shows.
    forge_job: Callable[[Json], Json] | None = None


class Failed(Exception):
    """A call that is answered with an error."""

    def __init__(self, http_status: int, error: str, *, code: int | str | None = None) -> None:
        super().__init__(http_status, error)
        self.http_status = http_status
        self.error = error
        self.code: int | str = http_status if code is None else code


class Diffbot(Simulator):
    """Crawl and bulk jobs of some tokens."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(clock=clock, host=host, port=port)
        self.settings = settings or Settings()
        self._jobs: dict[tuple[str, str], Job] = {}
        self._timeline = Timeline(self.clock, self.lock)
        self._limit = Limit()
        self._notifications: list[Notification] = []
        self._outbox = Outbox(self.lock)

    # What a test arranges.

    def create(
        self, name: str, *, kind: Kind = "crawl", token: str | None = None, **parameters: str
    ) -> None:
        """Create or change a job as a POST would; it is in progress at once."""
        with self.lock:
            self._post(token or self.settings.tokens[0], kind, parameters | {"name": name})

    def complete(self, name: str, *, status: int | None = None, token: str | None = None) -> None:
        """End a job's round; with a status of `ENDS` for that reason, otherwise as it is due."""
        if status is not None and status not in ENDS:
            raise ValueError(f"{status} is not the end of a round; there are {ENDS}")
        with self.lock:
            self._end_round(self._job(name, token), status)

    def set_status(self, name: str, status: int, *, token: str | None = None) -> None:
        """Give a job a status that comes from the provider alone: 0, 8, 11; nothing is notified."""
        with self.lock:
            self._job(name, token).status = status

    def start_round(self, name: str, *, token: str | None = None) -> None:
        """Begin a job's next round."""
        with self.lock:
            self._start_round(self._job(name, token))

    # What a test sees.

    def job(self, name: str, *, token: str | None = None) -> Json:
        """Return a job object, as the list shows it."""
        with self.lock:
            self._timeline.settle()
            return self._shown(self._job(name, token))

    def notifications(self, name: str | None = None) -> list[Notification]:
        """Return the notifications that were sent, in the order in which they ended."""
        with self.lock:
            return [one for one in self._notifications if name in (None, one.name)]

    def wait_idle(self, seconds: float = 30.0) -> None:
        """Return as soon as no notification is under way; fails when the time is over."""
        with self.lock:
            self._timeline.settle()
        assert self._outbox.wait_idle(seconds), f"still notifying after {seconds} s"

    # What the server does.

    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Send notifications, and let rounds come due."""
        return [self._timeline.run, self._outbox.run]

    def family(self, request: web.Request) -> str:
        """Name the family of endpoints that a call belongs to."""
        segments = request.path.strip("/").split("/")
        if segments[0] != "v3" or len(segments) < 2 or segments[1] not in ("crawl", "bulk"):
            return "other"
        return segments[2] if len(segments) > 2 else segments[1]

    async def answer(self, request: web.Request, family: str, open_calls: int) -> web.Response:
        """Answer a call."""
        form = await request.post() if request.method == "POST" else {}
        given = dict(request.query) | {
            key: value for key, value in form.items() if isinstance(value, str)
        }
        with self.lock:
            self._timeline.settle()
            try:
                return self._dispatch(request, family, given)
            except Failed as failed:
                request[CODE] = failed.code
                body = {"errorCode": failed.code, "error": failed.error}
                return _json(body, status=failed.http_status)

    def _dispatch(self, request: web.Request, family: str, given: dict[str, str]) -> web.Response:
        if family == "download":
            return data.download(self._jobs.values(), request.path.rpartition("/")[2])
        token = given.get("token", "")
        if token not in self.settings.tokens:
            raise Failed(401, "Not authorized API token.")  # §2.4 [D]
        limit = self.settings.calls_per_minute
        if not self._limit.admits(self.clock.time(), calls_max=limit):
            raise Failed(429, "Too many requests.")
        if family == "data":
            job = self._jobs.get((token, given.get("name", "")))
            if job is None:
                raise Failed(400, "No collection record")  # §2.4 [D]: another answer than below
            return data.answer(job, given)
        if family not in ("crawl", "bulk"):
            raise Failed(404, "Not found.")
        if request.method == "POST":
            self._post(token, "crawl" if family == "crawl" else "bulk", given)
            # The answer to a POST is not documented in what was read [?].
            return self._listed([self._jobs[token, given["name"]]])
        return self._manage(token, given)

    def _manage(self, token: str, given: dict[str, str]) -> web.Response:
        # §2.4 [D] S001: both endpoints give the same list, and find jobs of either kind.
        if "name" not in given:
            return self._listed([job for (owner, _), job in self._jobs.items() if owner == token])
        job = self._jobs.get((token, given["name"]))
        if job is None:
            # §2.4 [D]: HTTP 500 and a text as code mean "not found".
            raise Failed(500, "no collection record.", code="500")
        if given.get("delete") == "1":
            del self._jobs[token, job.name]
            return _json({"response": "Successfully deleted job."})
        if given.get("restart") == "1":
            job.erase()
            self._begin(job)
        elif given.get("roundStart") == "1":
            self._start_round(job)
        elif given.get("pause") == "1" and job.status != 6:
            job.status_before_pause, job.status = job.status, 6
        elif given.get("pause") == "0" and job.status == 6:
            job.status = job.status_before_pause
        return self._listed([job])

    def _post(self, token: str, kind: Kind, parameters: dict[str, str]) -> None:
        name = parameters.get("name", "")
        urls = parameters.get("seeds" if kind == "crawl" else "urls")
        job = self._jobs.get((token, name))
        if job is not None:
            # §2.1 [D]: posting again under the same name changes the job.
            job.parameters |= parameters
            return
        if not name or not urls:
            raise Failed(400, "name and seeds or urls are required.")  # [?] not documented
        if sum(1 for owner, _ in self._jobs if owner == token) >= self.settings.jobs_max:
            raise Failed(505, "Too many collections for token")  # §2.4 [D]
        job = Job(token, name, kind, int(self.clock.time()), dict(parameters), status=7)
        self._jobs[token, name] = job
        self._begin(job)

    def _begin(self, job: Job) -> None:
        after = self.settings.complete_after_seconds
        if after is not None:
            self._timeline.at(self.clock.time() + after, lambda: self._end_round(job, None))

    def _start_round(self, job: Job) -> None:
        job.start_round(self.clock.time())
        self._begin(job)

    def _end_round(self, job: Job, status: int | None) -> None:
        alive = self._jobs.get((job.token, job.name)) is job
        if not alive or job.status not in RUNNING:
            return
        job.end_round(self.clock.time(), status)
        if job.webhook and not job.notification_sent:
            # §2.2 [S]: the flag is set by sending, so the body itself still says 0.
            body = write_body(self._shown(job), escape=self.settings.escape)
            job.notification_sent = 1
            self._outbox.put(partial(self._send, job, job.webhook, job.message, body))
        if job.status == 4:
            due = self.clock.time() + job.repeat_days * 86_400
            self._timeline.at(due, lambda: self._next_round_due(job))

    def _next_round_due(self, job: Job) -> None:
        if self._jobs.get((job.token, job.name)) is job and job.status == 4:
            self._start_round(job)

    async def _send(self, job: Job, url: str, message: str, body: bytes) -> None:
        http_code = 0
        error: Literal["timeout", "connection"] | None = None
        try:
            http_code = await send(
                url, name=job.name, status=message, body=body, seconds=self.settings.notify_seconds
            )
        except TimeoutError:
            error = "timeout"
        except (OSError, ValueError):
            error = "connection"
        # §2.2 [S]: no retry; the outcome is logged and ignored.
        with self.lock:
            self._notifications.append(
                Notification(
                    token=job.token,
                    name=job.name,
                    url=url,
                    body=body,
                    at=self.clock.time(),
                    http_code=http_code,
                    error=error,
                )
            )

    def _job(self, name: str, token: str | None) -> Job:
        job = self._jobs.get((token or self.settings.tokens[0], name))
        assert job is not None, f"no job {name}"
        return job

    def _shown(self, job: Job) -> Json:
        base = self.settings.download_base
        return job.shown(now=self.clock.time(), download_base=self.url if base is None else base)

    def _listed(self, jobs: list[Job]) -> web.Response:
        shown = [self._shown(job) for job in jobs]
        if self.settings.forge_job is not None:
            shown = [self.settings.forge_job(job) for job in shown]
        return _json({"jobs": shown})


def _json(body: Json, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

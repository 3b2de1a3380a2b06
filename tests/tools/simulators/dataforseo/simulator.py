"""The simulated DataForSEO, or DataForApps: the server, and what a test can arrange and see."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Literal

from aiohttp import web

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo.answers import Answers
from tests.tools.simulators.dataforseo.appendix import ServiceStatus
from tests.tools.simulators.dataforseo.catalogue import FUNCTIONS
from tests.tools.simulators.dataforseo.delivery import Delivered
from tests.tools.simulators.dataforseo.envelope import Refusal, entry, envelope, refused, response
from tests.tools.simulators.dataforseo.gate import Gate, family_of, segments_of
from tests.tools.simulators.dataforseo.lists import call_error
from tests.tools.simulators.dataforseo.settings import DAY_SECONDS, Settings
from tests.tools.simulators.dataforseo.state import State
from tests.tools.simulators.dataforseo.tasks import Task
from tests.tools.simulators.server import Json, Simulator

Brand = Literal["dataforseo", "dataforapps"]


class DataForSeo(Simulator):
    """API v3 of one account; change `settings` any time, ask the rest through methods."""

    def __init__(
        self,
        brand: Brand = "dataforseo",
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(clock=clock, host=host, port=port)
        self.brand = brand
        if settings is None:
            # §1.11 [D]: DataForApps' page still says 24 hours.
            days = 7 if brand == "dataforseo" else 1
            settings = Settings(errors_seconds=days * DAY_SECONDS)
        self.settings = settings
        self.status = ServiceStatus()
        self._state = State(clock=self.clock, lock=self.lock, settings=settings)
        self._answers = Answers(self._state, self.status)
        self._gate = Gate(settings, self.clock)

    # What a test arranges.

    def post(self, function: str, *posted: Json) -> list[str]:
        """Post tasks as a call of task_post would; return their ids."""
        with self.lock:
            return [self._state.post(FUNCTIONS[function], task).id for task in posted]

    def add_ready(
        self,
        function: str,
        count: int = 1,
        *,
        tag: str | None = None,
        listed: bool = True,
        **posted: Any,
    ) -> list[str]:
        """Add finished tasks that nothing was delivered of; other programs' too, by their tag."""
        ids = []
        with self.lock:
            now = self.clock.time()
            for number in range(count):
                fields = {"keyword": f"garden hose {number}"} | posted
                if tag is not None:
                    fields["tag"] = tag
                task = Task(
                    id=self._state.tasks.new_id(now),
                    function=FUNCTIONS[function],
                    posted=fields,
                    posted_at=now,
                    done_at=now,
                )
                self._state.tasks.add(task)
                if listed:
                    self._state.list_task(task)
                ids.append(task.id)
        return ids

    def add_other_clients(self, function: str) -> str:
        """Add a finished task of another client: asking for it is 40001."""
        with self.lock:
            now = self.clock.time()
            task = Task(
                id=self._state.tasks.new_id(now),
                function=FUNCTIONS[function],
                posted={},
                posted_at=now,
                done_at=now,
                ours=False,
            )
            self._state.tasks.add(task)
            return task.id

    def add_live(self, function: str, **posted: Any) -> str:
        """Add a Live task: in id_list, but nowhere else."""
        (task_id,) = self.add_ready(function, listed=False, **posted)
        with self.lock:
            self._task(task_id).live = True
        return task_id

    def add_error(
        self, api: str, *, function: str, code: int = 40501, task_id: str | None = None
    ) -> None:
        """Add an entry of ``/errors`` that has nothing to do with webhooks."""
        with self.lock:
            now = self.clock.time()
            noted = call_error(
                task_id or self._state.tasks.new_id(now),
                at=now,
                function=function,
                code=code,
                text="Invalid Field.",
                url=f"/v3/{function}",
            )
            self._state.errors.add(api, now, noted)

    def finish(
        self,
        ids: str | Iterable[str],
        *,
        status: int = 20000,
        results: Mapping[str | None, list[Any]] | None = None,
    ) -> None:
        """Let tasks be done; `results` by datatype, None for all, instead of made ones."""
        with self.lock:
            for task_id in [ids] if isinstance(ids, str) else ids:
                self._state.finish(self._task(task_id), status=status, results=results)

    def finish_all(self) -> list[str]:
        """Let every task that is not done be done; return their ids."""
        with self.lock:
            ids = [task.id for task in self._state.tasks.all() if task.done_at is None]
            self.finish(ids)
            return ids

    def set_webhook_delay(self, milliseconds: int) -> None:
        """Set the account's time between webhooks, for tasks posted from now on."""
        # §1.5 [D] HC: 50 to 1000; 0 takes it away.
        if milliseconds and not 50 <= milliseconds <= 1000:
            raise ValueError("webhook delay is 50 to 1000 milliseconds")
        self.settings.webhook_delay_ms = milliseconds

    # What a test sees.

    def ids(self) -> list[str]:
        """Return all tasks, in the order in which they were posted."""
        with self.lock:
            return [task.id for task in self._state.tasks.all()]

    def task(self, task_id: str) -> Task:
        """Return a task; to be read only."""
        with self.lock:
            self._state.timeline.settle()
            return self._task(task_id)

    def result(self, task_id: str, datatype: str | None = None) -> list[Any] | None:
        """Return what the provider holds for a task: `result` of its task_get."""
        with self.lock:
            task = self._task(task_id)
            return self._state.result(task, datatype or task.postback_datatype)

    def listed(self, name: str) -> int:
        """Return how many tasks a tasks_ready list holds, of which a call shows 1000."""
        with self.lock:
            self._state.timeline.settle()
            return self._state.ready.count(name)

    def uncollected(self) -> list[str]:
        """Return the tasks that are listed somewhere: what a sweep has left behind."""
        with self.lock:
            self._state.timeline.settle()
            ready = self._state.ready
            return [task.id for task in self._state.tasks.all() if ready.holds(task)]

    def deliveries(self, task_id: str | None = None) -> list[Delivered]:
        """Return the attempts to call back, in the order in which they ended."""
        with self.lock:
            history = self._state.deliveries.history
            return [one for one in history if task_id in (None, one.task.id)]

    @property
    def deliveries_open_max(self) -> int:
        """The most callbacks that were ever under way at the same time."""
        return self._state.deliveries.open_max

    def wait_idle(self, seconds: float = 30.0) -> None:
        """Return as soon as no callback is left to deliver; fails when the time is over."""
        with self.lock:
            self._state.timeline.settle()
        assert self._state.deliveries.wait_idle(seconds), f"still delivering after {seconds} s"

    # What the server does.

    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Deliver callbacks, and let tasks come due."""
        return [self._state.timeline.run, self._state.deliveries.run]

    def family(self, request: web.Request) -> str:
        """Name the family of endpoints that a call belongs to."""
        return family_of(segments_of(request))

    def coded_error(self, request: web.Request) -> web.Response:
        """Answer 50000 inside HTTP 200."""
        return response(request, refused(50000))

    async def answer(self, request: web.Request, family: str, open_calls: int) -> web.Response:
        """Answer a call."""
        body = await request.read()
        segments = segments_of(request)
        with self.lock:
            self._state.timeline.settle()
            try:
                self._gate.admit(request, family, open_calls)
                answer = envelope(self._dispatch(request.method, family, segments, body))
            except Refusal as refusal:
                answer = self._refused(refusal, segments)
        reply = response(request, answer)
        reply.headers.update(self._gate.rate_headers())
        return reply

    def _refused(self, refusal: Refusal, segments: list[str]) -> Json:
        # A path that is wrong is the task's fault, not the call's (§1.10).
        in_task = refusal.code == 40402 or (
            refusal.code in (40202, 40209) and self.settings.refusals_in == "task"
        )
        if not in_task:
            return refused(refusal.code, refusal.detail)
        new_id = self._state.tasks.new_id(self.clock.time())
        posted = {"api": segments[1] if len(segments) > 1 else None}
        return envelope([entry(new_id, path=segments, posted=posted, code=refusal.code)])

    def _dispatch(self, method: str, family: str, segments: list[str], body: bytes) -> list[Json]:
        # §1.1 [D] S004: the twin brand has App Data and the appendix.
        if self.brand == "dataforapps" and segments[1:2] not in (["app_data"], ["appendix"]):
            raise Refusal(40400)
        answers = self._answers
        posts: dict[str, Callable[[list[str], bytes], list[Json]]] = {
            "task_post": answers.task_post,
            "force_stop": answers.force_stop,
            "webhook_resend": answers.webhook_resend,
            "errors": answers.errors,
            "id_list": answers.id_list,
        }
        gets: dict[str, Callable[[list[str]], list[Json]]] = {
            "tasks_ready": answers.tasks_ready,
            "task_get": answers.task_get,
            "summary": answers.summary,
            "status": lambda path: answers.appendix(path, "status"),
            "user_data": lambda path: answers.appendix(path, "user_data"),
            "appendix_errors": lambda path: answers.appendix(path, "errors"),
        }
        if method == "POST" and family in posts:
            return posts[family](segments, body)
        if method == "GET" and family in gets:
            return gets[family](segments)
        if len(segments) > 1 and any(path.split("/")[0] == segments[1] for path in FUNCTIONS):
            raise Refusal(40402)
        raise Refusal(40400)

    def _task(self, task_id: str) -> Task:
        task = self._state.tasks.get(task_id)
        assert task is not None, f"no task {task_id}"
        return task

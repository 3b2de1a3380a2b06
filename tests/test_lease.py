"""Leases, in both stores: one owner holds them at a time, and one that slept does no harm."""

import concurrent.futures
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from receiver import metrics
from receiver.errors import Conflict, LeaseHeld, LeaseLost, StoreError
from receiver.lease import Lease, Watch
from receiver.store import DirectoryStore, Store, open_store
from tests.tools.support.s3 import Bucket

KEY = "leases/sweep-dataforseo.json"
SECONDS = 60.0
GRACE = 10.0


_S3 = [pytest.param(kind, marks=pytest.mark.integration) for kind in ("s3", "unconditional")]


@pytest.fixture(params=["directory", *_S3])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    if request.param == "directory":
        return open_store(str(tmp_path / "archive"))
    bucket: Bucket = request.getfixturevalue("bucket")
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{bucket.name}/some/where", leases=request.param == "s3")


class Machine:
    """A machine's two clocks, which a test moves, and what it has seen of leases."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.wall = at
        self.running = 50.0
        self.watch = Watch()

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds


@pytest.fixture
def lease(store: Store) -> Callable[[str, Machine], Lease]:
    """Make leases of one name, by owner and machine."""

    def make(owner: str, machine: Machine) -> Lease:
        return Lease(
            store,
            "sweep-dataforseo",
            owner=owner,
            seconds=SECONDS,
            now_us=lambda: int(machine.wall * 1e6),
            monotonic=lambda: machine.running,
            watch=machine.watch,
        )

    return make


Make = Callable[[str, Machine], Lease]


def test_the_first_to_ask_gets_the_lease_which_names_its_owner(lease: Make, store: Store) -> None:
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    first.check()
    assert 1 == first.generation
    expires_at_us = int((machine.wall + SECONDS) * 1e6)
    assert {
        "owner": "a/1",
        "generation": 1,
        "expires_at_us": expires_at_us,
        "seconds": SECONDS,
    } == orjson.loads(store.get(KEY))


def test_an_error_names_the_holder(lease: Make) -> None:
    machine = Machine()
    lease("a/1", machine).acquire()
    with pytest.raises(LeaseHeld, match="a/1 holds"):
        lease("b/1", machine).acquire()


def test_of_many_that_ask_at_once_one_gets_the_lease(lease: Make) -> None:
    for expired in (False, True):
        machine = Machine(1_800_000_000.0 + 1000 * expired)
        leases = [lease(f"{number}/{expired}", machine) for number in range(8)]
        together = threading.Barrier(len(leases))

        def take(one: Lease, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                one.acquire()
            except LeaseHeld:
                return False
            return True

        with concurrent.futures.ThreadPoolExecutor(len(leases)) as pool:
            assert 1 == sum(pool.map(take, leases))
        (holder,) = (one for one in leases if one.generation)
        holder.check()
        assert 1 + expired == holder.generation


def test_a_lease_is_taken_over_only_a_grace_after_it_ran_out(lease: Make) -> None:
    machine = Machine()
    first, second = lease("a/1", machine), lease("b/1", machine)
    first.acquire()
    machine.pass_time(SECONDS)
    with pytest.raises(LeaseHeld):
        second.acquire()
    machine.pass_time(GRACE - 0.1)
    with pytest.raises(LeaseHeld):
        second.acquire()
    machine.pass_time(0.2)
    second.acquire()
    assert 2 == second.generation
    for step in (first.check, first.keep, first.renew):
        with pytest.raises(LeaseLost):
            step()


# A clock that was ahead.

DAY = 86_400.0


def test_an_unrenewed_lease_is_taken_over_however_far_ahead_it_expires(
    lease: Make, caplog: pytest.LogCaptureFixture
) -> None:
    ahead, right = Machine(1_800_000_000.0 + 365 * DAY), Machine()
    lease("a/1", ahead).acquire()
    for number in range(8):
        with pytest.raises(LeaseHeld, match="a/1 holds"):
            lease(f"b/{number}", right).acquire()
        right.pass_time((SECONDS + GRACE - 0.1) / 8)
    with pytest.raises(LeaseHeld):
        lease("b/8", right).acquire()
    (warning,) = caplog.records
    assert ("WARNING", KEY, "a/1") == (
        warning.levelname,
        vars(warning)["lease"],
        vars(warning)["owner"],
    )
    right.pass_time(0.2)
    second = lease("b/9", right)
    second.acquire()
    second.check()
    assert 2 == second.generation


def test_a_renewed_lease_is_never_taken_over_whatever_its_holders_clock_says(lease: Make) -> None:
    ahead, right = Machine(1_800_000_000.0 + 365 * DAY), Machine()
    first = lease("a/1", ahead)
    first.acquire()
    for number in range(10):
        with pytest.raises(LeaseHeld):
            lease(f"b/{number}", right).acquire()
        for machine in (ahead, right):
            machine.pass_time(SECONDS - 1)
        first.keep()
    first.check()


def test_a_lease_of_more_seconds_is_watched_for_as_long(store: Store) -> None:
    def lease(owner: str, seconds: float, at: float) -> Lease:
        return Lease(store, "sweep-dataforseo", owner=owner, seconds=seconds, monotonic=lambda: at)

    # Also, what this process has seen is one for all its leases.
    lease("a/1", 5 * SECONDS, 0.0).acquire()
    for at in (0.0, 5 * SECONDS + GRACE - 0.1):
        with pytest.raises(LeaseHeld):
            lease("b/1", SECONDS, at).acquire()
    lease("b/1", SECONDS, 5 * SECONDS + GRACE).acquire()


def test_an_ordinary_lease_is_not_warned_about(
    lease: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = Machine(), Machine(1_800_000_000.0 + SECONDS - 1)
    lease("a/1", there).acquire()
    with pytest.raises(LeaseHeld):
        lease("b/1", here).acquire()
    assert [] == caplog.records


# An answer that was lost.


class Forgetful(DirectoryStore):
    """Writes, and fails afterwards on request."""

    says: Exception | None = None

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        written = super().put_if(key, content, etag=etag)
        said, self.says = self.says, None
        if said is not None:
            raise said
        return written


@pytest.fixture
def forgetful(tmp_path: Path) -> Forgetful:
    return Forgetful(tmp_path / "archive")


# A client that repeats a request by itself is told what became of the repetition.
REPEATED = Conflict("it is not as expected")


def test_a_lease_whose_write_got_no_reply_is_held(forgetful: Forgetful) -> None:
    lease = Lease(forgetful, "sweep-dataforseo", owner="a/1")
    for step in (lease.acquire, lease.renew, lease.renew, lease.release):
        forgetful.says = REPEATED
        step()
        assert forgetful.says is None
    second = Lease(forgetful, "sweep-dataforseo", owner="a/2")
    second.acquire()
    assert 2 == second.generation


def test_a_renewal_whose_write_got_no_reply_counts(forgetful: Forgetful) -> None:
    lease = Lease(forgetful, "sweep-dataforseo", owner="a/1")
    lease.acquire()
    for step in (lease.renew, lease.release):
        forgetful.says = StoreError("no answer")
        with pytest.raises(StoreError, match="no answer"):
            lease.renew()
        step()
    Lease(forgetful, "sweep-dataforseo", owner="a/2").acquire()


def test_a_lease_that_is_kept_does_not_run_out(lease: Make) -> None:
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    for _ in range(20):
        machine.pass_time(SECONDS * 0.4)
        first.keep()
    with pytest.raises(LeaseHeld):
        lease("b/1", machine).acquire()
    assert 1 == first.generation


def test_keeping_a_lease_writes_only_after_half_of_its_time(lease: Make, store: Store) -> None:
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    written = store.get(KEY)
    machine.pass_time(SECONDS / 2 - 1)
    first.keep()
    assert written == store.get(KEY)
    machine.pass_time(2)
    first.keep()
    assert written != store.get(KEY)


def test_a_lease_that_ran_out_must_not_be_used_even_if_it_was_not_taken(lease: Make) -> None:
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    machine.pass_time(SECONDS)
    with pytest.raises(LeaseLost, match="ran out"):
        first.check()
    with pytest.raises(LeaseLost, match="ran out"):
        first.keep()


def test_a_holder_that_slept_is_refused_whatever_its_wall_clock_says(lease: Make) -> None:
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    machine.running += SECONDS + 1  # the wall clock was set back meanwhile
    with pytest.raises(LeaseLost):
        first.check()


def test_a_holder_that_slept_through_a_takeover_cannot_renew_or_release(
    lease: Make, store: Store
) -> None:
    here, there = Machine(), Machine()
    first, second = lease("a/1", here), lease("b/1", there)
    first.acquire()
    # A machine that was suspended: its clocks stood still, time went on elsewhere.
    there.pass_time(SECONDS + GRACE + 1)
    second.acquire()
    with pytest.raises(LeaseLost):
        first.renew()
    with pytest.raises(LeaseLost):
        first.check()
    first.release()
    second.check()
    assert "b/1" == orjson.loads(store.get(KEY))["owner"]


def test_a_released_lease_is_free_at_once(lease: Make) -> None:
    machine = Machine()
    first, second = lease("a/1", machine), lease("b/1", machine)
    first.acquire()
    first.release()
    with pytest.raises(LeaseLost):
        first.check()
    second.acquire()
    assert 2 == second.generation
    first.release()  # again, which must not give up what is another's
    second.check()
    with pytest.raises(LeaseHeld):
        lease("c/1", machine).acquire()


def test_releasing_a_lease_that_was_never_held_writes_nothing(lease: Make, store: Store) -> None:
    lease("a/1", Machine()).release()
    assert [] == list(store.list("leases/"))


def test_the_generation_grows_with_every_holder(lease: Make) -> None:
    machine = Machine()
    generations = []
    for number in range(4):
        one = lease(f"{number}/1", machine)
        one.acquire()
        one.renew()
        generations.append(one.generation)
        if number % 2:
            one.release()
        else:
            machine.pass_time(SECONDS + GRACE + 1)
    assert [1, 2, 3, 4] == generations


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b"\x00\xff", b"{", b"[]", b'{"owner": 7}', b'{"owner": "x", "generation": "y"}'),
        b'{"owner": "x", "generation": 99999999999999999999, "expires_at_us": 1}',
        b'{"owner": "x", "generation": 1, "expires_at_us": %s}' % (b"9" * 400),
        b'{"x": %s' % (b"[" * 5000),
    ],
)
def test_garbage_is_replaced_by_one_owner(lease: Make, store: Store, garbage: bytes) -> None:
    store.put(KEY, garbage)
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    first.check()
    assert 1 == first.generation
    with pytest.raises(LeaseHeld):
        lease("b/1", machine).acquire()


def test_a_lost_lease_is_counted_once(lease: Make) -> None:
    before = metrics.leases_lost._value.get()
    machine = Machine()
    first = lease("a/1", machine)
    first.acquire()
    first.check()
    machine.pass_time(SECONDS)
    for _ in range(3):
        with pytest.raises(LeaseLost):
            first.check()
    assert before + 1 == metrics.leases_lost._value.get()
    first.acquire()
    machine.pass_time(SECONDS + GRACE)
    lease("b/1", machine).acquire()
    with pytest.raises(LeaseLost):
        first.renew()
    assert before + 2 == metrics.leases_lost._value.get()


def test_leases_of_different_names_are_independent(store: Store) -> None:
    Lease(store, "sweep-dataforseo", owner="a/1").acquire()
    Lease(store, "sweep-diffbot", owner="b/1").acquire()
    assert ["leases/sweep-dataforseo.json", "leases/sweep-diffbot.json"] == [
        found.key for found in store.list("leases/")
    ]

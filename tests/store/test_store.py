"""All stores pass one suite: a directory, a bucket, and a bucket without conditional writes."""

from pathlib import Path

import pytest

from receiver.errors import Conflict, NotFound, SettingsError
from receiver.store import DirectoryStore, Listed, Store, open_store
from tests.tools.support.s3 import Bucket

_S3 = [pytest.param(kind, marks=pytest.mark.integration) for kind in ("s3", "unconditional")]


@pytest.fixture(params=["directory", *_S3])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """Return an empty store, of each sort in turn."""
    if request.param == "directory":
        return open_store(str(tmp_path / "archive"))
    bucket: Bucket = request.getfixturevalue("bucket")
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{bucket.name}/some/where", leases=request.param == "s3")


def test_what_was_put_is_got(store: Store) -> None:
    for content in [b"", b"x", bytes(range(256)) * 1000, b"\r\n" * 9, bytes(6 << 20)]:
        store.put("callbacks/date=2026-11-21/a.jsonl.gz", content)
        assert content == store.get("callbacks/date=2026-11-21/a.jsonl.gz")


def test_a_put_replaces_what_was_there(store: Store) -> None:
    store.put("a/b", b"a longer one")
    store.put("a/b", b"new")
    assert b"new" == store.get("a/b")
    assert [Listed("a/b", 3)] == list(store.list(""))


RANGES: list[tuple[int, int | None, bytes]] = [
    (0, None, b"0123456789"),
    (0, 4, b"0123"),
    (3, 4, b"3456"),
    (3, None, b"3456789"),
    (9, 1, b"9"),
    (8, 100, b"89"),
    (10, 5, b""),
    (50, 5, b""),
    (50, None, b""),
    (4, 0, b""),
]


def test_a_range_is_got(store: Store) -> None:
    store.put("a", b"0123456789")
    for start, length, expected in RANGES:
        assert expected == store.get("a", start=start, length=length), (start, length)


def test_a_range_of_an_empty_object_is_empty(store: Store) -> None:
    store.put("a", b"")
    assert b"" == store.get("a", start=0, length=10)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    store.put("a/bc", b"a neighbour")
    with pytest.raises(NotFound):
        store.get("a/b")
    with pytest.raises(NotFound):
        store.get("a/b", start=3, length=4)
    with pytest.raises(NotFound):
        store.get_with_etag("a/b")


KEYS = sorted(
    [
        "a",
        "a-b/c",
        "a.b",
        "a/b",
        "a/b/c",
        "a0",
        "callbacks/date=2026-11-21/hour=09/provider=diffbot/kind=notification/s-0.jsonl.gz",
        "callbacks/date=2026-11-21/hour=09/provider=diffbot/kind=notification/s-1.jsonl.gz",
        "callbacks/date=2026-11-21/hour=10/provider=dataforseo/kind=postback/s-0.jsonl.gz",
        "callbacks/date=2026-11-22/hour=00/provider=dataforseo/kind=postback/s-2.jsonl.gz",
        "index/date=2026-11-21/hour=09/s-0.jsonl.gz",
        "z/ä",
        "z/€",
    ],
    key=str.encode,
)


@pytest.fixture
def filled(store: Store) -> Store:
    # A directory cannot hold a file and a directory of one name, so `a` and `a/b` differ by sort.
    for key in keys_of(store):
        store.put(key, key.encode())
    return store


def keys_of(store: Store) -> list[str]:
    if isinstance(store, DirectoryStore):
        return [key for key in KEYS if key not in ("a", "a/b")]
    return KEYS


PREFIXES = [
    "",
    "a",
    "a/",
    "a/b",
    "callbacks/date=2026-11-2",
    "callbacks/date=2026-11-21/",
    "callbacks/date=2026-11-21/hour=09/provider=diffbot/kind=notification/s-1",
    "index/date=2026-11-21/hour=09/s-0.jsonl.gz",
    "index/date=2026-11-21/hour=09/s-0.jsonl.gz/",
    "nothing/like/that",
    "z/",
]


def test_a_listing_has_the_keys_of_its_prefix_in_order_of_their_bytes(filled: Store) -> None:
    for prefix in PREFIXES:
        expected = [
            Listed(key, len(key.encode())) for key in keys_of(filled) if key.startswith(prefix)
        ]
        assert expected == list(filled.list(prefix)), prefix


def test_a_listing_goes_on_behind_any_key(filled: Store) -> None:
    between = ["", "A", "a-", "b", "callbacks/date=2026-11-21/hour=09/x", "zz"]
    for prefix in ["", "callbacks/", "index/date=2026-11-21"]:
        keys = [key for key in keys_of(filled) if key.startswith(prefix)]
        for after in between + KEYS:
            behind = [key for key in keys if key.encode() > after.encode()]
            found = [listed.key for listed in filled.list(prefix, after=after)]
            assert behind == found, (prefix, after)


def test_folders_are_what_keys_go_on_with(filled: Store) -> None:
    days = ["callbacks/date=2026-11-21/", "callbacks/date=2026-11-22/"]
    assert days == list(filled.folders("callbacks/"))
    assert ["a-b/", "callbacks/", "index/", "z/"] == [f for f in filled.folders("") if f != "a/"]
    assert [] == list(filled.folders("index/date=2026-11-21/hour=09/"))
    assert [] == list(filled.folders("nothing/like/that/"))


def test_odd_keys_are_listed_as_they_are(store: Store) -> None:
    """Also where a listing has to encode them."""
    keys = ["a b", "a%20b", "a&amp;b", "a'b", "a+b", "a<b>", 'c"d', "d=e/f=g,h", "é&€/😀 ä"]
    for key in keys:
        store.put(key, b"x")
    assert keys == [listed.key for listed in store.list("")]


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert [] == list(store.folders("index/"))
    assert [] == list(store.list(""))
    assert [] == list(store.list("callbacks/"))


def test_what_was_deleted_is_gone(store: Store) -> None:
    store.put("a/b", b"content")
    store.put("a/c", b"content")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert [Listed("a/c", 7)] == list(store.list(""))
    with pytest.raises(NotFound):
        store.get("a/b")


def test_put_if_none_writes_only_where_nothing_is(store: Store) -> None:
    etag = store.put_if("leases/sweep.json", b"first", etag=None)
    with pytest.raises(Conflict):
        store.put_if("leases/sweep.json", b"second", etag=None)
    assert (b"first", etag) == store.get_with_etag("leases/sweep.json")
    store.delete("leases/sweep.json")
    store.put_if("leases/sweep.json", b"third", etag=None)
    assert b"third" == store.get("leases/sweep.json")


def test_put_if_matches_the_etag_or_leaves_all_as_it_is(store: Store) -> None:
    first = store.put_if("a", b"first", etag=None)
    second = store.put_if("a", b"second", etag=first)
    assert first != second
    with pytest.raises(Conflict):
        store.put_if("a", b"third", etag=first)
    assert (b"second", second) == store.get_with_etag("a")


def test_put_if_matches_what_put_wrote(store: Store) -> None:
    store.put("a", b"first")
    _, etag = store.get_with_etag("a")
    store.put_if("a", b"second", etag=etag)
    assert b"second" == store.get("a")


def test_put_if_an_object_that_is_gone_is_refused(store: Store) -> None:
    etag = store.put_if("a", b"first", etag=None)
    store.delete("a")
    with pytest.raises((Conflict, NotFound)):
        store.put_if("a", b"second", etag=etag)
    with pytest.raises(NotFound):
        store.get("a")


def test_all_checks_of_a_good_store_are_good_and_leave_nothing(store: Store) -> None:
    checks = list(store.checks())
    assert [] == [check for check in checks if not check.good]
    assert "conditional writes" in [check.name for check in checks]
    assert [] == list(store.list(""))


@pytest.mark.parametrize(
    "address",
    [
        "s3:///prefix",
        "gs://bucket",
        "http://host/path",
        "s3://",
        # Each of these would be taken for something else, and quietly.
        "s3:/bucket",
        "S3:bucket/prefix",
        "s3://key:do-not-show@bucket",
        "s3://bucket/a#b",
        "s3://bucket/a?b",
    ],
)
def test_an_address_of_neither_sort_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="neither s3://bucket/prefix nor a dir") as caught:
        open_store(address)
    assert "do-not-show" not in str(caught.value)

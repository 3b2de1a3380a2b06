"""One suite for both stores, and what only one of them has."""

import base64
import concurrent.futures
import hashlib
import http.server
import os
import socket
import stat
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import Conflict, NotFound, SettingsError, StoreError, StoreRefused
from receiver.store import DirectoryStore, Listed, Store, open_store
from receiver.store.s3 import S3Store
from tests.tools.support import s3 as support
from tests.tools.support.s3 import Bucket


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """Return an empty store, of each sort in turn."""
    if request.param == "directory":
        return open_store(str(tmp_path / "archive"))
    bucket: Bucket = request.getfixturevalue("bucket")
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{bucket.name}/some/where")


# What both stores keep to.


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


# The directory.


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "archive")


def test_keys_are_paths_that_any_tool_reads(directory: DirectoryStore, tmp_path: Path) -> None:
    directory.put("callbacks/date=2026-11-21/a.jsonl.gz", b"content")
    path = tmp_path / "archive" / "callbacks" / "date=2026-11-21" / "a.jsonl.gz"
    assert b"content" == path.read_bytes()
    assert 0 == stat.S_IMODE(path.stat().st_mode) & 0o077


def test_a_put_is_durable_before_it_returns(
    directory: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(fd: int, real: Callable[[int], None] = real) -> None:
            synced.append(Path(f"/proc/self/fd/{fd}").readlink())
            real(fd)

        monkeypatch.setattr(os, name, sync)
    directory.put("a/b/c", b"content")
    root = tmp_path / "archive"
    *parents, temporary, last = synced
    assert [tmp_path, root, root / "a"] == parents
    assert (root / "a" / "b", ".tmp") == (temporary.parent, temporary.suffix)
    assert root / "a" / "b" == last


def test_unfinished_files_are_no_objects(directory: DirectoryStore, tmp_path: Path) -> None:
    directory.put("a/b", b"content")
    (tmp_path / "archive" / "a" / ".c.17-abcd.tmp").write_bytes(b"half of it")
    assert ["a/b"] == [listed.key for listed in directory.list("a/")]


@pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "a/.", ""])
def test_a_key_cannot_lead_out_of_the_directory(directory: DirectoryStore, key: str) -> None:
    with pytest.raises(AssertionError):
        directory.put(key, b"content")


def test_a_file_in_the_way_is_refused_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryStore(tmp_path / "file" / "archive")
    with pytest.raises(StoreRefused):
        store.put("a", b"content")
    (check,) = store.checks()
    assert (False, True) == (check.good, check.refused)
    assert "RECEIVER_ARCHIVE" in check.hint


def test_an_object_that_vanishes_while_it_is_listed_is_left_out(
    directory: DirectoryStore, tmp_path: Path
) -> None:
    for name in "abc":
        directory.put(f"leases/{name}", b"content")
    listing = directory.list("leases/")
    assert "leases/a" == next(listing).key
    (tmp_path / "archive" / "leases" / "b").unlink()
    assert ["leases/c"] == [listed.key for listed in listing]


# Many at once.  That S3 decides a condition atomically is its own promise; moto does not keep it.


def test_of_many_that_write_first_one_wins(directory: DirectoryStore) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> bool:
        together.wait(30)
        try:
            directory.put_if("leases/sweep.json", b"%d" % number, etag=None)
        except Conflict:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert 1 == sum(won)
    assert b"%d" % won.index(True) == directory.get("leases/sweep.json")


def test_no_conditional_write_is_lost(directory: DirectoryStore) -> None:
    directory.put("counter", b"0")

    def count(times: int) -> None:
        while times:
            content, etag = directory.get_with_etag("counter")
            try:
                directory.put_if("counter", b"%d" % (int(content) + 1), etag=etag)
            except Conflict:
                continue
            times -= 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [5] * 4))
    assert b"20" == directory.get("counter")


def test_the_same_key_may_be_written_by_many_at_once(directory: DirectoryStore) -> None:
    content = bytes(range(256)) * 500
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: directory.put("deep/er/key", content), range(32)))
    assert content == directory.get("deep/er/key")
    assert ["deep/er/key"] == [listed.key for listed in directory.list("")]


# S3.


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Bucket:
    """Return an empty bucket; the environment leads to its endpoint."""
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    return bucket


def test_keys_stand_below_the_prefix_and_nothing_else_is_seen(aws: Bucket) -> None:
    aws.put("elsewhere/a", b"")
    aws.put("archive-of-another/a", b"")
    store = open_store(f"s3://{aws.name}/archive/")
    assert f"s3://{aws.name}/archive" == store.url
    store.put("index/a", b"content")
    assert b"content" == aws.get("archive/index/a")
    assert ["index/a"] == [listed.key for listed in store.list("")]


def test_puts_carry_a_checksum_that_the_store_verifies(aws: Bucket) -> None:
    open_store(f"s3://{aws.name}").put("a", b"content")
    head = aws.client.head_object(Bucket=aws.name, Key="a", ChecksumMode="ENABLED")
    crc = base64.b64encode(zlib.crc32(b"content").to_bytes(4, "big")).decode()
    assert crc == head["ChecksumCRC32"]


def test_a_bucket_that_is_not_there_is_refused_with_a_mend(aws: Bucket) -> None:
    store = open_store("s3://no-such-bucket-anywhere/prefix")
    for attempt in (
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: list(store.list("")),
        lambda: store.put_if("a", b"", etag=None),
    ):
        with pytest.raises(StoreRefused, match="NoSuchBucket; create the bucket"):
            attempt()
    (check,) = store.checks()
    assert (False, True) == (check.good, check.refused)
    assert "create the bucket, or correct RECEIVER_ARCHIVE" == check.hint
    assert check.detail.endswith("NoSuchBucket")


def test_without_credentials_it_is_refused_with_a_mend(
    aws: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefused, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_store(f"s3://{aws.name}").put("a", b"")
    (check,) = open_store(f"s3://{aws.name}").checks()
    assert check.hint.startswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    assert check.detail.endswith("no credentials")


def test_an_endpoint_that_refuses_connections_may_come_back(
    aws: Bucket, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port}")
    store = open_store(f"s3://{aws.name}", timeout_seconds=1)
    with pytest.raises(StoreError) as caught:
        store.put("a", b"")
    assert not isinstance(caught.value, StoreRefused)
    (check,) = store.checks()
    assert (False, False) == (check.good, check.refused)
    assert support.SECRET_ACCESS_KEY not in str(caught.value)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Return a port that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class FakeS3(http.server.ThreadingHTTPServer):
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _FakeHandler)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.objects: dict[str, bytes] = {}
        self.refusal: Callable[[str, dict[str, str]], tuple[int, str] | None] = lambda *_: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _FakeHandler(http.server.BaseHTTPRequestHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect") == "100-continue":
            pass  # `handle_expect_100` has answered it
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.asked.append((self.command, headers, body))
        refused = self.server.refusal(self.command, headers)
        if refused:
            status, code = refused
            self._send(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
        elif self.command == "PUT":
            self.server.objects[self.path] = body
            self._send(200, b"", etag=f'"{hashlib.sha256(body).hexdigest()}"')
        elif self.command == "DELETE":
            self._send(204, b"")
        elif "list-type=2" in self.path:
            self._send(200, self._listing())
        else:
            self._send(200, self.server.objects[self.path], etag='"etag"')

    def _listing(self) -> bytes:
        """Return the next three keys of `objects`, as S3 returns a thousand."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        start = int(query.get("continuation-token", ["0"])[0])
        keys = [path.removeprefix("/bucket/") for path in sorted(self.server.objects)]
        more = len(keys) > start + 3
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size></Contents>"
            for key in keys[start : start + 3]
        )
        token = f"<NextContinuationToken>{start + 3}</NextContinuationToken>" * more
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{contents}</ListBucketResult>".encode()

    do_GET = do_PUT = do_DELETE = _answer

    def _send(self, status: int, body: bytes, etag: str | None = None) -> None:
        self.send_response(status)
        if etag:
            self.send_header("etag", etag)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return


@pytest.fixture
def fake_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """Return a store that speaks as much of S3 as these tests need."""
    with FakeS3() as server:
        for name, value in support.environ(server.url).items():
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fake_store(**options: Any) -> S3Store:
    return S3Store(bucket="bucket", prefix="prefix", timeout_seconds=10, **options)


def test_a_listing_has_as_many_pages_as_it_needs(fake_s3: FakeS3) -> None:
    store = fake_store()
    keys = [f"many/{number}" for number in range(8)]
    for key in keys:
        store.put(key, b"x")
    assert keys == [listed.key for listed in store.list("many/")]


def test_encryption_storage_class_and_owner_are_asked_for(fake_s3: FakeS3) -> None:
    store = open_store(
        "s3://bucket/prefix",
        kms_key_id="key-1",
        storage_class="STANDARD_IA",
        bucket_owner="123456789012",
    )
    store.put("a", b"content")
    store.put_if("a", b"content", etag='"etag"')
    store.get("a")
    list(store.list(""))
    store.delete("a")
    assert ["PUT", "PUT", "GET", "GET", "DELETE"] == [method for method, _, _ in fake_s3.asked]
    for method, headers, _ in fake_s3.asked:
        assert "123456789012" == headers["x-amz-expected-bucket-owner"]
        if method == "PUT":
            assert "aws:kms" == headers["x-amz-server-side-encryption"]
            assert "key-1" == headers["x-amz-server-side-encryption-aws-kms-key-id"]
            assert "STANDARD_IA" == headers["x-amz-storage-class"]


def test_nothing_is_asked_for_that_was_not_set(fake_s3: FakeS3) -> None:
    fake_store().put("a", b"content")
    ((_, headers, _),) = fake_s3.asked
    assert not {
        "x-amz-server-side-encryption",
        "x-amz-storage-class",
        "x-amz-expected-bucket-owner",
    } & set(headers)


def refuse_checksums(code: str) -> Callable[[str, dict[str, str]], tuple[int, str] | None]:
    def refusal(method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        known = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")
        if method == "PUT" and any(name.startswith(known) for name in headers):
            return 501 if code == "NotImplemented" else 400, code
        return None

    return refusal


@pytest.mark.parametrize(
    "code", ["NotImplemented", "InvalidArgument", "InvalidRequest", "XAmzContentSHA256Mismatch"]
)
def test_a_store_that_refuses_checksums_is_written_without(
    fake_s3: FakeS3, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake_s3.refusal = refuse_checksums(code)
    store = fake_store()
    store.put("a", b"content")
    assert {"/bucket/prefix/a": b"content"} == fake_s3.objects
    assert "store refused checksums; going on without" in caplog.messages
    asked = len(fake_s3.asked)
    store.put("b", b"content")
    store.put_if("c", b"content", etag=None)
    assert asked + 2 == len(fake_s3.asked)
    assert "*" == fake_s3.asked[-1][1]["if-none-match"]
    assert b"content" == store.get("b")


def test_a_refusal_for_another_reason_is_not_repeated_for_ever(fake_s3: FakeS3) -> None:
    fake_s3.refusal = lambda method, headers: (400, "InvalidArgument")
    with pytest.raises(StoreError, match="InvalidArgument"):
        fake_store().put("a", b"content")
    assert len(fake_s3.asked) <= 4


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "AccessDenied", "give this identity s3:PutObject"),
        (403, "InvalidAccessKeyId", "correct AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "correct AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "the session token has expired; renew"),
        (400, "KMS.NotFoundException", "correct RECEIVER_S3_KMS_KEY_ID"),
        (400, "InvalidStorageClass", "correct RECEIVER_S3_STORAGE_CLASS"),
    ],
)
def test_what_somebody_must_mend_is_refused_with_the_mend(
    fake_s3: FakeS3, status: int, code: str, hint: str
) -> None:
    fake_s3.refusal = lambda method, headers: (status, code)
    with pytest.raises(StoreRefused, match=f"{code}; {hint}") as caught:
        fake_store().put("a", b"content")
    assert 3 == caught.value.exit_status
    assert support.SECRET_ACCESS_KEY not in str(caught.value)
    first = next(fake_store().checks())
    assert (False, True) == (first.good, first.refused)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_what_may_pass_by_itself_is_no_refusal(fake_s3: FakeS3, status: int, code: str) -> None:
    fake_s3.refusal = lambda method, headers: (status, code)
    with pytest.raises(StoreError, match=code) as caught:
        fake_store().put("a", b"content")
    assert not isinstance(caught.value, StoreRefused)
    assert 4 == caught.value.exit_status


def test_a_missing_right_is_named_by_the_checks(fake_s3: FakeS3) -> None:
    fake_s3.refusal = lambda method, headers: (403, "AccessDenied") if method == "GET" else None
    *good, bad = fake_store().checks()
    assert ["archive write"] == [check.name for check in good]
    assert ("archive read", True) == (bad.name, bad.refused)
    assert "the right needed is s3:GetObject" == bad.hint


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("AccessDenied", "the right needed is s3:DeleteObject"),
        ("ExpiredToken", "the session token has expired"),
        ("SlowDown", "see whether S3 can be reached"),
    ],
)
def test_what_keeps_the_checks_from_deleting_is_told_with_its_mend(
    fake_s3: FakeS3, code: str, hint: str
) -> None:
    fake_s3.refusal = lambda method, headers: (403, code) if method == "DELETE" else None
    bad = list(fake_store().checks())[-1]
    assert ("archive delete", False) == (bad.name, bad.good)
    assert bad.hint.startswith(hint)


def test_a_store_that_ignores_conditions_is_recognised(fake_s3: FakeS3) -> None:
    found = {check.name: check for check in fake_store().checks()}
    assert not found["conditional writes"].good
    assert not found["conditional writes"].refused
    assert "one instance alone may sweep" in found["conditional writes"].hint


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_a_failed_condition_is_a_conflict(fake_s3: FakeS3, code: str) -> None:
    fake_s3.refusal = lambda method, headers: (412, code)
    with pytest.raises(Conflict):
        fake_store().put_if("a", b"content", etag='"other"')


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

"""What only S3 has: credentials, refusals, checksums, pages, options."""

import base64
import socket
import zlib
from collections.abc import Callable, Iterator

import pytest

from receiver.errors import Conflict, StoreError, StoreRefused
from receiver.store import open_store
from tests.store.fake_s3 import Answer, FakeS3, fake_store
from tests.tools.support import s3 as support
from tests.tools.support.s3 import Bucket

pytestmark = pytest.mark.integration


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


def refuse_checksums(code: str) -> Callable[[str, dict[str, str]], Answer | None]:
    def refusal(method: str, headers: dict[str, str]) -> Answer | None:
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


_KMS = (
    "AccessDenied: User: arn:aws:sts::1:assumed-role/r is not authorized to perform: {} on "
    "resource: arn:aws:kms:eu-west-1:1:key/k because no identity-based policy allows it"
)


@pytest.mark.parametrize(
    ("method", "right"), [("PUT", "kms:GenerateDataKey"), ("GET", "kms:Decrypt")]
)
def test_a_right_on_the_key_is_named_where_it_is_missing(
    fake_s3: FakeS3, method: str, right: str
) -> None:
    fake_s3.refusal = lambda asked, _: (403, _KMS.format(right)) if asked == method else None
    bad = list(fake_store().checks())[-1]
    assert (False, True) == (bad.good, bad.refused)
    assert bad.hint.startswith(f"give this identity {right} on the bucket's KMS key")
    assert "writing needs kms:GenerateDataKey, reading kms:Decrypt" in bad.hint


def test_another_right_than_the_expected_one_is_named_as_s3_names_it(fake_s3: FakeS3) -> None:
    fake_s3.refusal = lambda *_: (403, _KMS.format("s3:PutObjectTagging"))
    assert "give this identity s3:PutObjectTagging" == next(fake_store().checks()).hint


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "RequestTimeTooSkewed", "set this machine's clock"),
        (403, "QuotaExceeded", "make room in the bucket, or raise its quota"),
        (507, "XMinioStorageFull", "make room in the bucket"),
        (503, "SlowDown", "S3 limits the rate of requests"),
    ],
)
def test_what_may_pass_by_itself_has_a_hint_too(
    fake_s3: FakeS3, status: int, code: str, hint: str
) -> None:
    fake_s3.refusal = lambda *_: (status, code)
    with pytest.raises(StoreError, match=f"{code}; {hint}") as caught:
        fake_store().put("a", b"content")
    assert 4 == caught.value.exit_status
    first = next(fake_store().checks())
    assert (False, False) == (first.good, first.refused)
    assert first.hint.startswith(hint)


_PAGES = [
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title><meta charset=utf-8></head></html>",
    b"<html><body><h1>Forbidden</h1></body></html>",
    b"\n<HTML><p>unclosed & not XML</HTML>",
]


@pytest.mark.parametrize("page", _PAGES)
@pytest.mark.parametrize(("status", "exit_status"), [(200, 3), (403, 3), (404, 3), (502, 4)])
def test_a_page_of_a_proxy_is_reported_as_one(
    fake_s3: FakeS3, page: bytes, status: int, exit_status: int
) -> None:
    fake_s3.refusal = lambda *_: (status, page)
    store = fake_store()
    for attempt in (
        lambda: store.put("a", b"content"),
        lambda: store.put_if("a", b"content", etag=None),
        lambda: list(store.list("")),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert f"an HTML page from {fake_s3.url} (HTTP {status})" in caught.value.detail
        assert "AWS_ENDPOINT_URL_S3" in caught.value.hint
        assert exit_status == caught.value.exit_status
    if status != 200:
        with pytest.raises(StoreError, match="an HTML page"):
            store.get("a")


def test_a_page_in_place_of_an_object_is_not_taken_for_it(fake_s3: FakeS3) -> None:
    store = fake_store()
    store.put("a", _PAGES[0])
    assert _PAGES[0] == store.get("a")  # bytes are bytes
    fake_s3.content_type = "text/html; charset=utf-8"
    with pytest.raises(StoreRefused, match="an HTML page"):
        store.get("a")


@pytest.mark.parametrize("body", [b"", b"OK", b'{"a": 1}', b"<r/>", b"<r>", b"\xff\x00"])
def test_an_answer_that_is_no_listing_is_not_an_empty_one(fake_s3: FakeS3, body: bytes) -> None:
    fake_s3.refusal = lambda *_: (200, body)
    with pytest.raises(StoreError, match="no listing"):
        list(fake_store().list(""))


@pytest.mark.parametrize(
    "body", [b"<ListBucketResult>", b"ListBucketResult", b"\xffListBucketResult"]
)
def test_a_listing_that_cannot_be_read_is_an_error_of_the_store(
    fake_s3: FakeS3, body: bytes
) -> None:
    fake_s3.refusal = lambda *_: (200, body)
    with pytest.raises(StoreError, match="cannot list"):
        list(fake_store().list(""))


def test_a_listing_without_what_was_just_written_fails_the_check(fake_s3: FakeS3) -> None:
    empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    gets = []

    def refusal(method: str, headers: dict[str, str]) -> Answer | None:
        gets.extend([method] if method == "GET" else [])
        return (200, empty) if len(gets) == 2 and method == "GET" else None

    fake_s3.refusal = refusal
    *good, bad = fake_store().checks()
    assert ["archive write", "archive read"] == [check.name for check in good]
    assert (False, False) == (bad.good, bad.refused)
    assert "the listing lacks it" in bad.detail
    assert bad.hint


def test_a_store_without_etags_takes_objects_and_no_conditional_writes(fake_s3: FakeS3) -> None:
    fake_s3.etags = False
    store = fake_store()
    store.put("a", b"content")
    assert (b"content", "") == store.get_with_etag("a")
    with pytest.raises(StoreRefused, match=r"answers without an ETag; .*RECEIVER_LEASES=off"):
        store.put_if("a", b"content", etag=None)
    found = {check.name: check for check in store.checks()}
    failed = [name for name, check in found.items() if not check.good]
    assert ["conditional writes"] == failed
    assert not found["conditional writes"].refused


def test_a_store_that_knows_no_conditional_writes_says_what_to_set(fake_s3: FakeS3) -> None:
    def refusal(method: str, headers: dict[str, str]) -> Answer | None:
        conditional = {"if-match", "if-none-match"} & headers.keys()
        return (501, "NotImplemented") if conditional else None

    fake_s3.refusal = refusal
    store = fake_store()
    for etag in (None, '"etag"'):
        with pytest.raises(StoreRefused, match=r"no conditional writes .*RECEIVER_LEASES=off"):
            store.put_if("a", b"content", etag=etag)
    conditions = {check.name: check for check in store.checks()}["conditional writes"]
    assert (False, False) == (conditions.good, conditions.refused)
    assert "RECEIVER_LEASES=off" in conditions.hint


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
        ("SlowDown", "S3 limits the rate of requests"),
        ("InternalError", "see whether S3 can be reached"),
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
    assert "set RECEIVER_LEASES=off" in found["conditional writes"].hint


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_a_failed_condition_is_a_conflict(fake_s3: FakeS3, code: str) -> None:
    fake_s3.refusal = lambda method, headers: (412, code)
    with pytest.raises(Conflict):
        fake_store().put_if("a", b"content", etag='"other"')

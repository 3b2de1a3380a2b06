"""Objects in S3 and in stores that speak its protocol.

botocore's own retries are few and quick: callers retry for ever, with back-off.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from receiver.errors import Conflict, StoreError, StoreRefused
from receiver.store import s3_errors, s3_listing
from receiver.store.base import CONDITIONAL_WRITES, Check, Listed
from receiver.store.s3_client import S3Client
from receiver.store.s3_errors import FAILURES, LEASES_HINT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Boto3Client

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ANOTHER_STORE = "correct AWS_ENDPOINT_URL_S3, or see what answers in place of S3: a cache, a proxy"


class S3Store:
    """Objects in a bucket, under a prefix."""

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str,
        timeout_seconds: float,
        kms_key_id: str | None = None,
        storage_class: str | None = None,
        bucket_owner: str | None = None,
        connections: int = 16,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._common: dict[str, Any] = {"Bucket": bucket}
        if bucket_owner:
            self._common["ExpectedBucketOwner"] = bucket_owner
        self._put_options: dict[str, Any] = {}
        if kms_key_id:
            self._put_options |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id}
        if storage_class:
            self._put_options["StorageClass"] = storage_class
        self._s3 = S3Client(timeout_seconds=timeout_seconds, connections=connections)

    @property
    def url(self) -> str:
        """The `s3://` URL of bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def identity(self) -> str:
        """The endpoint and the URL: another endpoint may have a bucket of the same name."""
        return f"{self._s3.endpoint} {self.url}"

    def put(self, key: str, content: bytes) -> None:
        """Put the object with a checksum that S3 verifies before it answers."""
        self._put(key, content)

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        """Put with `If-None-Match: *` or `If-Match`."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        written = self._put(key, content, **condition)
        if not written:
            detail = f"cannot put {key}: the store answers without an ETag"
            raise StoreRefused(detail, hint=LEASES_HINT)
        return written

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Get the object, or a range of it."""
        if length == 0:
            return b""
        if start or length is not None:
            end = "" if length is None else str(start + length - 1)
            return self._get(key, Range=f"bytes={start}-{end}")[0]
        return self._get(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Get the object with the etag that S3 gave it."""
        return self._get(key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """List with as few requests as S3 allows, a thousand keys each."""
        more = {"StartAfter": self._prefix + after} if after else {}
        for page in self._pages(prefix, **more):
            for key, size in s3_listing.listed(page):
                yield Listed(key.removeprefix(self._prefix), size)

    def folders(self, prefix: str) -> Iterator[str]:
        """List with a delimiter, a thousand folders for each request."""
        for page in self._pages(prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """Delete the object."""

        def delete(s3: "Boto3Client") -> object:
            return s3.delete_object(**self._common, Key=self._prefix + key)

        self._run(f"cannot delete {key}", delete)

    def checks(self) -> Iterator[Check]:
        """Try every right that is needed on an object of this check's own."""
        key = f"leases/check-{uuid.uuid4()}.json"
        attempts: tuple[tuple[str, str, Callable[[], object]], ...] = (
            ("write", "s3:PutObject", lambda: self.put(key, b"{}")),
            ("read", "s3:GetObject", lambda: self._check_read(key, b"{}")),
            ("list", "s3:ListBucket", lambda: self._check_listed(key)),
        )
        for name, right, attempt in attempts:
            try:
                attempt()
            except StoreRefused as exc:
                hint = s3_errors.hint_for(exc, right)
                yield Check(f"archive {name}", False, exc.detail, hint, refused=True)
                return
            except StoreError as exc:
                yield Check("archive", False, exc.detail, s3_errors.hint_for(exc, right))
                return
            yield Check(f"archive {name}", True, f"{self.url} allows it")
        yield self._check_conditions(key)
        try:
            self.delete(key)
        except StoreError as exc:
            hint = s3_errors.hint_for(exc, "s3:DeleteObject")
            yield Check("archive delete", False, exc.detail, hint)
        else:
            yield Check("archive delete", True, f"{self.url} allows it")

    def _check_read(self, key: str, content: bytes) -> None:
        if self.get(key) != content:
            detail = f"cannot get {key}: it is not what was written a moment ago"
            raise StoreError(detail, hint=_ANOTHER_STORE)

    def _check_listed(self, key: str) -> None:
        if key not in [listed.key for listed in self.list(key)]:
            detail = f"cannot list {key}: the listing lacks it, though it was written a moment ago"
            raise StoreError(detail, hint=_ANOTHER_STORE)

    def _check_conditions(self, key: str) -> Check:
        try:
            self.put_if(key, b"{}", etag=None)
        except Conflict:
            return Check(CONDITIONAL_WRITES, True, "the store honours If-None-Match")
        except StoreError as exc:
            return Check(CONDITIONAL_WRITES, False, exc.detail, LEASES_HINT)
        return Check(CONDITIONAL_WRITES, False, "the store ignores If-None-Match", LEASES_HINT)

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        """Yield the pages of a listing.

        Not with botocore's paginator, for credentials may change between two pages.
        """
        options = {**self._common, **more, "Prefix": self._prefix + prefix}
        what = f"cannot list {self.url}/{prefix}"
        while True:
            page: Any = self._run(what, lambda s3: s3.list_objects_v2(**options))
            yield page
            if not page.get("IsTruncated"):
                return
            options["ContinuationToken"] = page["NextContinuationToken"]

    def _put(self, key: str, content: bytes, **condition: Any) -> str:
        """Put an object; return its ETag, or nothing where the store answers without one."""

        def put(s3: "Boto3Client") -> str:
            options = {**self._common, **self._put_options, **condition}
            answer = s3.put_object(**options, Key=self._prefix + key, Body=content)
            return answer.get("ETag", "")

        what = f"cannot put {key}"
        try:
            return self._s3.run(put)
        except FAILURES as exc:
            if not (self._s3.sends_checksums and s3_errors.is_of_checksums(exc)):
                raise self._put_error(exc, what, condition) from exc
            refusal = exc
        # Older and smaller stores refuse the checksums that boto3 adds since 1.36; if that was
        # not the reason, they stay.
        try:
            etag = self._s3.without_checksums(put)
        except FAILURES as exc:
            raise self._put_error(exc, what, condition) from exc
        _log.warning("store refused checksums; going on without", extra={"error": str(refusal)})
        return etag

    def _put_error(self, exc: Exception, what: str, condition: dict[str, Any]) -> StoreError:
        if condition and s3_errors.is_of_conditions(exc):
            detail = f"{what}: the store has no conditional writes ({s3_errors.code_of(exc)})"
            return StoreRefused(detail, hint=LEASES_HINT)
        return self._error(exc, what)

    def _get(self, key: str, **options: Any) -> tuple[bytes, str]:
        def get(s3: "Boto3Client") -> tuple[bytes, str]:
            answer = s3.get_object(**self._common, **options, Key=self._prefix + key)
            if answer.get("ContentType", "").startswith("text/html"):
                raise s3_errors.NotS3("an HTML page", 200)  # what is put here has no such type
            return answer["Body"].read(), answer.get("ETag", "")

        try:
            return self._s3.run(get)
        except FAILURES as exc:
            if s3_errors.code_of(exc) == "InvalidRange":
                return b"", ""
            raise self._error(exc, f"cannot get {key}") from exc

    def _run(self, what: str, request: Callable[["Boto3Client"], T]) -> T:
        try:
            return self._s3.run(request)
        except FAILURES as exc:
            raise self._error(exc, what) from exc

    def _error(self, exc: Exception, what: str) -> StoreError:
        return s3_errors.store_error(exc, what, store=self.url, endpoint=self._s3.endpoint)

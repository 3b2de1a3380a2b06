"""S3 and what speaks its protocol: the only place that knows boto3.

Endpoint, region and credentials come by the usual `AWS_…` ways.  botocore's own retries are few
and quick; who calls retries for ever, with back-off.
"""

import logging
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import boto3
import botocore.config
import botocore.exceptions
from boto3.exceptions import Boto3Error

from receiver.errors import Conflict, NotFound, SettingsError, StoreError, StoreRefused
from receiver.store import s3_listing
from receiver.store.base import Check, Listed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

_Checksums = Literal["when_supported", "when_required"]

# What somebody must fix, by S3's error code; all other errors may pass by themselves.
_HINTS = {
    "NoSuchBucket": "create the bucket, or correct RECEIVER_ARCHIVE",
    "AccessDenied": "give this identity s3:PutObject, GetObject, DeleteObject and ListBucket",
    "AllAccessDisabled": "the bucket is disabled; set RECEIVER_ARCHIVE to another",
    "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID or the profile or role in use",
    "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY and the region",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "ExpiredToken": "the session token has expired; renew the credentials",
    "PermanentRedirect": "set AWS_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "IllegalLocationConstraintException": "set AWS_REGION to the bucket's region",
    "InvalidBucketName": "correct the bucket in RECEIVER_ARCHIVE",
    "KMS.NotFoundException": "correct RECEIVER_S3_KMS_KEY_ID",
    "KMS.DisabledException": "enable the key of RECEIVER_S3_KMS_KEY_ID",
    "InvalidStorageClass": "correct RECEIVER_S3_STORAGE_CLASS",
}
# What stores say that do not know the checksums that boto3 adds.
_CHECKSUM_REFUSALS = {
    "NotImplemented",
    "InvalidArgument",
    "InvalidRequest",
    "XAmzContentSHA256Mismatch",
}


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
        self._timeout_seconds = timeout_seconds
        self._connections = connections
        self._common: dict[str, Any] = {"Bucket": bucket}
        if bucket_owner:
            self._common["ExpectedBucketOwner"] = bucket_owner
        self._put_options: dict[str, Any] = {}
        if kms_key_id:
            self._put_options |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id}
        if storage_class:
            self._put_options["StorageClass"] = storage_class
        self._checksums: _Checksums = "when_supported"
        self._s3 = self._client(self._checksums)

    @property
    def url(self) -> str:
        """The `s3://` URL of bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def identity(self) -> str:
        """The endpoint and the URL: another endpoint may have a bucket of the same name."""
        return f"{self._s3.meta.endpoint_url} {self.url}"

    def put(self, key: str, content: bytes) -> None:
        """Put the object with a checksum that S3 verifies before it answers."""
        self._put(key, content)

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        """Put with `If-None-Match: *` or `If-Match`."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        return self._put(key, content, **condition)

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
        try:
            self._s3.delete_object(**self._common, Key=self._prefix + key)
        except _FAILURES as exc:
            raise self._error(exc, f"cannot delete {key}") from exc

    def checks(self) -> Iterator[Check]:
        """Try every right that is needed on an object of this check's own."""
        key = f"leases/check-{uuid.uuid4()}.json"
        attempts = (
            ("write", "s3:PutObject", lambda: self.put(key, b"{}")),
            ("read", "s3:GetObject", lambda: self.get(key)),
            ("list", "s3:ListBucket", lambda: list(self.list(key))),
        )
        for name, right, attempt in attempts:
            try:
                attempt()
            except StoreRefused as exc:
                hint = _hint_of(exc, right)
                yield Check(f"archive {name}", False, exc.detail, hint, refused=True)
                return
            except StoreError as exc:
                yield Check("archive", False, exc.detail, _hint_of(exc, right))
                return
            yield Check(f"archive {name}", True, f"{self.url} allows it")
        yield self._check_conditions(key)
        try:
            self.delete(key)
        except StoreError as exc:
            hint = _hint_of(exc, "s3:DeleteObject")
            yield Check("archive delete", False, exc.detail, hint)
        else:
            yield Check("archive delete", True, f"{self.url} allows it")

    def _check_conditions(self, key: str) -> Check:
        name = "conditional writes"
        hint = "one instance alone may sweep here: set credentials of the providers on that one"
        try:
            self.put_if(key, b"{}", etag=None)
        except Conflict:
            return Check(name, True, "the store honours If-None-Match")
        except StoreError as exc:
            return Check(name, False, str(exc), hint)
        return Check(name, False, "the store ignores If-None-Match", hint)

    def _pages(self, prefix: str, **more: Any) -> Iterator[Any]:
        options = dict(self._common, **more, Prefix=self._prefix + prefix)
        try:
            yield from self._s3.get_paginator("list_objects_v2").paginate(**options)
        except _FAILURES as exc:
            raise self._error(exc, f"cannot list {self.url}/{prefix}") from exc

    def _put(self, key: str, content: bytes, **condition: Any) -> str:
        try:
            return self._put_by(self._s3, key, content, condition)
        except _FAILURES as exc:
            if self._checksums == "when_required" or _code(exc) not in _CHECKSUM_REFUSALS:
                raise self._error(exc, f"cannot put {key}") from exc
            refusal = exc
        # Older and smaller stores refuse the checksums that boto3 adds since 1.36; if that was
        # not the reason, they stay.
        without = self._client("when_required")
        try:
            etag = self._put_by(without, key, content, condition)
        except _FAILURES as exc:
            raise self._error(exc, f"cannot put {key}") from exc
        _log.warning("store refused checksums; going on without", extra={"error": str(refusal)})
        self._checksums = "when_required"
        self._s3 = without
        return etag

    def _put_by(
        self, client: "S3Client", key: str, content: bytes, condition: dict[str, Any]
    ) -> str:
        answer = client.put_object(
            **self._common,
            **self._put_options,
            **condition,
            Key=self._prefix + key,
            Body=content,
        )
        return answer["ETag"]

    def _get(self, key: str, **options: Any) -> tuple[bytes, str]:
        try:
            answer = self._s3.get_object(**self._common, **options, Key=self._prefix + key)
            return answer["Body"].read(), answer["ETag"]
        except _FAILURES as exc:
            if _code(exc) == "InvalidRange":
                return b"", ""
            raise self._error(exc, f"cannot get {key}") from exc

    def _client(self, checksums: _Checksums) -> "S3Client":
        config = botocore.config.Config(
            connect_timeout=min(5.0, self._timeout_seconds),
            read_timeout=self._timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=self._connections,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            user_agent_extra="receiver",
        )
        try:
            client = boto3.session.Session().client("s3", config=config)
        except (botocore.exceptions.BotoCoreError, ValueError) as exc:
            hint = "correct AWS_PROFILE, AWS_REGION or AWS_ENDPOINT_URL_S3"
            raise SettingsError(f"S3: {_message(exc)}; {hint}") from exc
        # The star puts it before a handler of botocore's own that would parse all of an answer.
        client.meta.events.register("before-parse.*.ListObjectsV2", s3_listing.take_contents)
        return client

    def _error(self, exc: Exception, what: str) -> StoreError:
        code = _code(exc)
        if code in ("NoSuchKey", "404"):
            return NotFound(f"{what}: there is no such object in {self.url}")
        if code in ("PreconditionFailed", "ConditionalRequestConflict"):
            return Conflict(f"{what}: it is not as expected")
        if isinstance(exc, botocore.exceptions.NoCredentialsError):
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
            return StoreRefused(f"{what}: no credentials", hint=hint)
        if isinstance(exc, botocore.exceptions.NoRegionError):
            return StoreRefused(f"{what}: no region", hint="set AWS_REGION")
        if isinstance(exc, botocore.exceptions.ParamValidationError):
            hint = _HINTS["InvalidBucketName"]
            return StoreRefused(f"{what}: {self._bucket!r} cannot be a bucket", hint=hint)
        if code in _HINTS:
            return StoreRefused(f"{what}: {code}", hint=_HINTS[code])
        return StoreError(f"{what}: {code or f'{type(exc).__name__}: {_message(exc)}'}")


# Up to the last @ inside the quotes: a password may hold anything.
_USERINFO = re.compile("//[^\"'`]*@")
_FAILURES = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    Boto3Error,
    OSError,
)


def _hint_of(failure: StoreError, right: str) -> str:
    """Return what to do about a failed check: where it is about rights, the one that is missing."""
    if failure.hint == _HINTS["AccessDenied"]:
        return f"the right needed is {right}"
    return failure.hint or "see whether S3 can be reached; meanwhile callbacks wait in the spool"


def _code(exc: Exception) -> str:
    if isinstance(exc, botocore.exceptions.ClientError):
        return str(exc.response.get("Error", {}).get("Code", ""))
    return ""


def _message(exc: Exception) -> str:
    """Return an error's message without credentials: user and password of an endpoint or proxy.

    What any library below raised can repeat a header, and with it a session token, so that only
    the name of the error is given.
    """
    if type(exc) is botocore.exceptions.HTTPClientError:
        return type(exc.kwargs.get("error")).__name__
    return _USERINFO.sub("//", str(exc))

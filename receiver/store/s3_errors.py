"""What goes wrong with S3: which error of boto3 is which of ours, and what to do about it.

Codes and messages: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

import re
from collections.abc import Callable
from typing import Any

import botocore.exceptions
from boto3.exceptions import Boto3Error
from botocore.parsers import ResponseParserError

from receiver.errors import Conflict, NotFound, SettingsError, StoreError, StoreRefused

# What somebody must fix, by S3's error code.
REFUSED = {
    "NoSuchBucket": "create the bucket, or correct RECEIVER_ARCHIVE",
    "AccessDenied": "give this identity s3:PutObject, GetObject, DeleteObject and ListBucket",
    "AllAccessDisabled": "the bucket is disabled; set RECEIVER_ARCHIVE to another",
    "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID or the profile or role in use",
    "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY and the region",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "ExpiredToken": "the session token has expired; renew the credentials",
    "TokenRefreshRequired": "the session token has expired; renew the credentials",
    "PermanentRedirect": "set AWS_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "IllegalLocationConstraintException": "set AWS_REGION to the bucket's region",
    "InvalidBucketName": "correct the bucket in RECEIVER_ARCHIVE",
    "KMS.NotFoundException": "correct RECEIVER_S3_KMS_KEY_ID",
    "KMS.DisabledException": "enable the key of RECEIVER_S3_KMS_KEY_ID",
    "InvalidStorageClass": "correct RECEIVER_S3_STORAGE_CLASS",
}
_CLOCK = "set this machine's clock (NTP): it differs too much from that of S3"
_QUOTA = "make room in the bucket, or raise its quota; meanwhile callbacks wait in the spool"
_SLOWER = "S3 limits the rate of requests; fewer and larger segments help (RECEIVER_BATCH_SECONDS)"
# What may pass by itself, and what helps.
_PASSING = {
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "QuotaExceeded": _QUOTA,
    "XMinioStorageFull": _QUOTA,
    "InsufficientStorage": _QUOTA,
    "507": _QUOTA,
    "SlowDown": _SLOWER,
    "TooManyRequests": _SLOWER,
    "429": _SLOWER,
}
_CREDENTIALS = "correct or renew the credentials of the profile or role in use"
_SIGN_IN = "sign in again with `aws sso login`"
# What fresh credentials can change.
_RENEWABLE = {
    "AccessDenied",  # sessions that were revoked
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
# What stores say that do not know the checksums that boto3 adds.
_CHECKSUM_REFUSALS = {
    "NotImplemented",
    "InvalidArgument",
    "InvalidRequest",
    "XAmzContentSHA256Mismatch",
}
_UNCONDITIONAL = {"NotImplemented", "501"}
LEASES_HINT = (
    "let one instance alone sweep and forward, and set RECEIVER_LEASES=off there; "
    "the others need no credentials of providers and no RECEIVER_FORWARD_URL"
)
_BETWEEN = "correct AWS_ENDPOINT_URL_S3, or see what answers in place of S3: a proxy, a login page"
_MESSAGE_MAX = 300
# Up to the last @ inside the quotes: a password may hold anything.
_USERINFO = re.compile("//[^\"'`]*@")
# The action in AWS's message, as in "is not authorized to perform: kms:GenerateDataKey on …".
_ACTION = re.compile(r"\bperform: ([a-z0-9-]+:[A-Za-z]+)")
# S3 can report an error with status 200, too, which botocore looks for.
_LISTING_OR_ERROR = re.compile(rb"ListBucketResult|<Error>")


class NotS3(Exception):
    """Something that does not speak S3 has answered."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class NoCredentials(Exception):
    """The source of the credentials failed; the cause says why."""


FAILURES = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    Boto3Error,
    ResponseParserError,
    NotS3,
    NoCredentials,
    OSError,
)
_UNREACHABLE = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.MetadataRetrievalError,
)
_SSO = (
    botocore.exceptions.LoginError,
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
)


def code_of(exc: BaseException) -> str:
    """Return S3's code of an error, or the HTTP status where there is none; "" for all others."""
    if not isinstance(exc, botocore.exceptions.ClientError):
        return ""
    code = str(exc.response.get("Error", {}).get("Code", ""))
    return code or str(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def is_of_credentials(exc: BaseException) -> bool:
    """Return whether other credentials may succeed where these failed."""
    no_credentials = (NoCredentials, botocore.exceptions.NoCredentialsError)
    return isinstance(exc, no_credentials) or code_of(exc) in _RENEWABLE


def is_of_checksums(exc: BaseException) -> bool:
    """Return whether a store may have refused a checksum."""
    return code_of(exc) in _CHECKSUM_REFUSALS


def is_of_conditions(exc: BaseException) -> bool:
    """Return whether a store refused a conditional write because it has none."""
    return code_of(exc) in _UNCONDITIONAL


def hint_for(failure: StoreError, right: str) -> str:
    """Return what to do about a failed check: about a missing right, which one it is."""
    if failure.hint == REFUSED["AccessDenied"]:
        return f"the right needed is {right}"
    return failure.hint or "see whether S3 can be reached; meanwhile callbacks wait in the spool"


def store_error(exc: Exception, what: str, *, store: str, endpoint: str) -> StoreError:
    """Return the error to raise for one of `FAILURES`; ``what`` could not be done."""
    code = code_of(exc)
    if code in ("NoSuchKey", "404"):
        return NotFound(f"{what}: there is no such object in {store}")
    if code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return Conflict(f"{what}: it is not as expected")
    if code == "AccessDenied":
        return StoreRefused(f"{what}: {code}", hint=_access_hint(exc))
    if code in REFUSED:
        return StoreRefused(f"{what}: {code}", hint=REFUSED[code])
    if code:
        return StoreError(f"{what}: {code}", hint=_PASSING.get(code, ""))
    return _without_code(exc, what, store=store, endpoint=endpoint)


def _without_code(exc: Exception, what: str, *, store: str, endpoint: str) -> StoreError:
    if isinstance(exc, NotS3):
        made: Callable[..., StoreError] = StoreError if exc.status >= 500 else StoreRefused
        origin = _USERINFO.sub("//", endpoint)
        return made(f"{what}: {exc} from {origin} (HTTP {exc.status})", hint=_BETWEEN)
    if isinstance(exc, NoCredentials):
        return _credentials_error(exc.__cause__ or exc, what)
    if isinstance(exc, botocore.exceptions.NoCredentialsError):
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
        return StoreRefused(f"{what}: no credentials", hint=hint)
    if isinstance(exc, botocore.exceptions.NoRegionError):
        return StoreRefused(f"{what}: no region", hint="set AWS_REGION")
    if isinstance(exc, botocore.exceptions.ParamValidationError):
        hint = REFUSED["InvalidBucketName"]
        return StoreRefused(f"{what}: {store!r} cannot be a bucket", hint=hint)
    return StoreError(f"{what}: {_named(exc)}")


def settings_error(exc: Exception) -> SettingsError:
    """Return the error to raise where no client can be made."""
    hint = "correct AWS_PROFILE, AWS_REGION or AWS_ENDPOINT_URL_S3"
    return SettingsError(f"S3: {_message(exc)}", hint=hint)


def credentials_setting_error(exc: Exception) -> SettingsError:
    """Return the error to raise where the source of the credentials fails at the start."""
    failure = _credentials_error(exc, "S3")
    return SettingsError(failure.detail, hint=failure.hint)


def _access_hint(exc: BaseException) -> str:
    """Return which right is missing, where the message names it."""
    message = str(exc)
    named = _ACTION.search(message)
    if named and named[1].startswith("kms:"):
        return (
            f"give this identity {named[1]} on the bucket's KMS key; "
            "writing needs kms:GenerateDataKey, reading kms:Decrypt"
        )
    return f"give this identity {named[1]}" if named else REFUSED["AccessDenied"]


def _credentials_error(exc: BaseException, what: str) -> StoreError:
    if isinstance(exc, _UNREACHABLE):
        return StoreError(f"{what}: cannot get credentials: {_named(exc)}")
    hint = _SIGN_IN if isinstance(exc, _SSO) else _CREDENTIALS
    why = code_of(exc) or _message(exc)
    return StoreRefused(f"{what}: cannot get credentials: {why}", hint=hint)


def _named(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {_message(exc)}"


def _message(exc: BaseException) -> str:
    """Return an error's message in one line, without user and password of an endpoint or proxy.

    What any library below raised can repeat a header, and with it a session token, so that only
    the name of the error is given.
    """
    if type(exc) is botocore.exceptions.HTTPClientError:
        return type(exc.kwargs.get("error")).__name__
    text = " ".join(_USERINFO.sub("//", str(exc)).split())
    return text if len(text) <= _MESSAGE_MAX else text[:_MESSAGE_MAX] + "…"


def refuse_other_answers(*, response_dict: dict[str, Any], **_: object) -> None:
    """Raise `NotS3` for an HTML page: botocore's `before-parse`.

    A page that a proxy answers with 200 would be taken for a write that succeeded.
    """
    body, status = response_dict["body"], response_dict["status_code"]
    if isinstance(body, bytes) and body[:256].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise NotS3("an HTML page", status)


def refuse_other_listings(*, response_dict: dict[str, Any], **_: object) -> None:
    """Raise `NotS3` for another document than a listing; it would be taken for an empty one."""
    body = response_dict["body"]
    if response_dict["status_code"] == 200 and not _LISTING_OR_ERROR.search(body):
        raise NotS3("an answer that is no listing", 200)

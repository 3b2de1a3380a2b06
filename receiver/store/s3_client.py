"""The client of S3, with fresh credentials where the old ones are refused.

Endpoint, region and credentials come by the usual `AWS_…` ways.  boto3 renews by itself only what
says when it expires; keys that a shared credentials file holds are read once.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import boto3
import botocore.config
import botocore.exceptions

from receiver.errors import SettingsError
from receiver.store import s3_errors, s3_listing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Boto3Client

T = TypeVar("T")
_Checksums = Literal["when_supported", "when_required"]

# How often the credentials are read again while they are refused.
RENEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Connected:
    """A client and the credentials that it signs with."""

    client: "Boto3Client"
    credentials: Any

    def run(self, request: Callable[["Boto3Client"], T]) -> T:
        _freeze(self.credentials)
        return request(self.client)


class S3Client:
    """Makes requests to S3.  For any thread.

    Raises `SettingsError` where no client can be made.
    """

    def __init__(self, *, timeout_seconds: float, connections: int) -> None:
        self._timeout_seconds = timeout_seconds
        self._connections = connections
        self._checksums: _Checksums = "when_supported"
        self._renewing = threading.Lock()
        self._renew_at = 0.0
        self._current = self._connect(*self._credentials())

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return self._current.client.meta.endpoint_url

    @property
    def sends_checksums(self) -> bool:
        """Whether objects are sent with the checksums that boto3 adds since 1.36."""
        return self._checksums == "when_supported"

    def run(self, request: Callable[["Boto3Client"], T]) -> T:
        """Return what a request brings, made again if its credentials were refused and changed.

        Raises one of `s3_errors.FAILURES`.
        """
        used = self._current
        try:
            return used.run(request)
        except s3_errors.FAILURES as exc:
            if not s3_errors.is_of_credentials(exc) or not self._renewed(used):
                raise
        return self._current.run(request)

    def without_checksums(self, request: Callable[["Boto3Client"], T]) -> T:
        """Return what a request brings that is made without checksums, as all are from now on.

        Raises one of `s3_errors.FAILURES`; then checksums are still sent.
        """
        used = self._connect(*self._credentials(), checksums="when_required")
        brought = used.run(request)
        self._checksums = "when_required"
        self._current = used
        return brought

    def _renewed(self, used: _Connected) -> bool:
        """Return whether there are other credentials now than those that were used."""
        with self._renewing:
            if self._current is not used:
                return True  # another thread was quicker
            if time.monotonic() < self._renew_at:
                return False
            self._renew_at = time.monotonic() + RENEW_SECONDS
            try:
                session, credentials = self._credentials()
                if _freeze(credentials) == _frozen_before(used.credentials):
                    return False
                self._current = self._connect(session, credentials)
            except (s3_errors.NoCredentials, SettingsError):
                return False  # the file is being written; the refusal is what is reported
            return True

    def _credentials(self) -> tuple[boto3.session.Session, Any]:
        """Return a new session and its credentials, None where there are none."""
        try:
            session = boto3.session.Session(region_name=_region())
        except (botocore.exceptions.BotoCoreError, ValueError) as exc:
            raise s3_errors.settings_error(exc) from exc
        try:
            return session, session.get_credentials()
        except Exception as exc:
            # A program that the profile names, a file, a service: it can be any error.
            raise s3_errors.credentials_setting_error(exc) from exc

    def _connect(
        self,
        session: boto3.session.Session,
        credentials: Any,
        *,
        checksums: _Checksums | None = None,
    ) -> _Connected:
        checksums = checksums or self._checksums
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
            client = session.client("s3", config=config)
        except (botocore.exceptions.BotoCoreError, ValueError) as exc:
            raise s3_errors.settings_error(exc) from exc
        # The stars put these before a handler of botocore's own that would parse all of an answer.
        events = client.meta.events
        events.register("before-parse.*.*", s3_errors.refuse_other_answers)
        events.register("before-parse.*.ListObjectsV2", s3_errors.refuse_other_listings)
        events.register("before-parse.*.ListObjectsV2", s3_listing.take_contents)
        return _Connected(client, credentials)


def _region() -> str | None:
    """Return the region of `AWS_REGION`, which boto3 does not read."""
    if os.environ.get("AWS_DEFAULT_REGION"):
        return None
    return os.environ.get("AWS_REGION") or None


def _freeze(credentials: Any) -> Any:
    """Return the keys of credentials, renewed if they are about to expire."""
    try:
        return credentials and credentials.get_frozen_credentials()
    except Exception as exc:
        # As above; botocore raises a `RuntimeError` for renewed ones that have expired, too.
        raise s3_errors.NoCredentials from exc


def _frozen_before(credentials: Any) -> Any:
    """Return the keys of credentials that were refused; None if they cannot be had any more."""
    try:
        return _freeze(credentials)
    except s3_errors.NoCredentials:
        return None

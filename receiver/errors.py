"""Every error raised on purpose, with its answer at the door and its exit status.

A 4xx tells a provider that the callback is at fault; a 5xx tells it to keep the callback.  Our
own faults are always 5xx: a duplicate is cheap and a loss is for ever.
"""

from typing import ClassVar


class ReceiverError(Exception):
    """Something went wrong inside the receiver.

    ``detail`` says what, and ``hint`` what to do about it.
    """

    status: ClassVar[int] = 500
    reason: str = "internal_error"
    exit_status: ClassVar[int] = 1

    def __init__(self, detail: str = "", *, hint: str = "") -> None:
        self.detail = detail or (type(self).__doc__ or "").partition("\n")[0]
        self.hint = hint
        super().__init__(f"{self.detail}; {hint}" if hint else self.detail)


class Rejected(ReceiverError):
    """The request is refused at the door; ``reason`` is a slug fit for a metric label.

    ``detail`` tells the caller how to fix it.  DataForSEO shows it to its user as
    ``http_response`` of ``/v3/{api}/errors``.
    """

    def __init__(
        self, reason: str, detail: str, *, status: int, allow: str = "", closes: bool = False
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.answer_status = status
        # The methods that would have been right, for a 405 (RFC 9110 §15.5.6).
        self.allow = allow
        # Whether the connection is of no more use.
        self.closes = closes


class Disconnected(ReceiverError):
    """The client went away before its request was whole; nothing is stored."""


class SpoolUnavailable(ReceiverError):
    """The delivery could not be made durable, so it must not be acknowledged."""

    status = 503
    reason = "spool_unavailable"


class SettingsError(ReceiverError):
    """A setting is missing or wrong."""

    exit_status = 3


class StoreError(ReceiverError):
    """The archive's store failed."""

    exit_status = 4


class StoreRefused(StoreError):
    """The store answered, and will keep refusing until somebody changes a setting or a right."""

    exit_status = 3


class NotFound(StoreError):
    """There is no object under this key."""


class Damaged(StoreError):
    """An object does not hold what it should."""


class Conflict(StoreError):
    """A conditional write lost: the object is not in the state that the writer expected."""


class ProviderError(ReceiverError):
    """A provider cannot be reached, or answers something that makes no sense."""

    exit_status = 4


class ProviderRefused(ProviderError):
    """A provider answers, and does not take the credentials."""

    exit_status = 3


class ResultTooLarge(ProviderError):
    """A provider's answer is larger than the settings allow."""


class TargetError(ReceiverError):
    """The program that callbacks are sent to cannot be reached, or takes none."""

    exit_status = 4


class LeaseHeld(ReceiverError):
    """Another instance holds the lease."""


class LeaseLost(ReceiverError):
    """The lease ran out or was taken over; nothing more may be done under it."""

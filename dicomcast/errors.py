"""What can go wrong, told by what should happen next.

* DicomCastError
  x ConfigError                  exit 78: an operator must change a setting; never retried
    + SourceReset                the archive's feed is behind our cursor: it was recreated
  x Retriable(retry_after)       wait and try again: the peer is down, throttling or garbled
    + Conflict                   409, 412: forget, re-read, re-merge
    + Stumbled                   500: the peer may be well, and this request's data bad; ask for something else
  x Rejected(status, codes)      this request will never succeed: the study steps aside (is parked)
    + NotFound                   404, 410
  x Fatal                        exit 77: credentials, permission, or another worker took over
    + CursorMoved                somebody else settled a window since we loaded the checkpoint
  x StateError                   exit 75: the state store cannot be read or written

The type carries the recovery, so no caller needs to know a status code. Messages name UIDs, settings
and OperationOutcome codes and never a patient: free text of a server is cut before it gets here.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "Conflict",
    "CursorMoved",
    "DicomCastError",
    "Fatal",
    "NotFound",
    "Rejected",
    "Retriable",
    "SourceReset",
    "StateError",
    "Stumbled",
]


class DicomCastError(Exception):
    """The root: every error that dicomcast raises on purpose."""

    exit_code = 1


class ConfigError(DicomCastError):
    """A setting is missing, misspelt, or does not fit the servers it points at."""

    exit_code = 78


class SourceReset(ConfigError):
    """The feed's latest entry is behind the cursor: this is not the archive that was read before."""


class Retriable(DicomCastError):
    """The peer did not answer, or not with what can be used now. `retry_after` is in seconds."""

    exit_code = 75

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Conflict(Retriable):
    """Somebody else changed what we were about to write (409, 412)."""


class Stumbled(Retriable):
    """The peer failed at this request (500): over the data that it is about, or altogether."""


class Rejected(DicomCastError):
    """The peer understood and refused, or the data cannot be cast: the same request would fail again.

    `reason` is a short slug for tables and metrics, `codes` the OperationOutcome `issue.code` (with
    `issue.expression`), `status` the HTTP status if there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "rejected",
        status: int | None = None,
        codes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.codes = codes


class NotFound(Rejected):
    """The peer does not have it (404), or no longer (410)."""


class Fatal(DicomCastError):
    """Credentials or permission refused: nothing can be done until an operator acts."""

    exit_code = 77


class CursorMoved(Fatal):
    """The checkpoint is not the one we loaded: another worker is active on this source."""


class StateError(DicomCastError):
    """The state store cannot be opened, read or written. The cursor stays where it was."""

    exit_code = 75

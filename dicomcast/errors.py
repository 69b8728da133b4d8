"""What can go wrong, told by what should happen next.

* DicomCastError
  x ConfigError                  exit 78: an operator must change a setting; never retried
    + Stranger                   what answers is not what the setting says, or not yet
    + SourceReset                the archive's feed is behind our cursor: it was recreated
  x Retriable(retry_after)       wait and try again: the peer is down, throttling or garbled
    + Conflict                   409, 412: forget, re-read, re-merge
      - Unanswered               a write that may have been done: look before doing it again
      - Overtaken                a create that came after somebody else's: start from the whole truth
    + NotTogether                studies that shared a transaction: each is to be cast by itself
      - ReadFirst                a study that has to be read whole, which may be large
    + NonePasses                 study after study fails: it is nobody's own trouble
    + Unreachable                no connection came about, so nothing was sent
    + Stumbled                   500: the peer may be well, and this request's data bad; ask for something else
    + NotItself                  a login page, a proxy's error: a wrong setting, or something stands in between
  x Rejected(status, codes)      this request will never succeed: the study steps aside (is parked)
    + NotFound                   404, 410
    + LeftOut                    the study is cast, but not all of it
  x Fatal                        exit 77: somebody must act, or somebody else does
    + Unauthorized               credentials or permission refused
    + LeaseLost                  another worker is active on this source
    + CursorMoved                somebody else settled a window since we loaded the checkpoint
  x StateError                   exit 75: the state store cannot be read or written
    + StateRefused               exit 77: … since it refuses our credentials, or lacks a permission

The type carries the recovery, so no caller needs to know a status code. Messages name UIDs, settings
and OperationOutcome codes and never a patient: free text of a server is cut before it gets here.
"""

from __future__ import annotations

import re

__all__ = [
    "ConfigError",
    "Conflict",
    "CursorMoved",
    "DicomCastError",
    "Fatal",
    "LeaseLost",
    "LeftOut",
    "NonePasses",
    "NotFound",
    "NotItself",
    "NotTogether",
    "Overtaken",
    "ReadFirst",
    "Rejected",
    "Retriable",
    "SourceReset",
    "StateError",
    "StateRefused",
    "Stranger",
    "Stumbled",
    "Unanswered",
    "Unauthorized",
    "Unreachable",
]


_SETTING = re.compile(r"(?<![A-Z_])(?:DICOM|FHIR|PATIENT|MAPPING|STATE|WORKER|HEALTH|LOG)__[A-Z]")


class DicomCastError(Exception):
    """The root: every error that dicomcast raises on purpose. Settings in its message are named as they are written."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(_SETTING.sub(r"DICOMCAST_\g<0>", message))


class ConfigError(DicomCastError):
    """A setting is missing, misspelt, or does not fit the servers it points at."""

    exit_code = 78


class Stranger(ConfigError):
    """What answers is no such server: a wrong setting, or one that is still being started behind its proxy."""


class SourceReset(ConfigError):
    """The feed's latest entry is behind the cursor: this is not the archive that was read before."""


class Retriable(DicomCastError):
    """The peer did not answer, or not with what can be used now.

    `retry_after` is in seconds, `throttled` whether the peer asked for less (429, 503): then what was asked
    for is not to blame. `peer` is `dicom` or `fhir`.
    """

    exit_code = 75
    reason = "no-usable-answer"

    def __init__(
        self,
        message: str,
        *,
        peer: str = "",
        status: int | None = None,
        codes: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.peer = peer
        self.status = status
        self.codes = codes
        self.retry_after = retry_after

    @property
    def throttled(self) -> bool:
        """Whether the peer has too much to do, rather than trouble with this request."""
        return self.status in (429, 503)

    @property
    def unsure(self) -> bool:
        """Whether what was asked for may have been done all the same: what answered may be a gateway in between."""
        return self.status not in (424, 425, 429)


class Conflict(Retriable):
    """Somebody else changed what we were about to write (409, 412)."""

    @property
    def unsure(self) -> bool:
        """It was answered: nothing was done."""
        return False


class Unreachable(Retriable):
    """No connection came about: a name that is not known, a port where nobody listens, a certificate."""

    @property
    def unsure(self) -> bool:
        """Nothing was sent, so nothing was done."""
        return False


class NonePasses(Retriable):
    """Study after study fails and none passes: what fails is not theirs."""


class NotTogether(Retriable):
    """A transaction of several studies failed, which says nothing of any of them."""


class ReadFirst(NotTogether):
    """A study has to be read whole before it is cast: only so many are in memory at once."""


class Stumbled(Retriable):
    """The peer failed at this request (500): over the data that it is about, or altogether."""


class Unanswered(Conflict):
    """A write went out and no usable answer came back: what stands there now is not known."""


class Overtaken(Conflict):
    """Somebody created a resource between our look and our write: what they wrote is not what we merged with.

    `created` says whether we took the study itself for new.
    """

    def __init__(self, message: str, *, peer: str = "", created: bool = True) -> None:
        super().__init__(message, peer=peer)
        self.created = created


class NotItself(Retriable):
    """What answered is not the peer: a redirect to a login, a web page, JSON of something else.

    From a peer that was met before it is waited out; at the first meeting it is a wrong setting.
    """


class Rejected(DicomCastError):
    """The peer understood and refused, or the data cannot be cast: the same request would fail again.

    `reason` is a short slug for tables and metrics, `codes` the OperationOutcome `issue.code` (with
    `issue.expression`), `status` the HTTP status if there was one, `peer` who refused: `dicom`, `fhir`, or
    "" for ourselves. Where it is not about one study, everything depends on it, and is waited for.
    """

    exit_code = 75

    def __init__(
        self,
        message: str,
        *,
        reason: str = "rejected",
        peer: str = "",
        status: int | None = None,
        codes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.peer = peer
        self.status = status
        self.codes = codes


class NotFound(Rejected):
    """The peer does not have it (404), or no longer (410)."""


class LeftOut(Rejected):
    """What could be cast of the study is cast; the rest FHIR cannot hold."""


class Fatal(DicomCastError):
    """What is in hand cannot be gone on with; somebody must act, or somebody else does."""

    exit_code = 77


class Unauthorized(Fatal):
    """Credentials or permission refused (401, 403): nothing can be done until an operator acts.

    A 403 to one study while others pass is about that study.
    """

    reason = "forbidden"
    codes: tuple[str, ...] = ()

    def __init__(self, message: str, *, peer: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.peer = peer
        self.status = status


class LeaseLost(Fatal):
    """Another worker holds the lease of this source: it is active, and we are not."""


class CursorMoved(Fatal):
    """The checkpoint is not the one we loaded: another worker is active on this source."""


class StateError(DicomCastError):
    """The state store cannot be opened, read or written. The cursor stays where it was."""

    exit_code = 75


class StateRefused(StateError):
    """The state store refuses our credentials, or they lack a permission: an operator must act."""

    exit_code = 77

"""How a peer is to us, and since when: what an operator asks first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from dicomcast.errors import Conflict, DicomCastError, Retriable, Stumbled, Unauthorized

__all__ = ["Condition", "Standing"]


class Condition(StrEnum):
    """What came of the last request. `refused` is about our credentials or permissions."""

    UNASKED = "not asked yet"
    UP = "up"
    THROTTLED = "throttled"
    REFUSED = "refused"
    AWAY = "away"


@dataclass(slots=True)
class Standing:
    """A condition and when it began; aware, in UTC."""

    condition: Condition = Condition.UNASKED
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def note(self, error: DicomCastError | None) -> None:
        """Note how a request ended; one that the peer stumbled over (500) may be the request's fault."""
        condition = _condition(error)
        if condition not in (None, self.condition):
            self.condition, self.since = condition, datetime.now(UTC)


def _condition(error: DicomCastError | None) -> Condition | None:
    match error:
        case Stumbled():
            return None
        case Unauthorized():
            return Condition.REFUSED
        case Retriable() if error.throttled:
            return Condition.THROTTLED
        case Retriable() if not isinstance(error, Conflict):
            return Condition.AWAY
        case _:
            return Condition.UP

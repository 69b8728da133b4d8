"""What a run of the worker is for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomcast.model import StudyKey

if TYPE_CHECKING:
    from dicomcast.backfill import Backfill

__all__ = ["Job", "Replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What to cast once more: a stretch of the feed, studies by their UID, or parked studies by their key."""

    first: int | None = None
    last: int | None = None
    studies: Sequence[str] = ()
    keys: Collection[StudyKey] = ()

    def __bool__(self) -> bool:
        return self.first is not None or bool(self.studies) or bool(self.keys)


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is for: a replay first, then the feed (`tail`) to its present end (`once`) or for ever.

    With a `backfill` it is followed until that is complete. `limit` is in seconds: after it a run finishes the window
    in hand and ends.
    """

    once: bool = True
    replay: Replay = Replay()
    tail: bool = True
    limit: float | None = None
    backfill: Backfill | None = None

    @property
    def ends(self) -> bool:
        """Whether it ends by itself, and soon."""
        return self.once or not self.tail

"""Casting many studies side by side, and telling a study's trouble from its peers' (law 3).

A failure that a FHIR server or a silent peer gave may be the study's or the server's. It is the study's if
others pass; it is the server's if a probe fails, or if study after study fails and none passes. Then the
window ends where it is, nobody is parked, and the feed waits.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicomcast.casting import Caster
from dicomcast.errors import DicomCastError, LeaseLost, Overtaken, Rejected, Retriable, Unauthorized
from dicomcast.model import Outcome, Parked, StudyDelta, StudyKey
from dicomcast.parking import Failure, park
from dicomcast.telemetry import whereabouts

__all__ = ["Cast", "Settler", "Task"]

_log = structlog.get_logger()

# So many studies are looked up and held in memory at once.
_AT_A_TIME = 200
# After so many failures in a row, with no study that passes between them, the rest of a window is not tried …
_ENOUGH = 10
# … and after so many, a study that fails alone is no longer thought to do so for reasons of its own.
_ALONE = 3
_PASSED = frozenset({Outcome.CREATED, Outcome.UPDATED, Outcome.DELETED, Outcome.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Cast:
    """What came of one delta; `parked` is the row to keep where it could not be cast, `asked` one that is done with."""

    key: StudyKey
    outcome: Outcome
    parked: Parked | None = None
    asked: Parked | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A delta to cast, and the row that its study has if it is parked."""

    delta: StudyDelta
    row: Parked | None = None


class Settler:
    """Settles deltas, `concurrency` at once. `probe` raises where a peer is away, `ask_again` stores a row by which a
    study is cast once more, by whoever is active then, and `count` hears of each study that was cast.
    """

    def __init__(
        self,
        caster: Caster,
        *,
        probe: Callable[[], Awaitable[None]],
        ask_again: Callable[[StudyKey], Awaitable[Parked]],
        count: Callable[[Outcome], None],
        clock: Callable[[], datetime],
        concurrency: int,
    ) -> None:
        self._caster = caster
        self._probe = probe
        self._ask_again = ask_again
        self._count = count
        self._clock = clock
        self._concurrency = concurrency
        self._failures = 0

    async def settle(self, tasks: Sequence[Task], *, complete: bool = False, hold: bool = True) -> list[Cast]:
        """Cast them all; what is in hand is finished before an error ends it.

        `complete` is as for `Caster.cast`. Without `hold`, studies are parked though none passes: they are those
        that failed before.

        Raises:
            Retriable: a peer is away, or has trouble with every study.
            Fatal: a peer refuses our credentials, or somebody else is active.
        """
        casts = []
        for start in range(0, len(tasks), _AT_A_TIME):
            casts += await self._settle_some(tasks[start : start + _AT_A_TIME], complete, hold)
        return casts

    async def _settle_some(self, tasks: Sequence[Task], complete: bool, hold: bool) -> list[Cast]:
        await self._caster.prepare([task.delta for task in tasks if not task.delta.fault])
        casts, suspects = await self._attempt_all(tasks, complete, hold)
        if hold and suspects and not _any_passed(casts):
            error = suspects[-1][1]
            if len(tasks) > 1 or self._failures >= _ALONE or not _may_be_its_own(error):
                raise _everybodys(error)
        again = [task for task, error in suspects if hold and isinstance(error, Retriable)]
        if again:
            await self._probe()
            settled, suspects_again = await self._attempt_all(again, complete, False)
            casts += settled
            suspects = [one for one in suspects if one[0] not in again] + suspects_again
        return casts + [self._step_aside(task, error) for task, error in suspects]

    async def _attempt_all(
        self, tasks: Sequence[Task], complete: bool, hold: bool
    ) -> tuple[list[Cast], list[tuple[Task, Failure]]]:
        """The casts, and the failures that may be a peer's."""
        waiting, casts, suspects = list(tasks), list[Cast](), list[tuple[Task, Failure]]()

        async def work() -> None:
            while waiting:
                # Where those in front fail, the others are asked too: one that passes tells whose fault it is.
                task = waiting.pop(random.randrange(len(waiting)) if self._failures else 0)
                try:
                    result = await self._attempt(task, complete)
                    if isinstance(result, Cast):
                        casts.append(result)
                    else:
                        suspects.append((task, result))
                        await self._suspect(result, hold and not _any_passed(casts))
                except BaseException:
                    waiting.clear()
                    raise

        ends = await asyncio.gather(*(work() for _ in range(self._concurrency)), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        return casts, suspects

    async def _attempt(self, task: Task, complete: bool) -> Cast | Failure:
        key = task.delta.key
        try:
            cast = await self._cast(task.delta, complete)
        except Rejected as error:
            return error if error.peer == "fhir" else self._step_aside(task, error)
        except Retriable as error:
            return error
        except Unauthorized as error:
            if error.status != 403:
                raise
            return error
        except LeaseLost:
            # A write of ours may have come after our successor's: it has to look at this study once more.
            await self._ask_again(key)
            raise
        except DicomCastError:
            raise
        except Exception as error:
            said = f"study {key.study_uid}: a defect of dicomcast, please report it ({whereabouts(error)})"
            return Rejected(said, reason="defect")
        if cast.outcome in _PASSED:
            self._failures = 0
        self._count(cast.outcome)
        _log.debug("study.cast", study=key.study_uid, outcome=cast.outcome.value)
        return cast

    async def _cast(self, delta: StudyDelta, complete: bool) -> Cast:
        if delta.fault:
            raise Rejected(delta.fault, reason="entry-not-understood")
        try:
            return Cast(delta.key, await self._caster.cast(delta, complete=complete))
        except Overtaken:
            # Stored first, should this process end before what it wrote over is right again.
            asked = await self._ask_again(delta.key)
            outcome = await self._caster.cast(StudyDelta(delta.key, snapshot=True))
            return Cast(delta.key, Outcome.CREATED if outcome is Outcome.UNCHANGED else outcome, asked=asked)

    async def _suspect(self, error: Failure, hold: bool) -> None:
        """Count a failure that may be a peer's, and raise it if it is."""
        _log.warning("study.failed", error=str(error))
        if isinstance(error, Retriable):
            await self._probe()
        if hold:
            self._failures += 1
            if self._failures >= _ENOUGH:
                raise _everybodys(error)

    def _step_aside(self, task: Task, error: Failure) -> Cast:
        self._caster.forget_endpoints()
        row = park(task.delta, task.row, error, self._clock())
        _log.warning("study.parked", study=task.delta.key.study_uid, reason=row.reason, error=row.message)
        return Cast(task.delta.key, Outcome.PARKED, row)


def _any_passed(casts: Sequence[Cast]) -> bool:
    return any(cast.outcome in _PASSED for cast in casts)


def _may_be_its_own(error: Failure) -> bool:
    """Whether the failure of a study that nobody stands beside may be its own: a peer that throttles says not."""
    return isinstance(error, Rejected) or (isinstance(error, Retriable) and not error.throttled)


def _everybodys(error: Failure) -> Retriable | Unauthorized:
    """A failure that no study passes by."""
    if isinstance(error, Rejected):
        said = f"study after study fails and none passes: {error}"
        return Retriable(said, peer=error.peer, status=error.status, codes=error.codes)
    return error

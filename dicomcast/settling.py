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

from dicomcast.casting import Caster, Interrupted
from dicomcast.errors import (
    DicomCastError,
    LeaseLost,
    LeftOut,
    NonePasses,
    Overtaken,
    ReadFirst,
    Rejected,
    Retriable,
    Unauthorized,
)
from dicomcast.model import Outcome, Parked, StudyDelta, StudyKey
from dicomcast.parking import Failure, park
from dicomcast.spans import SILENT, Spans
from dicomcast.telemetry import whereabouts

__all__ = ["Cast", "Settler", "Task", "side_by_side"]

_log = structlog.get_logger()

# So many studies are looked up and held in memory at once.
_AT_A_TIME = 200
# So many times more are cast side by side where their metadata is there already, so that they can be written together.
_TOGETHER = 16
# After so many failures in a row, with no study that passes between them, the rest of a window is not tried …
_ENOUGH = 10
# … and after so many, a study that fails alone is no longer thought to do so for reasons of its own.
_ALONE = 3
# What the archive fails at, it may fail at for every study.
_SHARED = "metadata-unreadable"


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

    @property
    def can_share(self) -> bool:
        """Whether it may be written with others: it is not parked, and need not be read first, which may be large."""
        return self.row is None and (bool(self.delta.instances) or not self.delta.snapshot)


# A task that failed in a way that may be a peer's.
Suspect = tuple[Task, Failure]


class Settler:
    """Settles deltas, `concurrency` at once. `probe` raises where a peer is away, `ask_again` stores a row by which a
    study is cast once more, by whoever is active then, `count` hears of each study that was cast, and `fence` raises
    where we are not active any more.
    """

    def __init__(
        self,
        caster: Caster,
        *,
        probe: Callable[[], Awaitable[None]],
        ask_again: Callable[[StudyKey], Awaitable[Parked]],
        fence: Callable[[], object],
        count: Callable[[Outcome], None],
        clock: Callable[[], datetime],
        concurrency: int,
        spans: Spans = SILENT,
    ) -> None:
        self._caster = caster
        self._probe = probe
        self._ask_again = ask_again
        self._fence = fence
        self._count = count
        self._clock = clock
        self._concurrency = concurrency
        self._spans = spans
        self._failures = 0
        self._passed = False
        self.interrupted = False

    async def settle(
        self, tasks: Sequence[Task], *, complete: bool = False, failed_before: bool = False, afresh: bool = False
    ) -> list[Cast]:
        """Cast them all; what is in hand is finished before an error ends it.

        `complete` is as for `Caster.cast`, `afresh` as for its `prepare`. Studies that `failed_before` say nothing
        about the server by failing again.

        Raises:
            NonePasses: study after study fails; nobody is parked.
            Retriable: a peer is away.
            Fatal: a peer refuses our credentials, or somebody else is active.
        """
        self._passed = False
        casts, suspects = list[Cast](), list[Suspect]()
        for start in range(0, len(tasks), _AT_A_TIME):
            some = tasks[start : start + _AT_A_TIME]
            await self._caster.prepare([task.delta for task in some if not task.delta.fault], afresh=afresh)
            left = await self._attempt_together(some, complete, casts)
            await self._attempt_all(left, complete, casts, suspects, judge=not failed_before)
        if suspects and not failed_before:
            self._refuse_systematic(suspects, alone=len(tasks) == 1)
            suspects = await self._once_more(suspects, complete, casts)
        return casts + [self._step_aside(task, error) for task, error in suspects]

    def _refuse_systematic(self, suspects: Sequence[Suspect], *, alone: bool) -> None:
        error = suspects[-1][1]
        may_be_its_own = alone and self._failures < _ALONE and not _is_about_all(error)
        if not self._passed and not may_be_its_own:
            raise _everybodys(error)

    async def _once_more(self, suspects: Sequence[Suspect], complete: bool, casts: list[Cast]) -> list[Suspect]:
        """Those that got no usable answer may have met an outage that is over."""
        again = [task for task, error in suspects if isinstance(error, Retriable)]
        left: list[Suspect] = [one for one in suspects if not isinstance(one[1], Retriable)]
        if again:
            await self._probe()
            await self._attempt_all(again, complete, casts, left, judge=False)
        return left

    async def _attempt_together(self, tasks: Sequence[Task], complete: bool, casts: list[Cast]) -> Sequence[Task]:
        """Cast many side by side, so that they are written together; those that have to be cast by themselves are left.

        It is for the good days: a failure says nothing here, and one that is not of a single study ends it.
        """
        waiting = [task for task in tasks if task.can_share]
        if len(waiting) < 2 or not self._caster.shares:
            return tasks
        left = [task for task in tasks if not task.can_share]
        failed = False

        async def work() -> None:
            nonlocal failed
            while waiting:
                task = waiting.pop(0)
                try:
                    result = await self._attempt(task, complete, shared=True)
                except BaseException:
                    waiting.clear()
                    raise
                if isinstance(result, Cast):
                    casts.append(result)
                    continue
                left.append(task)
                if isinstance(result, ReadFirst):
                    continue
                failed = True
                if not isinstance(result, Rejected):
                    left.extend(waiting)
                    waiting.clear()

        await side_by_side(work, self._concurrency * _TOGETHER)
        if failed:  # What became of it is not known, so what was seen before is not either.
            await self._caster.prepare([task.delta for task in left if task.can_share], afresh=True)
        return left

    async def _attempt_all(
        self, tasks: Sequence[Task], complete: bool, casts: list[Cast], suspects: list[Suspect], *, judge: bool
    ) -> None:
        """Add to the casts, and to the failures that may be a peer's; `judge` whether they are too many."""
        waiting = list(tasks)

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
                        await self._suspect(task.delta.key, result, judge)
                except BaseException:
                    waiting.clear()
                    raise

        await side_by_side(work, self._concurrency)

    async def _attempt(self, task: Task, complete: bool, *, shared: bool = False) -> Cast | Failure:
        """Cast one, and know afterwards that it was ours to cast.

        A write that was under way when we stalled, or when we were told to stop, may come after our successor's:
        so that the study is looked at once more, whatever came of it here.
        """
        try:
            with self._spans.span("study", {"dicomcast.shared": shared}) as span:
                result = await self._judged(task, complete, shared)
                if not isinstance(result, Cast):
                    span.failed(result)
                elif result.parked is None:
                    span.note({"dicomcast.outcome": result.outcome.value})
                else:
                    span.note({"dicomcast.outcome": result.outcome.value, "dicomcast.reason": result.parked.reason})
            self._fence()
        except (LeaseLost, Interrupted) as error:
            self.interrupted |= isinstance(error, Interrupted)
            if task.delta.key.study_uid:
                await self._ask_again(task.delta.key)
            raise
        return result

    async def _judged(self, task: Task, complete: bool, shared: bool) -> Cast | Failure:
        """The cast, with the row of a study whose failure is its own; or a failure that may be a peer's."""
        key = task.delta.key
        try:
            cast = await self._cast(task.delta, complete, shared)
        except LeftOut as error:
            self._pass()
            return self._step_aside(task, error)
        except Rejected as error:
            return error if error.peer == "fhir" or error.reason == _SHARED else self._step_aside(task, error)
        except Retriable as error:
            return error
        except Unauthorized as error:
            if error.status != 403:
                raise
            return error
        except DicomCastError:
            raise
        except Exception as error:
            said = f"study {key.study_uid}: a defect of dicomcast, please report it ({whereabouts(error)})"
            return Rejected(said, reason="defect")
        if cast.outcome is not Outcome.SKIPPED:
            self._pass()
        self._count(cast.outcome)
        _log.debug("study.cast", study=key.study_uid, outcome=cast.outcome.value)
        return cast

    def _pass(self) -> None:
        self._passed, self._failures = True, 0

    async def _cast(self, delta: StudyDelta, complete: bool, shared: bool) -> Cast:
        if delta.fault:
            raise Rejected(delta.fault, reason="entry-not-understood")
        try:
            return Cast(delta.key, await self._caster.cast(delta, complete=complete, shared=shared))
        except Overtaken as error:
            # Stored first, should this process end before what it wrote over is right again.
            asked = await self._ask_again(delta.key)
            outcome = await self._caster.cast(StudyDelta(delta.key, snapshot=True))
            if outcome is Outcome.UNCHANGED:
                outcome = Outcome.CREATED if error.created else Outcome.UPDATED
            return Cast(delta.key, outcome, asked=asked)

    async def _suspect(self, key: StudyKey, error: Failure, judge: bool) -> None:
        """Note a failure that may be a peer's, and raise it if it is."""
        _log.warning("study.failed", study=key.study_uid, error=str(error))
        if isinstance(error, Retriable):
            await self._probe()
        if judge:
            self._failures += 1
            if self._failures >= _ENOUGH and not self._passed:
                raise _everybodys(error)

    def _step_aside(self, task: Task, error: Failure) -> Cast:
        self._caster.forget_endpoints()
        row = park(task.delta, task.row, error, self._clock())
        _log.warning("study.parked", study=task.delta.key.study_uid, reason=row.reason, error=row.message)
        return Cast(task.delta.key, Outcome.PARKED, row)


async def side_by_side(work: Callable[[], Awaitable[None]], lanes: int) -> None:
    """So many at once; what is in hand is finished before an error of one is raised."""
    ends = await asyncio.gather(*(work() for _ in range(lanes)), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


def _is_about_all(error: Failure) -> bool:
    """Whether a peer says by itself that it is not about this study: it throttles, or refuses our credentials."""
    return isinstance(error, Unauthorized) or (isinstance(error, Retriable) and error.throttled)


def _everybodys(error: Failure) -> NonePasses | Unauthorized:
    if isinstance(error, Unauthorized):
        return error
    after = error.retry_after if isinstance(error, Retriable) else None
    said = f"study after study fails and none passes: {error}"
    return NonePasses(said, peer=error.peer, status=error.status, codes=error.codes, retry_after=after)

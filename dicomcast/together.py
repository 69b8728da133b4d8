"""Several small studies in one transaction: while some are under way, what comes meanwhile shares the next.

A transaction that fails says nothing of a single study in it: each is then to be cast by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dicomcast.bundle import Write, weight_of
from dicomcast.errors import NotTogether, Rejected, Retriable, Unauthorized
from dicomcast.fhir import FhirServer, Written
from dicomcast.spans import Origin

__all__ = ["STUDIES", "Together"]

# In one transaction at most: studies, and what they weigh, where a resource weighs 1 and so does an instance in it.
STUDIES, _WEIGHT = 32, 2000
# A server that refuses more is asked for so many at least, since who is refused may have been refused for one of them.
_FEWEST = 2
# … and for so many seconds for no more than it took.
_CAUTION = 300.0


@dataclass(eq=False, slots=True)
class _Waiting:
    """The writes of one study, what they weigh, whose they are in a trace, and where their answers are waited for."""

    writes: list[Write]
    weight: int
    origin: Origin | None
    answers: asyncio.Future[list[Written]]
    sending: asyncio.Task[None] | None = None


class Together:
    """Writes to a FHIR server, `at_once` transactions at a time, of at most `most` studies."""

    def __init__(self, fhir: FhirServer, *, at_once: int = 4, most: int = STUDIES) -> None:
        self._fhir = fhir
        self._at_once = at_once
        self._most = most
        self._grows_at = 0.0
        self._queue: deque[_Waiting] = deque()
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def possible(self) -> bool:
        """Whether studies may share a transaction at present."""
        return self._most > 1 and self._fhir.capabilities.transaction

    async def write(self, writes: list[Write]) -> list[Written]:
        """Write all of one study's, as `FhirServer.write` does.

        Raises:
            NotTogether: nothing is known of what was sent with others'.
        """
        if not self.possible:
            return await self._fhir.write(writes)
        loop = asyncio.get_running_loop()
        weight = sum(weight_of(write.resource) for write in writes)
        waiting = _Waiting(writes, weight, self._fhir.spans.here, loop.create_future())
        self._queue.append(waiting)
        loop.call_soon(self._start)  # and not at once, so that who is just coming can join
        try:
            return await waiting.answers
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            if waiting.sending is not None:
                waiting.sending.cancel()
            raise

    def _start(self) -> None:
        while self._queue and len(self._sending) < self._at_once:
            some = self._next()
            sending = asyncio.create_task(self._send(some))
            for one in some:
                one.sending = sending
            self._sending.add(sending)
            sending.add_done_callback(self._ended)

    def _ended(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        self._start()

    def _next(self) -> list[_Waiting]:
        """Those that share the next transaction; one that is heavy goes alone.

        No resource is in it twice: a Patient that two studies lead to, by `replaced-by`, is not theirs at once.
        """
        some = [self._queue.popleft()]
        weight, touched = some[0].weight, _resources(some[0])
        while self._queue and len(some) < self._most:
            one = self._queue[0]
            if weight + one.weight > _WEIGHT or touched & _resources(one):
                break
            some.append(self._queue.popleft())
            weight, touched = weight + one.weight, touched | _resources(one)
        return some

    async def _send(self, some: Sequence[_Waiting]) -> None:
        """Send them and hand out the answers, or what went wrong."""
        first, *others = (one.origin for one in some)
        try:
            with self._fhir.spans.span("together", {"dicomcast.studies": len(some)}, under=first, beside=others):
                answers = await self._fhir.write([write for one in some for write in one.writes])
        except BaseException as error:
            self._failed(some, error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        if len(some) == self._most and _now() > self._grows_at:
            self._most = min(STUDIES, self._most + 1)
        start = 0
        for one in some:
            if not one.answers.done():
                one.answers.set_result(answers[start : start + len(one.writes)])
            start += len(one.writes)

    def _failed(self, some: Sequence[_Waiting], error: BaseException) -> None:
        if len(some) > 1 and isinstance(error, Rejected | Retriable | Unauthorized) and not _is_about_us(error):
            # Perhaps it was too much for the server, or took it too long; where it is away altogether, that shows soon.
            if len(some) > self._most // 2:
                self._most = max(_FEWEST, len(some) // 2)
                self._grows_at = _now() + _CAUTION
            error = NotTogether(f"{len(some)} studies were not written together: {error}", peer="fhir")
        for one in some:
            if not one.answers.done():
                one.answers.set_exception(error)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _resources(waiting: _Waiting) -> set[tuple[str, str]]:
    return {(write.resource["resourceType"], write.resource["id"]) for write in waiting.writes}


def _is_about_us(error: BaseException) -> bool:
    """Whether no study will fare better by itself: our credentials are refused."""
    return isinstance(error, Unauthorized) and error.status != 403

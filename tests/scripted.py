"""A harness in which a test answers requests itself, before or after the embedded server has seen them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.harness import Harness

__all__ = ["Scripted", "bundle_of"]

Before = Callable[[str, httpx.Request], Awaitable[None]]
Instead = Callable[[str, httpx.Request], httpx.Response | None]
Afterwards = Callable[[str, httpx.Request, httpx.Response], httpx.Response | None]


async def _nothing(peer: str, request: httpx.Request) -> None:
    """Happens before most requests."""


class Scripted(Harness):
    """`before` happens before a request.

    `instead` answers in a peer's place, `afterwards` in place of the answer to what was done; None: nothing.
    """

    def __init__(self, **options: Any) -> None:
        self.instead: Instead = lambda peer, request: None
        self.afterwards: Afterwards = lambda peer, request, answer: None
        self.before: Before = _nothing
        self.seen: list[tuple[str, httpx.Request]] = []
        super().__init__(**options)

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Scripted(transport, peer, self)

    def writes(self) -> list[bytes]:
        """The bundles that were sent."""
        return [request.content for peer, request in self.seen if bundle_of(peer, request)]


class _Scripted(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, peer: str, harness: Scripted) -> None:
        self._inner, self._peer, self._harness = inner, peer, harness

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._harness.seen.append((self._peer, request))
        await self._harness.before(self._peer, request)
        answer = self._harness.instead(self._peer, request)
        if answer is None:
            answer = await self._inner.handle_async_request(request)
            await answer.aread()
            answer = self._harness.afterwards(self._peer, request, answer) or answer
        return answer


def bundle_of(peer: str, request: httpx.Request, study_uid: str = "") -> bytes:
    """The bundle that a request carries, about a study if one is named; b"" if it carries none."""
    sent = peer == "fhir" and "fhir+json" in request.headers.get("Content-Type", "")
    about = not study_uid or f'"urn:oid:{study_uid}"'.encode() in request.content
    return request.content if sent and about else b""

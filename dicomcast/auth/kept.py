"""A token that is fetched, kept while it is good, and fetched anew before it ends: once for all that wait for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from dicomcast.auth.advice import Asked, advice, described
from dicomcast.errors import ConfigError, Unreachable

__all__ = ["Issued", "Issuer", "Kept"]

# A token is renewed so long before its end, in seconds, or when a quarter of its life is left, whichever is later.
_AHEAD = 300.0
# Where that fails, the one that we have still serves: the next try is not made for every request.
_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token, and how many seconds it was good for when it was asked for."""

    token: str = field(repr=False)
    lifetime: float


class Issuer(Protocol):
    """Whoever issues tokens."""

    async def issue(self) -> Issued:
        """A new token.

        Raises:
            Unreachable: there is none at present, which passes.
            Unauthorized: we are not known there, or must not have one.
        """

    async def close(self) -> None:
        """Let go of the connections."""


class Kept:
    """The token of a peer. Its life is counted by a clock that nobody sets, so that no clock has to be right."""

    def __init__(self, issuer: Issuer, asked: Asked) -> None:
        self._issuer = issuer
        self._asked = asked
        self._token = ""
        self._until = 0.0
        self._renew_at = 0.0
        self._under_way: asyncio.Task[None] | None = None

    async def header(self) -> str:
        """With a token that is good; one that soon ends is renewed beside the work."""
        now = time.monotonic()
        if now >= self._until:
            await self._issue()
        elif now >= self._renew_at:
            self._renew_at = now + _PAUSE
            self._begin()
        return f"Bearer {self._token}"

    async def renewed(self, refused: str) -> str:
        """With another token than one that was refused, which may be there already; "" if there is none."""
        if refused == f"Bearer {self._token}":
            await self._issue()
        header = f"Bearer {self._token}"
        return "" if header == refused else header

    def advice(self, status: int) -> str:
        """Whom the token is for, and what is missing."""
        return advice(status, self._asked, self._token)

    async def described(self) -> str:
        """What the token says of itself."""
        await self.header()
        return described(self._token, self._asked)

    async def close(self) -> None:
        """Fetch no more."""
        if self._under_way is not None:
            self._under_way.cancel()
        await self._issuer.close()

    async def _issue(self) -> None:
        """Wait for a new token: for one that somebody else waits for too, where there is one under way."""
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._fetch())
            self._under_way.add_done_callback(self._ended)
        return self._under_way

    async def _fetch(self) -> None:
        asked_at = time.monotonic()
        try:
            issued = await self._issuer.issue()
        except ConfigError as error:  # It was right at the start: a file of it is being replaced.
            raise Unreachable(f"no token for {self._asked.peer}: {error}", peer=self._asked.peer) from None
        self._token = issued.token
        self._until = asked_at + issued.lifetime
        self._renew_at = self._until - min(_AHEAD, issued.lifetime / 4)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # Those that waited were told; where nobody did, the next request asks again.

"""Trouble between the client and its peers, in process: what the next requests meet, one kind for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

__all__ = ["Crash", "Trouble", "Troubled"]


class Crash(BaseException):
    """The process is gone: nothing catches this, and nothing more is sent."""


@dataclass(slots=True)
class Trouble:
    """Counts the steps of a process (requests, writes of the store) and strikes at one of them.

    `kind` is a status code with or without Retry-After ("503", "429 1"), `reset` (not sent), `lost` (sent,
    but the answer is lost), `garbled`, `crash before`, `crash after`, or `call`, which runs `action` first,
    and then goes on.
    """

    kind: str = ""
    countdown: int = 0
    peer: str = ""
    action: Callable[[], Awaitable[None]] | None = None
    dead: bool = False
    met: list[str] = field(default_factory=list)

    def strikes(self, peer: str) -> str:
        """The kind of trouble that this step meets, "" for none."""
        if self.dead:
            raise Crash
        if not self.kind or self.peer not in ("", peer):
            return ""
        self.countdown -= 1
        if self.countdown >= 0:
            return ""
        kind, self.kind = self.kind, ""
        self.met.append(kind)
        return kind

    def crash(self) -> None:
        """From now on nothing leaves this process."""
        self.dead = True
        raise Crash


class Troubled(httpx.AsyncBaseTransport):
    """A transport that meets it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, peer: str, trouble: Trouble) -> None:
        self._inner, self._peer, self._trouble = inner, peer, trouble

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kind = self._trouble.strikes(self._peer)
        match kind.split():
            case [status] if status.isdigit():
                return httpx.Response(int(status))
            case [status, after] if status.isdigit():
                return httpx.Response(int(status), headers={"Retry-After": after})
            case ["reset"]:
                raise httpx.ReadError("reset", request=request)
            case ["garbled"]:
                return httpx.Response(200, content=b"<html>back soon</html>")
            case ["crash", "before"]:
                self._trouble.crash()
            case ["call"] if self._trouble.action is not None:
                await self._trouble.action()
        response = await self._inner.handle_async_request(request)
        match kind.split():
            case ["lost"]:
                await response.aread()
                raise httpx.RemoteProtocolError("lost", request=request)
            case ["crash", "after"]:
                await response.aread()
                self._trouble.crash()
        return response

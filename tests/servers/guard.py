"""A gate-keeper in front of an application: who does not know the password gets 401, whatever is asked."""

from __future__ import annotations

import base64
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["basic_header", "guarded"]


def basic_header(username: str, password: str) -> str:
    """What RFC 7617 sends for these."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def guarded(username: str, password: str) -> Callable[[ASGIApp], ASGIApp]:
    """Puts the gate-keeper in front. What he sends back quotes what he was told, as careless servers do."""
    wanted = basic_header(username, password)

    def front(app: ASGIApp) -> ASGIApp:
        async def keeper(scope: Scope, receive: Receive, send: Send) -> None:
            told = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
            if scope["type"] != "http" or told == wanted:
                await app(scope, receive, send)
                return
            challenge = [(b"www-authenticate", b'Basic realm="archive"'), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": challenge})
            await send({"type": "http.response.body", "body": f"no entry with {told}".encode()})

        return keeper

    return front

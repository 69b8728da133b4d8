"""How a peer is told who we are. One `httpx.Auth` for each kind of credential."""

from __future__ import annotations

from collections.abc import Generator

import httpx

__all__ = ["BearerToken", "basic"]


class BearerToken(httpx.Auth):
    """A token that the operator gave us (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


def basic(username: str, password: str) -> httpx.Auth:
    """User name and password (RFC 7617)."""
    return httpx.BasicAuth(username, password)

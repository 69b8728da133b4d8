"""How a peer is told who we are. One `httpx.Auth` for each kind of credential."""

from __future__ import annotations

from collections.abc import Generator
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

__all__ = ["BearerToken", "basic", "readable_on_the_way"]


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


def readable_on_the_way(url: str) -> bool:
    """Whether others can read what is sent to this address: it has no TLS, and leaves this machine."""
    address = urlsplit(url)
    host = address.hostname or ""
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")  # RFC 6761 §6.3
    return address.scheme == "http" and not here

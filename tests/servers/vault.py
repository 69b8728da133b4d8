"""Azure Key Vault's REST API for secrets, on loopback with TLS: Azure's library sends no token without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dicomcast.demo.serve import serve

__all__ = ["Vault", "vault"]

_PAGE = 2


@dataclass(slots=True)
class Vault:
    """`secrets` by name; those in `disabled` are listed and cannot be read. It takes `token`, or answers `status`."""

    token: str
    secrets: dict[str, str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    status: int = 0
    url: str = ""
    read: list[str] = field(default_factory=list)

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            # The library wants the resource to be a domain that the vault's address is below of: 127.[0.0.1:PORT].
            domain = urlsplit(self.url).netloc.partition(".")[2]
            challenge = f'Bearer authorization="https://login.example/tenant", resource="https://{domain}"'
            return JSONResponse({"error": {"code": "Unauthorized"}}, 401, {"WWW-Authenticate": challenge})
        if self.status:
            return JSONResponse({"error": {"code": "Forbidden", "message": "s3same"}}, self.status)
        return None

    async def listing(self, request: Request) -> Response:
        """The names, a few on each page."""
        start = int(request.query_params.get("$skiptoken", "0"))
        page = sorted(self.secrets)[start : start + _PAGE]
        following = f"{self.url}/secrets?api-version=7.4&$skiptoken={start + _PAGE}"
        rows = [
            {"id": f"{self.url}/secrets/{name}", "attributes": {"enabled": name not in self.disabled}} for name in page
        ]
        answer: dict[str, Any] = {"value": rows, "nextLink": following if start + _PAGE < len(self.secrets) else None}
        return self._refused(request) or JSONResponse(answer)

    async def secret(self, request: Request) -> Response:
        """One secret."""
        name = request.path_params["name"]
        refused = self._refused(request)
        if refused is None:
            self.read.append(name)
            refused = JSONResponse({"error": {"code": "Forbidden"}}, 403) if name in self.disabled else None
        told = {"id": f"{self.url}/secrets/{name}/1", "value": self.secrets[name], "attributes": {"enabled": True}}
        return refused or JSONResponse(told)


@contextmanager
def vault(token: str, **tls: Any) -> Iterator[Vault]:
    """The vault, for as long as the context lasts."""
    made = Vault(token)
    routes = [
        Route("/secrets", made.listing),
        Route("/secrets/{name}", made.secret),
        Route("/secrets/{name}/", made.secret),
    ]
    with serve(Starlette(routes=routes), **tls) as made.url:
        yield made

"""Azure's identity endpoint on loopback, as App Service has it: IDENTITY_ENDPOINT and IDENTITY_HEADER."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dicomcast.demo.serve import serve

__all__ = ["IdentityEndpoint", "identity_endpoint"]

_HEADER = "this-process-alone-knows-it"


@dataclass(slots=True)
class IdentityEndpoint:
    """What it was asked, and what it hands out: a token for a resource, or an error `status` while that is set."""

    token: str = "token-of-the-identity"
    lifetime: int = 86400
    status: int = 0
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """What the platform sets in a container that has an identity."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": _HEADER}

    async def answer(self, request: Request) -> Response:
        """A token, for who knows the header."""
        self.asked.append(dict(request.query_params))
        if request.headers.get("x-identity-header") != _HEADER:
            return JSONResponse({"statusCode": 401, "message": "no such header"}, 401)
        if self.status:
            return JSONResponse(
                {"statusCode": self.status, "message": "No User Assigned or Delegated Identity"}, self.status
            )
        ends = int(time.time()) + self.lifetime
        resource = request.query_params["resource"]
        told = {"access_token": self.token, "expires_on": str(ends), "resource": resource, "token_type": "Bearer"}
        return JSONResponse(told)


@contextmanager
def identity_endpoint() -> Iterator[IdentityEndpoint]:
    """The endpoint, for as long as the context lasts."""
    endpoint = IdentityEndpoint()
    with serve(Starlette(routes=[Route("/msi/token", endpoint.answer)])) as endpoint.url:
        yield endpoint

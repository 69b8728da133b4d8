"""An OAuth2 server on loopback that issues JWTs to clients it knows, and the gate-keeper of who wants them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomcast.demo.serve import serve
from tests.faults import Faults

__all__ = ["CLIENT", "SECRET", "TokenServer", "token_server", "wanting_tokens"]

CLIENT, SECRET = "dicomcast", "s3same:öffne dich"
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(slots=True)
class TokenServer:
    """What it hands out can be changed at any time: lifetimes in seconds, claims, and how wrong its clock is.

    `keys` are the public keys of clients by `kid` or thumbprint; `asked` is each form that it was sent, `issued` each
    token. `faults` stands in front of it.
    """

    lifetime: int = 3600
    told: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    clock: float = 0.0
    keys: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    faults: Faults = field(init=False)
    _signing: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.faults = Faults(Starlette(routes=[Route("/token", self._token, methods=["POST"])]))
        self.rotate()

    @property
    def endpoint(self) -> str:
        """Where tokens are issued."""
        return f"{self.url}/token"

    def rotate(self) -> None:
        """Sign with another key, and no longer vouch for what was signed before."""
        self._signing = {f"key-{next(self._numbers)}": ec.generate_private_key(ec.SECP256R1())}

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        self.asked.append(form)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        if not self._knows(request, form):
            return JSONResponse({"error": "invalid_client", "error_description": f"not {form}"}, 401)
        if form.get("scope") == "unknown":
            return JSONResponse({"error": "invalid_scope", "error_description": "unknown"}, 400)
        token = self.sign(form)
        self.issued.append(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime} | self.told)

    def sign(self, form: dict[str, str]) -> str:
        """A token for who asked like this."""
        now = time.time() + self.clock
        audience = form.get("audience") or form.get("resource") or form.get("scope", "").removesuffix("/.default")
        [(kid, key)] = self._signing.items()
        said = {"iss": self.url, "sub": CLIENT, "aud": audience, "iat": now, "nbf": now, "exp": now + self.lifetime}
        said |= {"jti": str(next(self._numbers)), "roles": ["Reader"]}
        return jwt.encode(said | self.claims, key, "ES256", {"kid": kid})

    def _knows(self, request: Request, form: dict[str, str]) -> bool:
        if form.get("client_assertion_type") == _JWT_BEARER:
            return self._believes(form["client_assertion"])
        if "client_secret" in form:
            return (form.get("client_id"), form["client_secret"]) == (CLIENT, SECRET)
        kind, _, told = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic":
            return False
        return [unquote_plus(one) for one in base64.b64decode(told).decode().split(":")] == [CLIENT, SECRET]

    def _believes(self, assertion: str) -> bool:
        header = jwt.get_unverified_header(assertion)
        key = self.keys.get(header.get("kid") or header.get("x5t"))
        if key is None:
            return False
        options: Any = {"require": ["iss", "sub", "aud", "exp", "jti"]}
        try:
            said = jwt.decode(assertion, key, [header["alg"]], options, audience=self.endpoint, issuer=CLIENT)
        except jwt.InvalidTokenError:
            return False
        again = said["jti"] in self._seen
        self._seen.add(said["jti"])
        return not again and said["sub"] == CLIENT and said["exp"] - time.time() <= 300

    def vouches(self, token: str, audience: str, clock: float) -> dict[str, Any] | None:
        """The claims of a token that is ours, for this audience, and good by a clock that is `clock` seconds off."""
        try:
            kid = jwt.get_unverified_header(token)["kid"]
            options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            said = jwt.decode(token, self._signing[kid].public_key(), ["ES256"], options, audience=audience)
        except (jwt.InvalidTokenError, KeyError):
            return None
        return said if said["nbf"] <= time.time() + clock < said["exp"] else None


@contextmanager
def token_server(**tls: Any) -> Iterator[TokenServer]:
    """The server, for as long as the context lasts."""
    server = TokenServer()
    with serve(server.faults, **tls) as server.url:
        yield server


@dataclass(slots=True)
class Keeper:
    """What a gate-keeper goes by: the audience below each path, roles that are enough, how wrong the server's clock is.

    A token serves `uses` times, then it is over, as if its end had come in between.
    """

    audiences: dict[str, str]
    role: str = "Reader"
    clock: float = 0.0
    uses: int = 1_000_000
    served: dict[str, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)

    def status(self, server: TokenServer, path: str, told: str) -> int:
        """What becomes of a request: 0 lets it in."""
        token = told.removeprefix("Bearer ")
        audience = next(of for start, of in self.audiences.items() if path.startswith(start))
        claims = server.vouches(token, audience, self.clock) if told.startswith("Bearer ") else None
        if claims is None or self.served.get(token, 0) >= self.uses:
            return 401
        self.served[token] = self.served.get(token, 0) + 1
        return 0 if self.role in claims.get("roles", []) else 403


def wanting_tokens(server: TokenServer, keeper: Keeper) -> Callable[[ASGIApp], ASGIApp]:
    """Puts the gate-keeper in front; he quotes what he was told, as careless servers do."""

    def front(app: ASGIApp) -> ASGIApp:
        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            told = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
            status = keeper.status(server, scope["path"], told) if scope["type"] == "http" else 0
            if not status:
                await app(scope, receive, send)
                return
            keeper.refused.append(status)
            challenge = [(b"www-authenticate", f'Bearer error="invalid_token", told="{told}"'.encode())]
            await send({"type": "http.response.start", "status": status, "headers": challenge})
            await send({"type": "http.response.body", "body": f"no entry with {told}".encode()})

        return gate

    return front

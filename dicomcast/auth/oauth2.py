"""The client credentials grant of OAuth2 (RFC 6749 §4.4): one request, by secret or by signature (RFC 7523 §2.2)."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

from dicomcast.auth.advice import Asked
from dicomcast.auth.claims import claims_of
from dicomcast.auth.kept import Issued
from dicomcast.errors import Rejected, Retriable, Unauthorized, Unreachable
from dicomcast.extras import extra
from dicomcast.http import Answer, Http, parse_json
from dicomcast.settings.auth import ClientCredentialsAuth, SmartBackendAuth

__all__ = ["TokenEndpoint"]

_TIMEOUT = timedelta(seconds=30)
# How long a token is taken to be good for where nobody says it, in seconds.
_UNTOLD = 300.0
# RFC 6749 §4.1.2.1: of its errors, those that pass by themselves.
_PASSING = ("server_error", "temporarily_unavailable", "slow_down")
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenEndpoint:
    """Where an OAuth2 server issues tokens. It is asked once: who waits for a peer tries again."""

    def __init__(self, auth: ClientCredentialsAuth | SmartBackendAuth, asked: Asked) -> None:
        self._auth = auth
        self._peer = asked.peer
        self._setting = asked.setting
        self._http = Http(
            "the token endpoint",
            auth.token_url,
            settings=f"{asked.peer.upper()}__AUTH__TOKEN_",
            tls=auth.token_tls.files,
            timeout=_TIMEOUT,
            budget=timedelta(0),
        )
        if auth.key_file is not None:
            self._assertion()  # What is wrong with the key is told at the start.

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def issue(self) -> Issued:
        """Ask for a token.

        What the server says of us is one thing (RFC 6749 §5.2), that it is away or talks of something else another.
        """
        form, headers = self._asking()
        try:
            answer = await self._http.request(
                "POST", self._auth.token_url, content=urlencode(form).encode(), headers=headers
            )
            return _issued(answer)
        except Unauthorized as error:
            raise self._refused(str(error).partition(": check ")[0]) from None
        except Rejected as error:
            if error.status == 400 and error.codes and not set(error.codes) & set(_PASSING):
                raise self._refused(str(error)) from None
            said = f"no token for {self._peer}: {error}; see {self._setting}__TOKEN_URL"
            raise Unreachable(said, peer=self._peer) from None
        except Retriable as error:
            said = f"no token for {self._peer}: {error}"
            # Without its status: that of the token endpoint is no throttling of the peer.
            raise Unreachable(said, peer=self._peer, retry_after=error.retry_after) from None

    def _refused(self, said: str) -> Unauthorized:
        proof = "the key, its registration there, and the clock here" if self._auth.key_file else "the client's secret"
        said = f"no token for {self._peer}: {said}: check {proof} ({self._setting})"
        # Whatever its status: a 403 of the peer could be about one study, and this is about all.
        return Unauthorized(said, peer=self._peer, status=401)

    def _asking(self) -> tuple[dict[str, str], dict[str, str]]:
        auth = self._auth
        form = {"grant_type": "client_credentials", "scope": auth.scope}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if isinstance(auth, ClientCredentialsAuth):
            form |= {"audience": auth.audience, "resource": auth.resource}
        if auth.key_file is not None:
            form |= {"client_assertion_type": _JWT_BEARER, "client_assertion": self._assertion()}
            form |= {"client_id": auth.client_id}
        elif isinstance(auth, ClientCredentialsAuth) and auth.client_secret is not None:
            secret = auth.client_secret.get_secret_value()
            if auth.secret_in == "body":
                form |= {"client_id": auth.client_id, "client_secret": secret}
            else:
                # RFC 6749 §2.3.1: each is form-encoded first.
                pair = f"{quote_plus(auth.client_id)}:{quote_plus(secret)}".encode()
                headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return {name: value for name, value in form.items() if value}, headers

    def _assertion(self) -> str:
        """Signed anew each time, with what is in the files now: keys are rotated."""
        auth = self._auth
        with extra("oauth2", f"{self._setting}__KEY_FILE"):
            from dicomcast.auth.signing import signed

        smart = isinstance(auth, SmartBackendAuth)
        return signed(
            f"{self._setting}__KEY_FILE",
            client=auth.client_id,
            audience=auth.token_url,
            key_file=str(auth.key_file),
            certificate_file=None if isinstance(auth, SmartBackendAuth) else auth.certificate_file,
            kid=auth.kid,
            rsa="RS384" if smart else "RS256",
        )


def _issued(answer: Answer) -> Issued:
    """The token of an answer (RFC 6749 §5.1)."""
    try:
        said = parse_json(answer.content)
    except ValueError:
        said = None
    token = said.get("access_token") if isinstance(said, dict) else None
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise Retriable("the token endpoint answered with something else than a token")
    return Issued(token, _lifetime(said.get("expires_in"), token))


def _lifetime(told: Any, token: str) -> float:
    """How long a token is good for: as the answer says, or else the token, both without regard to our clock."""
    try:
        return max(0.0, float(told))  # Some send it as text.
    except (TypeError, ValueError, OverflowError):
        claims = claims_of(token)
        return max(0.0, claims.lifetime) if claims and claims.lifetime is not None else _UNTOLD

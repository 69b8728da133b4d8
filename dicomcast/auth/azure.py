"""Tokens of Azure's identities, by azure-identity: in a thread, as its calls block."""

from __future__ import annotations

import asyncio
import re
import time

from dicomcast.auth.advice import Asked
from dicomcast.auth.kept import Issued
from dicomcast.azure_identity import Identity, azure_credential
from dicomcast.errors import Unauthorized, Unreachable
from dicomcast.extras import extra

__all__ = ["AzureIdentity"]

# What Entra ID says in its errors, by number. The rest of the text is long, and not ours to repeat.
_CODE = re.compile(r"AADSTS\d+|invalid_client|unauthorized_client|invalid_scope|invalid_resource")


class AzureIdentity:
    """An identity that has its tokens from Azure. It is made anew for each, since it would keep them by itself."""

    def __init__(self, setting: str, identity: Identity, client_id: str | None, scope: str, asked: Asked) -> None:
        self._setting = setting
        self._identity = identity
        self._client_id = client_id
        self._scope = scope
        self._peer = asked.peer
        azure_credential(setting, identity, client_id)  # What is missing is told at the start.

    async def close(self) -> None:
        """Nothing is kept open."""

    async def issue(self) -> Issued:
        """Ask for a token."""
        return await asyncio.to_thread(self._issue)

    def _issue(self) -> Issued:
        with extra("azure", self._setting):
            from azure.core.exceptions import AzureError, ClientAuthenticationError
            from azure.identity import CredentialUnavailableError

        said = ""
        try:
            token = azure_credential(self._setting, self._identity, self._client_id).get_token(self._scope)
            return Issued(token.token, max(0.0, token.expires_on - time.time()))
        except CredentialUnavailableError:
            # A container's identity endpoint may come up after the container.
            said = f"no token for {self._peer}: Azure has no identity for this process, or not yet"
        except ClientAuthenticationError as error:
            codes = ", ".join(dict.fromkeys(_CODE.findall(str(error))))
            refused = f"Azure refuses a token for the scope {self._scope}" + (f" ({codes})" if codes else "")
            if getattr(error, "status_code", None) not in (408, 429, 500, 502, 503, 504):
                told = f"no token for {self._peer}: {refused}: check the identity ({self._setting})"
                raise Unauthorized(told, peer=self._peer) from None
            said = f"no token for {self._peer}: {refused}"
        except AzureError as error:
            said = f"no token for {self._peer}: Azure does not answer ({type(error).__name__})"
        raise Unreachable(f"{said} (DICOMCAST_{self._setting})", peer=self._peer)

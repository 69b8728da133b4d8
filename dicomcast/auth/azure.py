"""Tokens of Azure's identities, by azure-identity: in a thread, as its calls block."""

from __future__ import annotations

import asyncio
import time

from dicomcast.auth.advice import Asked
from dicomcast.auth.kept import Issued
from dicomcast.azure_identity import Identity, azure_credential, why_none
from dicomcast.errors import Unauthorized, Unreachable

__all__ = ["AzureIdentity"]


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
        from azure.core.exceptions import AzureError

        try:
            token = azure_credential(self._setting, self._identity, self._client_id).get_token(self._scope)
        except (AzureError, OSError) as error:
            said, passes = why_none(error)
        else:
            return Issued(token.token, max(0.0, token.expires_on - time.time()))
        if passes:
            raise Unreachable(f"no token for {self._peer}: {said} (DICOMCAST_{self._setting})", peer=self._peer)
        said = f"{said} for the scope {self._scope}: check the identity (DICOMCAST_{self._setting})"
        raise Unauthorized(f"no token for {self._peer}: {said}", peer=self._peer)

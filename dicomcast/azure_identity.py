"""Who we are on Azure: the one place that chooses a credential of azure-identity, for whatever needs one.

azure-identity is the extra `azure`, and is imported only where it is asked for. Its calls block: call them in a thread.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Literal

from dicomcast.errors import ConfigError
from dicomcast.extras import extra

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.exceptions import AzureError

__all__ = ["Identity", "azure_credential", "why_none"]

Identity = Literal["auto", "managed", "workload", "cli"]

# In seconds. The identity endpoint is near; and we wait and try again ourselves, where an operator sees it.
_PATIENCE: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 20, "retry_total": 1}


# What Entra ID says in its errors, by number. The rest of the text is long, and not ours to repeat.
_CODE = re.compile(r"AADSTS\d+")


def why_none(error: AzureError | OSError) -> tuple[str, bool]:
    """Why there is no token, and whether that passes: only what Entra ID says of us is an operator's matter.

    That there is no identity may pass: a container's identity endpoint comes up after the container.
    """
    from azure.core.exceptions import ClientAuthenticationError

    if isinstance(error, OSError):  # of the file that a pod's token is in
        return f"a file of the identity cannot be read ({type(error).__name__})", True
    if codes := ", ".join(dict.fromkeys(_CODE.findall(str(error)))):
        return f"Azure refuses the identity a token ({codes})", False
    if not isinstance(error, ClientAuthenticationError):
        return f"Azure does not answer ({type(error).__name__})", True
    if error.status_code in (400, 401, 403):
        return "Azure refuses the identity a token", False
    return "Azure has no identity for this process, or not yet", True


def azure_credential(setting: str, identity: Identity = "auto", client_id: str | None = None) -> TokenCredential:
    """A credential of azure-identity; `setting` is named where there is none, `client_id` chooses among identities.

    With `auto` it is what the environment offers first: a client of the variables AZURE_CLIENT_ID …, a pod's workload
    identity, a managed identity, who is signed in to the Azure CLI.

    Raises:
        ConfigError: the extra is not installed, or the environment lacks what `workload` needs, or names what is none.
    """
    with extra("azure", setting):
        from azure.identity import (
            AzureCliCredential,
            DefaultAzureCredential,
            ManagedIdentityCredential,
            WorkloadIdentityCredential,
        )
    for library in ("azure", "msal"):  # What they log repeats what servers say; errors are told by ours.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    match identity:
        case "managed":
            return ManagedIdentityCredential(client_id=client_id, **_PATIENCE)
        case "workload":
            try:
                return WorkloadIdentityCredential(client_id=client_id, **_PATIENCE)
            except ValueError:
                raise ConfigError(
                    f"{setting}: there is no workload identity here: the webhook of Azure Workload Identity sets "
                    "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE in pods that are labelled for it"
                ) from None
        case "cli":
            return AzureCliCredential()
    chosen = {"managed_identity_client_id": client_id} if client_id else {}
    try:
        return DefaultAzureCredential(
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_powershell_credential=True,
            exclude_developer_cli_credential=True,
            exclude_broker_credential=True,
            **chosen,
            **_PATIENCE,
        )
    except (ValueError, OSError) as error:
        problem = type(error).__name__
    # out here, so that no context carries what was read
    raise ConfigError(f"{setting}: what the variables AZURE_… name cannot be used ({problem})")

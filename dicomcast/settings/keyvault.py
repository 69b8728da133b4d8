"""Azure Key Vault as a source of settings: the secrets whose names are ours. Its library is the extra `azure`."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from dicomcast.azure_identity import azure_credential, why_none
from dicomcast.errors import ConfigError, Retriable, Unauthorized
from dicomcast.extras import extra

__all__ = ["secret_name", "secrets_in"]

# In seconds; the library tries again by itself.
_PATIENCE = {"connection_timeout": 5, "read_timeout": 20, "retry_total": 2}


def secret_name(variable: str) -> str:
    """The name of a setting in a vault, where names have no underscores."""
    return variable.replace("_", "-")


def _variable(secret: str) -> str:
    return secret.upper().replace("-", "_")


def secrets_in(url: str, wanted: Callable[[str], bool], setting: str) -> dict[str, tuple[str, str]]:
    """Value and name of each secret of the vault at `url` that is wanted, by the variable that it is.

    Raises:
        ConfigError: this is no vault's address, or the extra is not installed.
        Unauthorized: we may not read it.
        Retriable: it does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or re.search(r"[\s?#@]", url):
        raise ConfigError(f"{setting}: write the address of the vault, such as https://NAME.vault.azure.net")
    with extra("azure", setting):
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
        from azure.keyvault.secrets import SecretClient
    problem: ConfigError | Unauthorized | Retriable
    try:
        with SecretClient(url, azure_credential(setting), **_PATIENCE) as client:
            ours = [
                one.name
                for one in client.list_properties_of_secrets()
                if one.name and one.enabled and wanted(_variable(one.name))
            ]
            return {_variable(name): ((client.get_secret(name).value or "").strip(), name) for name in ours}
    except (ClientAuthenticationError, OSError) as error:
        said, passes = why_none(error)
        problem = Retriable(f"{setting}: {said}") if passes else Unauthorized(f"{setting}: {said}: check the identity")
    except HttpResponseError as error:
        said = f"{setting}: the vault answered {error.status_code or 'with something else than secrets'}"
        problem = Retriable(said, status=error.status_code)
        if error.status_code == 403:
            remedy = "give the identity the role Key Vault Secrets User on it, and let its firewall pass this network"
            problem = Unauthorized(f"{said}: {remedy}")
    except (AzureError, ValueError) as error:  # ValueError: its challenge is not a vault's
        problem = Retriable(f"{setting}: there is no vault to be reached at that address ({type(error).__name__})")
    raise problem  # out here, so that no context carries what was read

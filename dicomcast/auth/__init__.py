"""How a peer is told who we are: what the settings of credentials become.

Each kind is `Credentials`, which `http` asks for the header. A token that is fetched is kept, and renewed in time
(`kept`); it comes from an OAuth2 server (`oauth2`, and `signing` where we sign what we ask with) or from Azure's
identities (`azure`).
"""

from __future__ import annotations

from dicomcast.auth.advice import Asked
from dicomcast.auth.given import Basic, BearerFile, BearerToken
from dicomcast.auth.kept import Kept
from dicomcast.auth.oauth2 import TokenEndpoint
from dicomcast.credentials import Credentials
from dicomcast.settings.auth import (
    Auth,
    AzureAuth,
    BasicAuth,
    BearerAuth,
    ClientCredentialsAuth,
    SmartBackendAuth,
)

__all__ = ["credentials"]

# Of Azure's DICOM service, in every region: another than its URL.
_AZURE_DICOM = "https://dicom.healthcareapis.azure.com"
# The least that does on Azure: the archive is only read.
_ROLES = {"dicom": "DICOM Data Reader", "fhir": "FHIR Data Contributor"}


def credentials(auth: Auth, peer: str, url: str) -> Credentials | None:
    """The credentials for a peer at `url`, None if it gets none.

    Raises:
        ConfigError: an extra is not installed, or a key cannot be used.
    """
    setting = f"{peer.upper()}__AUTH"
    role = _ROLES[peer]
    match auth:
        case BasicAuth():
            return Basic(auth.username, auth.password.get_secret_value())
        case BearerAuth() if auth.token is not None:
            return BearerToken(auth.token.get_secret_value(), Asked(peer, role))
        case BearerAuth():
            return BearerFile(str(auth.token_file), Asked(peer, role))
        case ClientCredentialsAuth() | SmartBackendAuth():
            asked = Asked(peer, role, _what(auth))
            return Kept(TokenEndpoint(auth, asked), asked)
        case AzureAuth():
            from dicomcast.auth.azure import AzureIdentity

            audience = auth.audience or (_AZURE_DICOM if peer == "dicom" else url)
            scope = auth.scope or f"{audience.rstrip('/')}/.default"
            asked = Asked(peer, role, f"the scope {scope}", on_azure=True)
            return Kept(AzureIdentity(f"{setting}__IDENTITY", auth.identity, auth.client_id, scope, asked), asked)
        case _:
            return None


def _what(auth: ClientCredentialsAuth | SmartBackendAuth) -> str:
    """What a token is asked for, in the words of the settings."""
    more = ("audience", "resource") if isinstance(auth, ClientCredentialsAuth) else ()
    named = [f"the {name} {value}" for name in ("scope", *more) if (value := getattr(auth, name))]
    return " and ".join(named)

"""How requests to a peer authenticate: one group for each kind of credential."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from dicomcast.settings.group import Group
from dicomcast.settings.tls import Certificates, Tls, TlsFiles
from dicomcast.settings.values import ClientId, ExactUrl, Password, Token, UserName, Words, Written
from dicomcast.tls import check_alone

__all__ = [
    "Auth",
    "AzureAuth",
    "BasicAuth",
    "BearerAuth",
    "ClientCredentialsAuth",
    "Group",
    "NoAuth",
    "SmartBackendAuth",
]

_KIND = "How requests authenticate; [credentials](../how-to/credentials.md) has a recipe for each."
# What dicomcast does, and no more (SMART App Launch 2, scopes).
_SMART = "system/Patient.cruds system/ImagingStudy.cruds system/Endpoint.cruds"


def _private_key(path: str) -> str:
    check_alone(path)
    return path


KeyFile = Annotated[str, AfterValidator(_private_key), Written("the path of a PEM file")]
File = Annotated[str, Field(min_length=1), Written("the path of a file")]


class NoAuth(Group):
    """Requests go without credentials."""

    kind: Literal["none"] = Field(default="none", description=_KIND)


class BasicAuth(Group):
    """A user name and a password (RFC 7617)."""

    kind: Literal["basic"] = Field(default="basic", description=_KIND)
    username: UserName = Field(description="The user name, for kind `basic`.")
    password: Password = Field(description="The password, for kind `basic`.")


class BearerAuth(Group):
    """A token that somebody else renews (RFC 6750)."""

    kind: Literal["bearer"] = Field(default="bearer", description=_KIND)
    token_file: File | None = Field(
        default=None,
        description="A file that has the access token alone, for kind `bearer`: it is read for each request, so that "
        "somebody else can renew it.",
    )
    token: Token | None = Field(
        default=None, validate_default=True, description="The access token, for kind `bearer`, where it has no file."
    )

    @field_validator("token")
    @classmethod
    def _one(cls, token: Token | None, known: ValidationInfo) -> Token | None:
        if token is None and known.data.get("token_file") is None:
            raise ValueError("write the access token, or name the file that has it in AUTH__TOKEN_FILE")
        if token is not None and known.data.get("token_file") is not None:
            raise ValueError("AUTH__TOKEN_FILE is set too; remove one of them")
        return token


class OAuth2Client(Group):
    """What both kinds of OAuth2 clients have."""

    token_url: ExactUrl = Field(
        description="Where tokens are issued, for kinds `client-credentials` and `smart-backend`: the `token_endpoint` "
        "in the server's `.well-known/openid-configuration` or `.well-known/smart-configuration`."
    )
    token_tls: Tls = TlsFiles()
    client_id: ClientId = Field(
        description="The id that the client was registered with; for kind `azure` that of a user-assigned identity, or "
        "of the application in a pod, if there are several."
    )
    key_file: KeyFile | None = Field(
        default=None,
        description="The private key that proves who we are (`private_key_jwt`), without a passphrase: RSA, or an "
        "elliptic curve. It needs the extra `oauth2`.",
    )
    kid: Words | None = Field(
        default=None, description="The name of that key, the `kid` of its public half in the JWK Set of the client."
    )


class ClientCredentialsAuth(OAuth2Client):
    """The client credentials grant of any OAuth2 server (RFC 6749 §4.4)."""

    kind: Literal["client-credentials"] = Field(default="client-credentials", description=_KIND)
    client_secret: Password | None = Field(
        default=None,
        validate_default=True,
        description="The client's secret, for kind `client-credentials` without KEY_FILE.",
    )
    secret_in: Literal["header", "body"] = Field(
        default="header", description="Where the secret is sent: what every OAuth2 server takes is the `header`."
    )
    certificate_file: Certificates | None = Field(
        default=None,
        description="The certificate of KEY_FILE, if it is in a file of its own: its thumbprint goes along, by which "
        "Entra ID finds it.",
    )
    scope: Words | None = Field(
        default=None,
        description="What the token is for, as the server names it. Unset, `client-credentials` asks for none, "
        f"`smart-backend` for `{_SMART}`, and `azure` for AUDIENCE and `/.default`.",
    )
    audience: Words | None = Field(
        default=None,
        description="Whom the token is for: a parameter that some servers want with `client-credentials`; with `azure` "
        "it is by default `https://dicom.healthcareapis.azure.com` for DICOM, and the URL for FHIR.",
    )
    resource: Words | None = Field(
        default=None, description="The same as others want it (RFC 8707), with `client-credentials`."
    )

    @field_validator("client_secret")
    @classmethod
    def _proof(cls, secret: Password | None, known: ValidationInfo) -> Password | None:
        if "key_file" not in known.data:  # it is told already
            return secret
        if secret is None and known.data["key_file"] is None:
            raise ValueError("write the client's secret, or name the file of its private key in AUTH__KEY_FILE")
        if secret is not None and known.data["key_file"] is not None:
            raise ValueError("AUTH__KEY_FILE is set too; remove one of them")
        return secret


class SmartBackendAuth(OAuth2Client):
    """SMART Backend Services: a client that signs what it asks for tokens with (SMART App Launch 2)."""

    kind: Literal["smart-backend"] = Field(default="smart-backend", description=_KIND)
    key_file: KeyFile = Field(description=OAuth2Client.model_fields["key_file"].description)
    kid: Words = Field(description=OAuth2Client.model_fields["kid"].description)
    scope: Words = Field(default=_SMART, description=ClientCredentialsAuth.model_fields["scope"].description)


class AzureAuth(Group):
    """An identity of Azure: a managed one, a pod's, or who is signed in to the Azure CLI."""

    kind: Literal["azure"] = Field(default="azure", description=_KIND)
    identity: Literal["auto", "managed", "workload", "cli"] = Field(
        default="auto",
        description="Which identity, for kind `azure`: `auto` takes what the environment offers first, a client of "
        "AZURE_CLIENT_ID …, a pod's workload identity, a managed identity, or who is signed in to the Azure CLI.",
    )
    client_id: ClientId | None = Field(default=None, description=OAuth2Client.model_fields["client_id"].description)
    audience: Words | None = Field(default=None, description=ClientCredentialsAuth.model_fields["audience"].description)
    scope: Words | None = Field(default=None, description=ClientCredentialsAuth.model_fields["scope"].description)


Auth = Annotated[
    NoAuth | BasicAuth | BearerAuth | ClientCredentialsAuth | SmartBackendAuth | AzureAuth,
    Field(discriminator="kind"),
]

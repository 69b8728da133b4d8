"""Who we are on Azure: which credential is chosen, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from dicomcast.auth import credentials as made
from dicomcast.azure_identity import azure_credential
from dicomcast.errors import ConfigError, Unauthorized, Unreachable
from dicomcast.settings.auth import AzureAuth
from tests.servers.embedded import silent_port
from tests.servers.identity import IdentityEndpoint, identity_endpoint

SCOPE = "https://dicom.healthcareapis.azure.com/.default"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    """An identity endpoint that this process has, and no other identity."""
    with identity_endpoint() as endpoint:
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in endpoint.environ.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.mark.parametrize("identity", ["managed", "auto"])
@pytest.mark.parametrize("client_id", [None, "6a7a0c1e-0000-4000-8000-000000000001"])
def test_a_managed_identity(endpoint: IdentityEndpoint, identity: str, client_id: str | None) -> None:
    """The real credential asks the platform's endpoint for the audience; which identity, if there are several."""
    credential = azure_credential("FHIR__AUTH__KIND", identity, client_id)  # type: ignore[arg-type]
    assert credential.get_token(SCOPE).token == endpoint.token
    asked = endpoint.asked[-1]
    assert asked["resource"] == SCOPE.removesuffix("/.default")
    assert asked.get("client_id") == client_id


def test_no_workload_identity(endpoint: IdentityEndpoint) -> None:
    """A pod that is not labelled for it lacks the variables: an operator has to act."""
    with pytest.raises(ConfigError, match="^DICOMCAST_FHIR__AUTH__IDENTITY: there is no workload identity here"):
        azure_credential("FHIR__AUTH__IDENTITY", "workload")


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the setting that needs it."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(ConfigError) as caught:
        azure_credential("FHIR__AUTH__KIND", "managed")
    said = "DICOMCAST_FHIR__AUTH__KIND needs more packages (azure.identity): pip install '.[azure]' in a clone"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("peer", "settings", "resource"),
    [
        ("dicom", {}, "https://dicom.healthcareapis.azure.com"),
        ("fhir", {}, "https://w-f.fhir.azurehealthcareapis.com"),
        ("fhir", {"audience": "https://elsewhere.example/"}, "https://elsewhere.example"),
        ("dicom", {"scope": "api://gateway/.default"}, "api://gateway"),
    ],
)
async def test_the_audience(endpoint: IdentityEndpoint, peer: str, settings: dict[str, str], resource: str) -> None:
    """That of Azure's DICOM service is another than its URL, that of a FHIR service is its URL; both can be set."""
    auth = AzureAuth(identity="managed", **settings)
    credentials = made(auth, peer, f"https://w-{peer[0]}.{peer}.azurehealthcareapis.com")
    assert credentials is not None and await credentials.header() == f"Bearer {endpoint.token}"
    assert [one["resource"] for one in endpoint.asked] == [resource]
    assert f"the scope {resource}/.default" in await credentials.described()
    role = "DICOM Data Reader" if peer == "dicom" else "FHIR Data Contributor"
    assert credentials.advice(403).startswith(f"the role {role} is missing there; the token was asked for the scope ")


async def test_a_token_that_was_refused_is_asked_for_anew(endpoint: IdentityEndpoint) -> None:
    """azure-identity would hand out the same again."""
    credentials = made(AzureAuth(identity="managed"), "fhir", "https://f.example")
    assert credentials is not None
    first = await credentials.header()
    assert await credentials.header() == first and len(endpoint.asked) == 1
    endpoint.token = "another"
    assert await credentials.renewed(first) == "Bearer another"


@pytest.mark.parametrize("identity", ["auto", "managed"])
@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_the_identity_endpoint_has_none(
    endpoint: IdentityEndpoint, identity: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the identity is missing or late to come, it is waited for; the answer's text is not repeated."""
    endpoint.status = status
    credentials = made(AzureAuth(identity=identity), "fhir", "https://f.example")
    assert credentials is not None
    with pytest.raises(Unreachable) as caught:
        await credentials.header()
    said = "Azure has no identity for this process, or not yet (DICOMCAST_FHIR__AUTH__IDENTITY)"
    assert str(caught.value) == f"no token for fhir: {said}"
    assert "Delegated" not in caplog.text


async def test_entra_id_refuses_the_application(endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has to act: the number that Entra ID gives is told, and no more of what it says."""

    def refuse(*_: object, **__: object) -> None:
        raise ClientAuthenticationError("AADSTS500011: The resource principal named s3same was not found")

    monkeypatch.setattr("azure.identity.ManagedIdentityCredential.get_token", refuse)
    credentials = made(AzureAuth(identity="managed"), "fhir", "https://f.example")
    assert credentials is not None
    with pytest.raises(
        Unauthorized, match=r"Azure refuses the identity a token \(AADSTS500011\) for the scope .*: check"
    ) as caught:
        await credentials.header()
    assert "s3same" not in str(caught.value)


async def test_azure_does_not_answer(endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is waited for."""
    with silent_port() as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
        credentials = made(AzureAuth(identity="managed"), "fhir", "https://f.example")
        assert credentials is not None
        with pytest.raises(Unreachable, match="^no token for fhir: Azure "):
            await credentials.header()


def pod(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """The environment of a client of ours."""
    for name, value in {"AZURE_TENANT_ID": "a-tenant", "AZURE_CLIENT_ID": "a-client", **more}.items():
        monkeypatch.setenv(name, value)


async def test_a_pods_token_that_is_not_there_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever renews that file may be about to: a worker waits, and does not end."""
    pod(monkeypatch, AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "token"))
    credentials = made(AzureAuth(identity="workload"), "fhir", "https://f.example")
    assert credentials is not None
    with pytest.raises(Unreachable, match=r"^no token for fhir: .* \(FileNotFoundError\)"):
        await credentials.header()


async def test_a_certificate_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that cannot be read is a wrong setting at the start, and later one that is being replaced."""
    path = tmp_path / "client.pem"
    pod(monkeypatch, AZURE_CLIENT_CERTIFICATE_PATH=str(path))
    with pytest.raises(ConfigError, match=r"AUTH__IDENTITY: .*variables AZURE_.* \(FileNotFoundError\)"):
        made(AzureAuth(), "fhir", "https://f.example")
    path.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"AUTH__IDENTITY: .*variables AZURE_.* \(ValueError\)"):
        made(AzureAuth(), "fhir", "https://f.example")

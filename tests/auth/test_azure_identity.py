"""Who we are on Azure: which credential is chosen, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from dicomcast.azure_identity import azure_credential
from dicomcast.errors import ConfigError
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
    said = (
        "DICOMCAST_FHIR__AUTH__KIND needs more packages (azure.identity is missing): pip install '.[azure]' in a clone"
    )
    assert str(caught.value) == said

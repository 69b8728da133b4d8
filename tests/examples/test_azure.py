"""`examples/azure`: what both files give to dicomcast loads, and each role that they name is the one that is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.variables import EXAMPLES, loaded, unknown

FOLDER = EXAMPLES / "azure"
BICEP = (FOLDER / "main.bicep").read_text("utf-8")
README = (FOLDER / "README.md").read_text("utf-8")
CLIENT = "00000000-0000-0000-0000-000000000001"
# What Bicep makes of its expressions.
MADE = {
    "dicomUrl": "https://w-d.dicom.azurehealthcareapis.com",
    "fhirUrl": "https://w-f.fhir.azurehealthcareapis.com",
    "patientSystem": "urn:oid:1.2",
    "dicomPublicUrl": "https://images.example.org",
    "identity.properties.clientId": CLIENT,
    "vault.properties.vaultUri": "https://w.vault.azure.net/",
    "insights.properties.ConnectionString": "InstrumentationKey=x",
    "'azure-tables://${storage.name}'": "azure-tables://account",
}
# Azure's built-in roles (learn.microsoft.com, Azure built-in roles).
ROLES = {
    "DICOM Data Reader": "e89c7a3c-2f64-4fa1-a847-3e4c9ba4283a",
    "FHIR Data Contributor": "5a1fc7df-4bf1-4951-a576-89034ee01acd",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
}


def bicep_environment() -> dict[str, str]:
    """The variables of the container, with what would be made of them."""
    found = re.findall(r"\{ name: '(DICOMCAST_\w+)', value: ([^}]*(?:\$\{[^}]*\}[^}]*)*) \}", BICEP)
    return {name: MADE.get(value, value.strip("'")) for name, value in found}


def container() -> dict[str, Any]:
    """The container of the YAML file."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / "container.yaml").read_text("utf-8"))
    found: dict[str, Any] = document["properties"]["containers"][0]["properties"]
    return found


def test_every_variable_is_a_setting() -> None:
    """In all files."""
    for path in sorted(FOLDER.iterdir()):
        assert unknown(path.read_text("utf-8")) - {"DICOMCAST_KEYVAULT"} == set(), path.name


@pytest.mark.parametrize("file", ["main.bicep", "container.yaml"])
def test_the_settings_load(file: str, tmp_path: Path) -> None:
    """Both peers and the state store by the one identity; and a liveness probe on the health port."""
    if file == "main.bicep":
        environ, probe = bicep_environment(), "path: '/livez', port: 8080"
        assert probe in BICEP and MADE.keys() - {"insights.properties.ConnectionString"} <= set(_values())
    else:
        environ = {one["name"]: one["value"] for one in container()["environmentVariables"]}
        assert container()["livenessProbe"]["httpGet"]["port"] == 8080
    settings = loaded({name: value for name, value in environ.items() if name != "DICOMCAST_KEYVAULT"}, (), tmp_path)
    for auth in (settings.dicom.auth, settings.fhir.auth):
        assert (auth.kind, auth.identity) == ("azure", "managed")
        assert auth.client_id == settings.state.client_id
    assert settings.state.url.startswith("azure-tables://")
    assert settings.health.port == 8080


def _values() -> list[str]:
    return re.findall(r"\{ name: 'DICOMCAST_\w+', value: ([^}]*(?:\$\{[^}]*\}[^}]*)*) \}", BICEP)


def test_roles_are_what_they_are_called() -> None:
    """Each has its number, is given on one resource, and is in the page."""
    named = {name: number for number, name in re.findall(r"'([0-9a-f-]{36})' // (.*)", BICEP)}
    assert named == ROLES
    given = re.findall(r"roleDefinitions', roles\.(\w+)\)", BICEP)
    assert sorted(given) == sorted(re.findall(r"^  (\w+): '[0-9a-f-]{36}'", BICEP, re.MULTILINE))
    assert len(re.findall(r"^  scope: ", BICEP, re.MULTILINE)) == len(given)
    assert all(name in README for name in ROLES)


def test_the_page_deploys_with_the_parameters_that_there_are() -> None:
    """And gives each that has no default."""
    parameters = dict(re.findall(r"^param (\w+) string( = .*)?$", BICEP, re.MULTILINE))
    given = set(re.findall(r"\b(\w+)=", README.split("--parameters")[1].split("az container")[0]))
    assert {name for name, default in parameters.items() if not default} <= given <= parameters.keys()


def test_nothing_is_opened_or_keyed() -> None:
    """No key is listed, no public address is asked for."""
    assert not re.search(r"listKeys|ipAddress|adminUserEnabled|connectionString'", BICEP)
    assert "allowSharedKeyAccess: false" in BICEP

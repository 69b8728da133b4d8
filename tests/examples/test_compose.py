"""`examples/orthanc-to-fhir/compose.yaml`: what it gives to dicomcast loads, and nothing leaves the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.examples.variables import EXAMPLES, loaded, unknown

FOLDER = EXAMPLES / "orthanc-to-fhir"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
DOCKERFILE = (EXAMPLES.parent / "Dockerfile").read_text("utf-8")
HAPI = "      DICOMCAST_FHIR__URL: http://fhir:8080/fhir\n"
COMMENTED = r"^( *)# (?=(?:DICOMCAST_\w+|medplum-secret):|- source: medplum|  (?:target|file):)"
MEDPLUM = re.sub(COMMENTED, r"\1", TEXT.replace(HAPI, ""), flags=re.MULTILINE)


def compose(text: str = TEXT) -> dict[str, Any]:
    """The file as it is parsed."""
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def secrets_of(service: dict[str, Any]) -> set[str]:
    """The files that a service finds in /run/secrets."""
    return {secret["target"] for secret in service["secrets"]}


def test_every_variable_is_a_setting() -> None:
    """In the comments too, and in the page beside the file."""
    for path in sorted(FOLDER.iterdir()):
        if path.is_file():
            assert unknown(path.read_text("utf-8")) == set(), path.name


def test_the_settings_load(tmp_path: Path) -> None:
    """As dicomcast sees them in its container, and both servers are services of the file."""
    services = compose()["services"]
    service = services["dicomcast"]
    settings = loaded(service["environment"], secrets_of(service), tmp_path)
    assert settings.dicom.kind == "orthanc"
    assert urlsplit(settings.dicom.url).hostname in services
    assert urlsplit(settings.fhir.url).hostname in services
    assert settings.dicom.auth.kind == "basic"


def test_the_settings_for_medplum_load(tmp_path: Path) -> None:
    """As the comments say: three lines in place of one, and a secret."""
    assert HAPI in TEXT
    service = compose(MEDPLUM)["services"]["dicomcast"]
    settings = loaded(service["environment"], secrets_of(service), tmp_path)
    assert settings.fhir.auth.kind == "basic"
    assert settings.fhir.url.endswith("/fhir/R4")


@pytest.mark.parametrize("text", [TEXT, MEDPLUM], ids=["hapi", "medplum"])
def test_what_a_service_names_is_declared(text: str) -> None:
    """Secrets, named volumes and networks."""
    document = compose(text)
    for service in document["services"].values():
        assert {secret["source"] for secret in service.get("secrets", [])} <= document["secrets"].keys()
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= document["volumes"].keys()
        assert set(service.get("networks", [])) <= {"default", *document["networks"]}
        assert set(service.get("depends_on", [])) <= document["services"].keys()


def test_ports_are_bound_to_this_machine() -> None:
    """Archive, FHIR server and health port are without TLS, and two of them without a password."""
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(ports) == len({port.split(":")[1] for port in ports}) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_password_is_in_no_variable() -> None:
    """It is a file, for dicomcast and for Orthanc."""
    services = compose()["services"]
    assert not [name for name in services["dicomcast"]["environment"] if name.endswith(("PASSWORD", "TOKEN"))]
    assert secrets_of(services["dicomcast"]) == {"DICOMCAST_DICOM__AUTH__PASSWORD"}
    assert secrets_of(services["orthanc"]) == {"ORTHANC__REGISTERED_USERS"}


def test_the_state_is_where_the_image_keeps_it() -> None:
    """On a volume, since everything else is read-only."""
    service = compose()["services"]["dicomcast"]
    assert service["read_only"] is True
    [volume] = service["volumes"]
    assert f"VOLUME {volume.split(':')[1]}\n" in DOCKERFILE
    assert f"DICOMCAST_STATE__URL=sqlite:///{volume.split(':')[1]}/" in DOCKERFILE


def test_the_image_names_known_settings() -> None:
    """The Dockerfile sets one of them."""
    assert unknown(DOCKERFILE) == set()

"""What a FHIR server says of itself: its CapabilityStatement (FHIR R4 capabilitystatement.html). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dicomcast.errors import ConfigError
from dicomcast.mapping.values import JSON
from dicomcast.overlay import objects
from dicomcast.versions import VERSIONS, Version

__all__ = ["Capabilities", "capabilities_of", "version_of_server"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the CapabilityStatement says.

    Whether there are transactions, which types take ids of our choice, and which have versions, so that an update of
    what somebody else has changed is refused (R4 http.html#concurrency).
    """

    version: str
    transaction: bool
    update_create: frozenset[str]
    versioned: frozenset[str] = frozenset()


def version_of_server(statement: JSON, base_url: str, wanted: str) -> Version:
    """The version that the server states; FHIR__VERSION is believed only where it states none.

    Raises:
        ConfigError: it is none that we know, or not the one that is `wanted`.
    """
    stated = str(statement.get("fhirVersion", ""))
    found = next((one for one in VERSIONS.values() if one.is_spoken(stated)), None)
    if wanted == "auto":
        if found is None:
            raise ConfigError(
                f"FHIR__URL: the server at {base_url} speaks FHIR {stated or 'of no stated version'}; dicomcast writes "
                + ", ".join(f"{one.name} ({one.number})" for one in VERSIONS.values())
            )
        return found
    if stated and found is not VERSIONS[wanted]:
        raise ConfigError(
            f"FHIR__VERSION is {wanted}, but the server at {base_url} speaks FHIR {stated}; auto takes what it speaks"
        )
    return VERSIONS[wanted]


def capabilities_of(statement: JSON, base_url: str) -> Capabilities:
    """What the statement says.

    Raises:
        ConfigError: the server could not be written to.
    """
    version = str(statement.get("fhirVersion", ""))
    rest: JSON = next(iter(objects(statement.get("rest"))), {})
    modes = [one.get("code") for one in objects(rest.get("interaction"))]
    kinds = objects(rest.get("resource"))
    versioned = {str(one.get("type")) for one in kinds if str(one.get("versioning")).startswith("versioned")}
    creatable = {str(one.get("type")) for one in kinds if one.get("updateCreate") is True}
    capabilities = Capabilities(version, "transaction" in modes, frozenset(creatable), frozenset(versioned))
    if not capabilities.transaction and not creatable >= {"Patient", "ImagingStudy", "Endpoint"}:
        raise ConfigError(
            f"FHIR__URL: the server at {base_url} has neither transactions nor updateCreate: "
            "a study and its Patient could not be written together"
        )
    return capabilities

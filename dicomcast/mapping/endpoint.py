"""The DICOMweb service as a FHIR R4 Endpoint: where the images of a study are."""

from __future__ import annotations

from dicomcast.mapping.rows import Table
from dicomcast.mapping.values import JSON

__all__ = ["ENDPOINT", "ENDPOINT_NAME", "endpoint"]

ENDPOINT = Table("Endpoint")

_NOTES = "R4 imagingstudy.html, Notes"
_URL = "The base URL, without a trailing slash and without /studies."
ENDPOINT.counted("meta.source", "", "R4 resource.html#Meta", _URL)
ENDPOINT.counted("identifier", "", "R4 endpoint.html", "`urn:ietf:rfc:3986`: the base URL, by which it is found again.")
ENDPOINT.counted("status", "", "R4 endpoint.html", "`active`.")
ENDPOINT.counted("connectionType", "", _NOTES, "`dicom-wado-rs`.")
ENDPOINT.counted("name", "", "DICOM Cast", "`DICOM WADO-RS endpoint …`, by which queries made for DICOM Cast find it.")
ENDPOINT.counted("payloadType", "", "R4 endpoint.html", "`any`, in words DICOM WADO-RS.")
ENDPOINT.counted("payloadMimeType", "", "PS3.18 §8.7.3", "`application/dicom` and `application/dicom+json`.")
ENDPOINT.counted("address", "", _NOTES, _URL)


# What the name of each begins with, as DICOM Cast's did.
ENDPOINT_NAME = "DICOM WADO-RS endpoint"


def endpoint(base_url: str) -> JSON:
    """An Endpoint for a DICOMweb base URL."""
    return {
        "resourceType": "Endpoint",
        "meta": {"source": base_url},
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": base_url}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "name": f"{ENDPOINT_NAME} {base_url}",
        "payloadType": [
            {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "any"}],
                "text": "DICOM WADO-RS",
            }
        ],
        "payloadMimeType": ["application/dicom", "application/dicom+json"],
        "address": base_url,
    }

"""The DICOMweb service as a FHIR R4 Endpoint: where the images of a study are."""

from __future__ import annotations

from dicomcast.mapping.values import JSON

__all__ = ["endpoint"]


def endpoint(base_url: str) -> JSON:
    """An Endpoint for a DICOMweb base URL, without a trailing slash and without /studies (imagingstudy.html, Notes).

    The name is the one that DICOM Cast gave it, by which its users find it.
    """
    return {
        "resourceType": "Endpoint",
        "meta": {"source": base_url},
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": base_url}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "name": f"DICOM WADO-RS endpoint {base_url}",
        "payloadType": [
            {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "any"}],
                "text": "DICOM WADO-RS",
            }
        ],
        "payloadMimeType": ["application/dicom", "application/dicom+json"],
        "address": base_url,
    }

"""All imaging of a patient, oldest first: each series, and where its images are (WADO-RS).

GET ImagingStudy?patient.identifier=https://hospital.example.org/mrn|P-1&_include=ImagingStudy:endpoint
"""

from __future__ import annotations

import argparse

from fhir import Resource, refers, search, show


def timeline(patient: str) -> list[dict[str, str]]:
    """A row for each series."""
    found = search("ImagingStudy", {"patient.identifier": patient, "_include": "ImagingStudy:endpoint"})
    endpoints = [one for one in found if one["resourceType"] == "Endpoint"]
    studies = [one for one in found if one["resourceType"] == "ImagingStudy"]
    return [
        {
            "started": (series.get("started") or study.get("started", ""))[:10],
            "modality": series["modality"].get("code", ""),
            "study": study.get("description", ""),
            "series": series.get("description", ""),
            "images": series.get("numberOfInstances", 0),
            "link": link(study, series, endpoints),
        }
        for study in sorted(studies, key=lambda one: one.get("started", ""))
        for series in sorted(study.get("series", []), key=lambda one: one.get("number", 0))
    ]


def link(study: Resource, series: Resource, endpoints: list[Resource]) -> str:
    """The series' own endpoint, else the study's; what it serves is below its address (PS3.18 §10.4)."""
    for reference in [*series.get("endpoint", []), *study.get("endpoint", [])]:
        for endpoint in endpoints:
            if refers(reference, endpoint) and endpoint["connectionType"]["code"] == "dicom-wado-rs":
                return f"{endpoint['address'].rstrip('/')}/studies/{study_uid(study)}/series/{series['uid']}"
    return "-"


def study_uid(study: Resource) -> str:
    """The StudyInstanceUID among its identifiers."""
    uids = (one["value"] for one in study["identifier"] if one.get("system") == "urn:dicom:uid")
    return next(uids).removeprefix("urn:oid:")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patient", help="SYSTEM|VALUE: PATIENT__SYSTEM of dicomcast, and the PatientID")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(timeline(arguments.patient), as_json=arguments.json)

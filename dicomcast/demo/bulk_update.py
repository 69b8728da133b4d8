"""`$bulkUpdate`: which attributes may change, and what a change makes of an instance's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword

from dicomcast.demo.dicom_json import Metadata

MAX_STUDIES = 50

# Patient Identification, Patient Demographic and General Study modules, without sequences.
_KEYWORDS = """
    PatientName PatientID IssuerOfPatientID TypeOfPatientID OtherPatientIDs OtherPatientNames PatientBirthName
    PatientMotherBirthName MedicalRecordLocator PatientAge Occupation PatientBirthDate PatientBirthTime PatientSex
    ConfidentialityConstraintOnPatientDataDescription QualityControlSubject PatientSize PatientWeight PatientAddress
    MilitaryRank BranchOfService CountryOfResidence RegionOfResidence PatientTelephoneNumbers EthnicGroup
    PatientReligiousPreference PatientComments ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientSpeciesDescription PatientBreedDescription BreedRegistrationNumber
    ReferringPhysicianName AccessionNumber StudyDescription
"""
ALLOWED_TAGS = frozenset(f"{tag_for_keyword(keyword):08X}" for keyword in _KEYWORDS.split())


@dataclass(slots=True)
class BulkUpdate:
    """What came of a bulk update: instances per updated study, and the studies that failed."""

    updated: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def validate(study_uids: Sequence[str], change_dataset: Metadata) -> None:
    """Raise ValueError for what the service refuses before it starts."""
    if not 1 <= len(study_uids) <= MAX_STUDIES:
        raise ValueError(f"The number of studies must be between 1 and {MAX_STUDIES}.")
    if not change_dataset:
        raise ValueError("The change dataset is empty.")
    if refused := sorted(set(change_dataset) - ALLOWED_TAGS):
        raise ValueError(f"Attributes that are not supported for update: {', '.join(refused)}.")
    if empty := sorted(tag for tag, element in change_dataset.items() if not element.get("Value")):
        raise ValueError(f"Attributes cannot be updated to no value: {', '.join(empty)}.")


def changed(metadata: Metadata, change_dataset: Metadata) -> dict[str, Any]:
    """The metadata with the changed attributes in it, in the order of tags."""
    return dict(sorted({**metadata, **change_dataset}.items()))

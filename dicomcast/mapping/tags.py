"""The DICOM attributes that are mapped, by keyword. Whatever else an archive sends is dropped when it is read."""

from __future__ import annotations

from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from dicomcast.model import Metadata

__all__ = ["MAPPED", "NAMES_TO_USE", "NAME_TO_USE", "select", "tag"]

# PersonNamesToUseSequence (0010,0011) and NameToUse (0010,0012): newer than pydicom's dictionary.
NAMES_TO_USE = "00100011"
NAME_TO_USE = "00100012"


def tag(keyword: str) -> str:
    """The eight hex digits of a DICOM keyword (PS3.6), as DICOM JSON writes them."""
    number = tag_for_keyword(keyword)
    if number is None:
        raise LookupError(f"{keyword} is not a DICOM keyword")
    return f"{number:08X}"


MAPPED = frozenset(
    map(
        tag,
        """
        StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID TimezoneOffsetFromUTC
        CodingSchemeIdentificationSequence
        StudyDate StudyTime SeriesDate SeriesTime AccessionNumber IssuerOfAccessionNumberSequence
        StudyDescription SeriesDescription SeriesDescriptionCodeSequence Modality SeriesNumber InstanceNumber
        ReferringPhysicianName ReferringPhysicianIdentificationSequence
        NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence
        PerformingPhysicianName PerformingPhysicianIdentificationSequence
        OperatorsName OperatorIdentificationSequence
        ProcedureCodeSequence ReasonForTheRequestedProcedure ReasonForRequestedProcedureCodeSequence
        RequestAttributesSequence ReferencedRequestSequence
        InstitutionalDepartmentName PerformedLocation
        BodyPartExamined AnatomicRegionSequence Laterality ImageLaterality SpecimenDescriptionSequence
        DocumentTitle ConceptNameCodeSequence ContentLabel ContentDescription
        PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence
        PatientName PatientBirthName PatientBirthDate PatientSex
        """.split(),
    )
) | {NAMES_TO_USE}

_STUDY_INSTANCE_UID = tag("StudyInstanceUID")


def select(metadata: dict[str, Any]) -> Metadata:
    """The mapped attributes of a DICOM JSON dataset: less memory, and no patient data that nobody needs.

    Servers that write tags in lower case, or keywords for tags, are understood.
    """
    if _STUDY_INSTANCE_UID not in metadata:
        metadata = {_canonical(key): value for key, value in metadata.items()}
    return {key: metadata[key] for key in MAPPED.intersection(metadata)}


def _canonical(key: str) -> str:
    number = tag_for_keyword(key)
    return key.upper() if number is None or keyword_for_tag(number) != key else f"{number:08X}"

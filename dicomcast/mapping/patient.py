"""Patient attributes as a FHIR R4 Patient, and which Patient a study belongs to.

FHIR has no DICOM mapping for Patient; this follows IHE MADO and the v2-to-FHIR maps of PID.
"""

from __future__ import annotations

import re

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import NAME_TO_USE, NAMES_TO_USE, tag
from dicomcast.mapping.terminology import IDENTIFIER_TYPE
from dicomcast.mapping.values import JSON, fhir_date, issuer, names, study_identifier, without_empty

__all__ = ["PATIENT_ELEMENTS", "patient"]

# What we own on a Patient that we may write, beside our identifier.
PATIENT_ELEMENTS = frozenset("name gender birthDate".split())

# Dates that stand for "unknown" at many sites (1111-11-11 and 1800-01-01 are before anyone's birth anyway).
_DUMMIES = frozenset({"1900-01-01"})

_TYPE_CODE = re.compile(r"[A-Z]{2,6}")

_GENDER = {"M": "male", "F": "female", "O": "other"}


def patient(dataset: Dataset, rules: Rules, study_uid: str) -> JSON | None:
    """The Patient of the instance that speaks for a study; `identifier[0]` says who it is.

    None if there is no PatientID (0010,0020) and the site wants no surrogates.
    """
    identifier = _identifier(dataset, rules, study_uid)
    if identifier is None:
        return None
    sex = dataset.text(tag("PatientSex")).upper()
    if sex and sex not in _GENDER:
        dataset.warn(tag("PatientSex"), "unknown-code")
    return without_empty(
        {
            "resourceType": "Patient",
            "identifier": [identifier],
            "name": [
                *_names(dataset, "PatientName", "official"),
                *_names(dataset, "PatientBirthName", "maiden"),
                *_names_to_use(dataset),
            ],
            "gender": _GENDER.get(sex),
            "birthDate": _birth_date(dataset),
        }
    )


def _names(dataset: Dataset, keyword: str, use: str) -> list[JSON]:
    """The first name of an attribute, in all its representations."""
    return [{"use": use, **one} for one in next(filter(None, names(dataset, keyword)), [])]


def _names_to_use(dataset: Dataset) -> list[JSON]:
    """How the patient wants to be called (PS3.3 C.2.3): free text."""
    texts = (item.text(NAME_TO_USE) for item in dataset.items(NAMES_TO_USE))
    return [{"use": "usual", "text": text} for text in texts if text]


def _birth_date(dataset: Dataset) -> str:
    """(0010,0030), unless nobody who is examined can have been born then, or it is what sites enter for "unknown"."""
    born = fhir_date(dataset, "PatientBirthDate")
    if not born:
        return ""
    studied = next(
        (day for keyword in ("StudyDate", "SeriesDate") if _plausible(day := fhir_date(dataset, keyword))), ""
    )
    # Either may be a year, or a year and month: what both tell is compared.
    common = min(len(born), len(studied))
    if not _plausible(born) or born[:common] > studied[:common]:
        dataset.warn(tag("PatientBirthDate"), "implausible")
        return ""
    return born


def _plausible(day: str) -> bool:
    return day >= "1850" and day not in _DUMMIES


def _identifier(dataset: Dataset, rules: Rules, study_uid: str) -> JSON | None:
    value = dataset.text(tag("PatientID"))
    if not value:
        dataset.warn(tag("PatientID"), "missing")
        return study_identifier(study_uid) | {"use": "temp"} if rules.surrogate else None
    system, assigner = _authority(dataset, rules)
    return without_empty(
        {
            "use": "usual",
            "type": {"coding": [_type(dataset)]},
            "system": system,
            "value": value,
            "assigner": without_empty({"display": assigner}),
        }
    )


def _type(dataset: Dataset) -> JSON:
    """IdentifierTypeCode (0040,0035) is a code of HL7 table 0203; a medical record number, if it is not said.

    TypeOfPatientID (0010,0022) tells the medium, not the type.
    """
    for item in dataset.items(tag("IssuerOfPatientIDQualifiersSequence")):
        code = item.text(tag("IdentifierTypeCode")).upper()
        if _TYPE_CODE.fullmatch(code) and code != "MR":
            return {"system": IDENTIFIER_TYPE, "code": code}
        if code and code != "MR":
            dataset.warn(tag("IdentifierTypeCode"), "unknown-code")
    return {"system": IDENTIFIER_TYPE, "code": "MR", "display": "Medical record number"}


def _authority(dataset: Dataset, rules: Rules) -> tuple[str, str]:
    """(system, assigner): (0010,0024) by its universal id, else (0010,0021) by the site's table, else the site."""
    name = dataset.text(tag("IssuerOfPatientID"))
    for item in dataset.items(tag("IssuerOfPatientIDQualifiersSequence")):
        system, assigner = issuer(item, rules.issuers)
        if system:
            return system, assigner or name
        name = name or assigner
    return rules.issuers.get(name) or rules.patient_system, name

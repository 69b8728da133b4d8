"""Patient, and which one a study belongs to.

FHIR has no DICOM mapping for Patient; this follows IHE MADO and the v2-to-FHIR maps of PID.
"""

from __future__ import annotations

import re

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import IDENTIFIER_TYPE
from dicomcast.mapping.values import (
    JSON,
    codes,
    extension,
    fhir_date,
    fhir_datetime,
    issuer,
    names,
    study_identifier,
    without_empty,
)
from dicomcast.model import Extra, MissingId

__all__ = ["PATIENT", "identified", "patient", "subject_of"]

PATIENT = Table("Patient")

# Dates that stand for "unknown" at many sites (1111-11-11 and 1800-01-01 are before anyone's birth anyway).
_DUMMIES = frozenset({"1900-01-01"})
_TYPE_CODE = re.compile(r"[A-Z]{2,6}")
_GENDER = {"M": "male", "F": "female", "O": "other"}
_NEUTERED = {"ALTERED": ("neutered", "Neutered"), "UNALTERED": ("intact", "Intact")}
_EXTENSION = "http://hl7.org/fhir/StructureDefinition/"


def patient(dataset: Dataset, rules: Rules, study_uid: str) -> JSON | None:
    """The Patient of the instance that speaks for a study; `identifier[0]` says who it is.

    None if there is no PatientID (0010,0020) and the site skips such studies. The Patient whom they share is nothing
    but its identifier, also where a PatientID is the same: whose name it was, no study can tell.
    """
    elements = PATIENT.elements(Facts(dataset, rules, study_uid))
    if "identifier" not in elements:
        return None
    first = elements["identifier"][0]
    if rules.is_nobody(first.get("system", ""), first["value"]):
        elements = {"identifier": [{name: first[name] for name in ("system", "value") if name in first}]}
    return {"resourceType": "Patient", **elements}


def identified(dataset: Dataset, rules: Rules, study_uid: str) -> JSON:
    """No more of the Patient than who it is."""
    return {"identifier": _identifier(Facts(dataset, rules, study_uid))}


def subject_of(patient: JSON, target: str) -> JSON:
    """The `subject` of a study: where its Patient is, and who it is, should that lead nowhere."""
    identifier = {name: value for name, value in patient["identifier"][0].items() if name in ("system", "value")}
    return {"reference": target, "type": "Patient", "identifier": identifier}


PATIENT.counted(
    "meta.source", "", "R4 resource.html#Meta", "The DICOMweb query for the study that the Patient follows."
)


@PATIENT.row(
    "identifier:usual",
    "PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence",
    "IHE MADO; v2-to-FHIR PID-3; PS3.3 C.7.1.1, §10.14",
    always=True,
)
def _identifier(facts: Facts) -> list[JSON]:
    """System: the issuer's ISO, UUID or URI; else its name in `PATIENT__ISSUERS`; else `PATIENT__SYSTEM`. Type:
    IdentifierTypeCode, else MR. Assigner: the issuer's name. Without PatientID, by
    `PATIENT__MISSING_ID`: the study's UID, of use `temp` (`surrogate`), or `PATIENT__UNKNOWN`, whose Patient has
    nothing but system and value (`unknown`). A PatientID with a damaged character counts as missing, and so does one
    of an issuer that is named but not known, if `PATIENT__UNKNOWN_ISSUER` is `missing`."""
    dataset, rules = facts.dataset, facts.rules
    value = dataset.identifier(tag("PatientID"))
    system, assigner = _authority(dataset, rules)
    if not dataset.text(tag("PatientID")):
        dataset.warn(tag("PatientID"), "missing")
    elif assigner and not system:
        named = ("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence")
        dataset.warn(next(tag(one) for one in named if dataset.slots(tag(one))), "unknown-issuer")
        value = value if rules.unknown_issuer_is_site else ""
    if not value:
        return _stand_in(facts)
    return [_identified("usual", _type(dataset), system or rules.patient_system, value, assigner)]


def _stand_in(facts: Facts) -> list[JSON]:
    match facts.rules.missing_id:
        case MissingId.SURROGATE:
            return [study_identifier(facts.study_uid) | {"use": "temp"}]
        case MissingId.UNKNOWN:
            return [without_empty({"system": facts.rules.patient_system, "value": facts.rules.unknown})]
        case MissingId.SKIP:
            return []


def _identified(use: str, kind: JSON, system: str, value: str, assigner: str) -> JSON:
    parts = {"use": use, "type": {"coding": [kind]}, "system": system, "value": value}
    return without_empty({**parts, "assigner": without_empty({"display": assigner})})


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
    """(system, assigner): (0010,0024) by its universal id, else (0010,0021) by the site's table."""
    name = dataset.text(tag("IssuerOfPatientID"))
    for item in dataset.items(tag("IssuerOfPatientIDQualifiersSequence")):
        system, assigner = issuer(item, rules.issuers)
        if system:
            return system, assigner or name
        name = name or assigner
    return rules.issuers.get(dataset.identifier(tag("IssuerOfPatientID")), ""), name


@PATIENT.row(
    "identifier:other",
    "OtherPatientIDsSequence PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence",
    "PS3.3 C.7.1.1",
    extra=Extra.OTHER_IDS,
)
def _other_identifiers(facts: Facts) -> list[JSON]:
    """Secondary, and only with a system of their own: they may be anybody's, and no Patient is found by them. So
    OtherPatientIDs (0010,1000), which have no issuer, are not read."""
    known = {(one.get("system"), one["value"]) for one in _identifier(facts)}
    found: list[JSON] = []
    for item in facts.dataset.items(tag("OtherPatientIDsSequence")):
        value = item.identifier(tag("PatientID"))
        system, assigner = _authority(item, facts.rules)
        if value and system and (system, value) not in known:
            known.add((system, value))
            found.append(_identified("secondary", _type(item), system, value, assigner))
    return found


@PATIENT.row("name:official", "PatientName", "v2-to-FHIR XPN; PS3.3 C.7.1.1; PS3.5 §6.2.1")
def _name(facts: Facts) -> list[JSON]:
    """The first, in its alphabetic, ideographic and phonetic form: one HumanName each, told apart by ISO 21090."""
    return [{"use": "official", **one} for one in _first(facts.dataset, "PatientName")]


def _first(dataset: Dataset, keyword: str) -> list[JSON]:
    return next(filter(None, names(dataset, keyword)), [])


@PATIENT.row("name:maiden", "PatientBirthName", "PS3.3 C.2.3")
def _birth_name(facts: Facts) -> list[JSON]:
    """The first, as the name."""
    return [{"use": "maiden", **one} for one in _first(facts.dataset, "PatientBirthName")]


@PATIENT.row("name:usual", "PersonNamesToUseSequence", "PS3.3 C.2.3")
def _names_to_use(facts: Facts) -> list[JSON]:
    """NameToUse, how the patient wants to be called: free text."""
    texts = (item.text(tag("NameToUse")) for item in facts.dataset.items(tag("PersonNamesToUseSequence")))
    return [{"use": "usual", "text": text} for text in texts if text]


@PATIENT.row("name:other", "PatientName OtherPatientNames", "PS3.3 C.7.1.1", extra=Extra.OTHER_NAMES)
def _other_names(facts: Facts) -> list[JSON]:
    """The other names, and the further values of the name, without a use: DICOM does not say which."""
    further = list(filter(None, names(facts.dataset, "PatientName")))[1:]
    others = [*further, *names(facts.dataset, "OtherPatientNames")]
    return [form for name in others for form in name]


@PATIENT.row("gender", "PatientSex", "v2-to-FHIR PID-8; PS3.3 C.7.1.1", always=True)
def _gender(facts: Facts) -> str:
    """M, F and O; what is absent or anything else is left out, or `unknown` with the extra `unknown-gender`."""
    sex = facts.dataset.text(tag("PatientSex")).upper()
    if sex and sex not in _GENDER:
        facts.dataset.warn(tag("PatientSex"), "unknown-code")
    return _GENDER.get(sex, "unknown" if Extra.UNKNOWN_GENDER in facts.rules.extras else "")


@PATIENT.row("birthDate", "PatientBirthDate StudyDate SeriesDate", "v2-to-FHIR PID-7; PS3.3 C.7.1.1")
def _birth_date(facts: Facts) -> str:
    """Also a year, or year and month. Left out before 1850, after the study, in 9999, and 19000101: nobody who is
    examined was born then, or it is what sites enter for "unknown"."""
    born = fhir_date(facts.dataset, "PatientBirthDate")
    if not born:
        return ""
    dates = [fhir_date(facts.dataset, keyword) for keyword in ("StudyDate", "SeriesDate")]
    studied = next(filter(_plausible, dates), "")
    # Either may be a year, or a year and month: what both tell is compared.
    common = min(len(born), len(studied))
    if not _plausible(born) or born[:common] > studied[:common]:
        facts.dataset.warn(tag("PatientBirthDate"), "implausible")
        return ""
    return born


def _plausible(day: str) -> bool:
    return "1850" <= day < "9999" and day not in _DUMMIES


@PATIENT.row(
    "_birthDate",
    "PatientBirthTime PatientBirthDate StudyDate SeriesDate TimezoneOffsetFromUTC",
    "HL7 patient-birthTime; PS3.3 C.7.1.1",
    extra=Extra.BIRTH_TIME,
)
def _birth_time(facts: Facts) -> JSON:
    """The extension patient-birthTime, where there is a birth date and the zone is known."""
    born = _birth_date(facts)
    moment = fhir_datetime(facts.dataset, "PatientBirthDate", "PatientBirthTime", facts.rules.timezone) if born else ""
    told = {"url": f"{_EXTENSION}patient-birthTime", "valueDateTime": moment}
    return {"extension": [told]} if "T" in moment else {}


@PATIENT.row(
    f"extension:{_EXTENSION}individual-genderIdentity",
    "GenderIdentitySequence CodingSchemeIdentificationSequence",
    "PS3.3 C.2.3; HL7 individual-genderIdentity",
    extra=Extra.GENDER_IDENTITY,
)
def _gender_identity(facts: Facts) -> list[JSON]:
    """Value and comment of each item."""
    return [
        extension(
            f"{_EXTENSION}individual-genderIdentity", value=value, comment=item.text(tag("GenderIdentityComment"))
        )
        for item in facts.dataset.items(tag("GenderIdentitySequence"))
        for value in codes(item, "GenderIdentityCodeSequence")[:1]
    ]


@PATIENT.row(
    f"extension:{_EXTENSION}patient-animal",
    "PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence "
    "PatientSexNeutered CodingSchemeIdentificationSequence",
    "HL7 patient-animal; PS3.3 C.7.1.1",
    extra=Extra.ANIMAL,
)
def _animal(facts: Facts) -> list[JSON]:
    """Species and breed, coded or in words, and whether it is neutered; only with a species."""
    species = _kind(facts.dataset, "PatientSpecies")
    if not species:
        return []
    status: JSON = {}
    if found := _NEUTERED.get(facts.dataset.text(tag("PatientSexNeutered")).upper()):
        status = {
            "coding": [{"system": "http://hl7.org/fhir/animal-genderstatus", "code": found[0], "display": found[1]}]
        }
    breed = _kind(facts.dataset, "PatientBreed")
    return [extension(f"{_EXTENSION}patient-animal", species=species, breed=breed, genderStatus=status)]


def _kind(dataset: Dataset, what: str) -> JSON:
    coded = codes(dataset, f"{what}CodeSequence")
    return coded[0] if coded else without_empty({"text": dataset.text(tag(f"{what}Description"))})

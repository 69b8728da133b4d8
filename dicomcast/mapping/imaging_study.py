"""Study, series and instance attributes as the elements of a FHIR R4 ImagingStudy.

Three functions for the three levels of the DICOM information model. Which instance speaks for its
series and its study is not decided here but in `merge`; nor is what is counted over instances.
Sources: FHIR R4 imagingstudy-mappings.html and the DICOM attributes of PS3.3 that each line names.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.people import people
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import DCM, IDENTIFIER_TYPE, SNOMED_CT, body_site, modality, modality_of
from dicomcast.mapping.values import (
    JSON,
    codeable_concept,
    codes,
    fhir_datetime,
    issuer,
    oid_urn,
    study_identifier,
    without_empty,
)

__all__ = [
    "ACCESSION",
    "INSTANCE_ELEMENTS",
    "SERIES_ELEMENTS",
    "STUDY_ELEMENTS",
    "instance_elements",
    "names_sides",
    "series_elements",
    "study_elements",
]

# What we own on each level, beside `uid` and what `merge` counts; all else in a resource is foreign.
STUDY_ELEMENTS = frozenset("started basedOn referrer interpreter procedureCode location reasonCode description".split())
SERIES_ELEMENTS = frozenset("number modality description bodySite laterality specimen started performer".split())
INSTANCE_ELEMENTS = frozenset("sopClass number title".split())

ACCESSION: JSON = {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN", "display": "Accession ID"}]}
# EU and MADO profiles tell the study's identifier by its type.
_STUDY_UID: JSON = {"coding": [{"system": DCM, "code": "110180", "display": "Study Instance UID"}]}

_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_UNKNOWN: JSON = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
}
# FHIR R4 names these three for Laterality (0020,0060); U, unpaired, is no laterality.
_LATERALITY = {
    "L": ("419161000", "Unilateral left"),
    "R": ("419465000", "Unilateral right"),
    "B": ("51440002", "Bilateral"),
}

# PS3.3 C.8.11.2 (DX, MG, IO, PX) and C.8.17 (ophthalmic): the modules that have Image Laterality (0020,0062).
_SIDED = frozenset("DX MG IO PX OP OPT".split())


def study_elements(dataset: Dataset, rules: Rules, study_uid: str) -> JSON:
    """The elements on study level, `identifier` included, of the instance that speaks for the study."""
    accession = _accession(dataset, rules)
    referrer = people(dataset, "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence")
    return without_empty(
        {
            "identifier": [study_identifier(study_uid) | {"type": _STUDY_UID}, *([accession] if accession else [])],
            "started": fhir_datetime(dataset, "StudyDate", "StudyTime", rules.timezone),
            "basedOn": _service_requests(dataset, rules),
            "referrer": referrer[0] if referrer else None,
            "interpreter": people(
                dataset, "NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence"
            ),
            "procedureCode": codes(dataset, "ProcedureCodeSequence"),
            "location": _location(dataset),
            "reasonCode": _reasons(dataset),
            "description": dataset.text(tag("StudyDescription")),
        }
    )


def _accession(dataset: Dataset, rules: Rules) -> JSON:
    """(0008,0050) with its issuer (0008,0051), as an identifier of type ACSN."""
    value = dataset.text(tag("AccessionNumber"))
    if not value:
        return {}
    system, assigner = "", ""
    for item in dataset.items(tag("IssuerOfAccessionNumberSequence")):
        system, assigner = issuer(item, rules.issuers)
    return without_empty(
        {"type": ACCESSION, "system": system, "value": value, "assigner": without_empty({"display": assigner})}
    )


def _requests(dataset: Dataset) -> list[Dataset]:
    """The dataset and the items that may each name the request they answer."""
    sequences = ("RequestAttributesSequence", "ReferencedRequestSequence")
    return [dataset, *(item for keyword in sequences for item in dataset.items(tag(keyword)))]


def _service_requests(dataset: Dataset, rules: Rules) -> list[JSON]:
    references: list[JSON] = []
    for request in _requests(dataset):
        accession = _accession(request, rules)
        reference = {"type": "ServiceRequest", "identifier": accession}
        if accession and reference not in references:
            references.append(reference)
    return references


def _reasons(dataset: Dataset) -> list[JSON]:
    """(0040,1002) in words and (0040,100A) in codes, wherever the request stands.

    The words are the text of the code, if there is just one; else nobody knows which code they explain.
    """
    reasons: list[JSON] = []
    for request in _requests(dataset):
        text = request.text(tag("ReasonForTheRequestedProcedure"))
        coded = codes(request, "ReasonForRequestedProcedureCodeSequence")
        if text and len(coded) == 1:
            coded = [coded[0] | {"text": text}]
        elif text:
            coded = [*coded, {"text": text}]
        for reason in coded:
            if reason not in reasons:
                reasons.append(reason)
    return reasons


def _location(dataset: Dataset) -> JSON:
    display = dataset.text(tag("InstitutionalDepartmentName")) or dataset.text(tag("PerformedLocation"))
    return without_empty({"display": display})


def series_elements(dataset: Dataset, rules: Rules, images: Iterable[Dataset] = ()) -> JSON:
    """The elements on series level of the instance that speaks for the series.

    `images` are all of its instances; they are asked only where `names_sides`.
    """
    kind = {"modality": _modality(dataset)}
    return without_empty(
        {
            "number": dataset.integer(tag("SeriesNumber")),
            **kind,
            "description": _series_description(dataset),
            "bodySite": _body_site(dataset),
            "laterality": _laterality(dataset, images if names_sides(kind) else ()),
            "specimen": _specimens(dataset, rules),
            "started": fhir_datetime(dataset, "SeriesDate", "SeriesTime", rules.timezone),
            "performer": _performers(dataset),
        }
    )


def names_sides(series: JSON) -> bool:
    """Whether images of the series' modality each name their side, so that the series' can only be told from all."""
    found = series.get("modality")
    return isinstance(found, dict) and str(found.get("code")) in _SIDED


def _modality(dataset: Dataset) -> JSON:
    """`series.modality` is 1..1: without (0008,0060) what the SOP class implies, else its absence is stated."""
    code = dataset.text(tag("Modality")).upper()
    if not code:
        dataset.warn(tag("Modality"), "missing")
        code = modality_of(dataset.text(tag("SOPClassUID")))
    if not code:
        return dict(_UNKNOWN)
    return dict(modality(" ".join(code.split())))


def _series_description(dataset: Dataset) -> str:
    description = dataset.text(tag("SeriesDescription"))
    if description:
        return description
    coded = codes(dataset, "SeriesDescriptionCodeSequence")
    return str(coded[0].get("text", "")) if coded else ""


def _body_site(dataset: Dataset) -> JSON:
    """AnatomicRegionSequence (0008,2218) is coded and goes first; else BodyPartExamined (0018,0015)."""
    for item in dataset.items(tag("AnatomicRegionSequence")):
        concept = codeable_concept(item)
        if concept:
            coding: JSON = concept.get("coding", [{"display": concept.get("text")}])[0]
            return coding
    body_part = dataset.text(tag("BodyPartExamined"))
    return dict(body_site(body_part)) if body_part else {}


def _laterality(dataset: Dataset, images: Iterable[Dataset]) -> JSON:
    """Laterality (0020,0060); else the side that all images of the series state, (0020,0062).

    Where images state it the series must not (PS3.3 C.7.3.1), and a series may hold both sides.
    """
    side = _side(dataset, "Laterality")
    if not side:
        sides = {_side(image, "ImageLaterality") for image in images}
        side = sides.pop() if len(sides) == 1 else ""
    if side not in _LATERALITY:
        return {}
    code, display = _LATERALITY[side]
    return {"system": SNOMED_CT, "code": code, "display": display}


def _side(dataset: Dataset, keyword: str) -> str:
    side = dataset.text(tag(keyword)).upper()
    if side not in ("", "U", *_LATERALITY):
        dataset.warn(tag(keyword), "unknown-code")
    return side


def _specimens(dataset: Dataset, rules: Rules) -> list[JSON]:
    """SpecimenDescriptionSequence (0040,0560): logical references, an archive owns no Specimen."""
    references = []
    for item in dataset.items(tag("SpecimenDescriptionSequence")):
        value = item.text(tag("SpecimenIdentifier"))
        if not value:
            continue
        system, assigner = "", ""
        for authority in item.items(tag("IssuerOfTheSpecimenIdentifierSequence")):
            system, assigner = issuer(authority, rules.issuers)
        identifier = {"system": system, "value": value, "assigner": without_empty({"display": assigner})}
        references.append({"type": "Specimen", "identifier": without_empty(identifier)})
    return references


def _performers(dataset: Dataset) -> list[JSON]:
    """Performing physicians (PRF) and operators (SPRF) of the series."""
    roles = (
        ("PRF", "performer", "PerformingPhysicianName", "PerformingPhysicianIdentificationSequence"),
        ("SPRF", "secondary performer", "OperatorsName", "OperatorIdentificationSequence"),
    )
    return [
        {
            "function": {"coding": [{"system": _PARTICIPATION, "code": code, "display": display}]},
            "actor": person,
        }
        for code, display, name, identification in roles
        for person in people(dataset, name, identification)
    ]


def instance_elements(dataset: Dataset) -> JSON:
    """The elements on instance level."""
    return without_empty(
        {
            "sopClass": _sop_class(dataset),
            "number": dataset.integer(tag("InstanceNumber")),
            "title": _title(dataset),
        }
    )


def _sop_class(dataset: Dataset) -> JSON:
    """`instance.sopClass` is 1..1: what is no UID is only displayed, and the absence of (0008,0016) stated."""
    sop_class = dataset.text(tag("SOPClassUID"))
    if not sop_class:
        dataset.warn(tag("SOPClassUID"), "missing")
        return dict(_UNKNOWN)
    if urn := oid_urn(sop_class):
        return {"system": "urn:ietf:rfc:3986", "code": urn}
    dataset.warn(tag("SOPClassUID"), "not-a-uid")
    return {"display": sop_class}


def _title(dataset: Dataset) -> str:
    """What a document calls itself; ImageType would be noise on every slice."""
    title = dataset.text(tag("DocumentTitle"))
    if not title:
        concepts = codes(dataset, "ConceptNameCodeSequence")
        title = str(concepts[0].get("text", "")) if concepts else ""
    return title or dataset.text(tag("ContentLabel")) or dataset.text(tag("ContentDescription"))

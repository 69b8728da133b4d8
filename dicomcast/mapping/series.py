"""ImagingStudy.series, of the instance that speaks for it (`merge` decides which does)."""

from __future__ import annotations

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.people import people
from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import (
    IDENTIFIER_TYPE,
    SNOMED_CT,
    body_site,
    has_frames,
    modality,
    modality_of,
)
from dicomcast.mapping.values import (
    JSON,
    UNKNOWN,
    codeable_concept,
    codes,
    fhir_datetime,
    issued_identifier,
    oid_urn,
    without_empty,
)
from dicomcast.model import Extra

__all__ = ["SERIES", "SIDES", "names_sides"]

SERIES = Table("ImagingStudy.series")

_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_SERIAL_NUMBER: JSON = {"coding": [{"system": IDENTIFIER_TYPE, "code": "SNO", "display": "Serial Number"}]}
# FHIR R4 names these three for Laterality (0020,0060); U, unpaired, is no laterality.
_LATERALITY = {
    "L": ("419161000", "Unilateral left"),
    "R": ("419465000", "Unilateral right"),
    "B": ("51440002", "Bilateral"),
}
# PS3.3 C.8.11.2 (DX, MG, IO, PX) and C.8.17 (ophthalmic): the modules that have Image Laterality (0020,0062).
_SIDED = frozenset("DX MG IO PX OP OPT".split())
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# What each image of a series is asked for, and not only the one that speaks.
SIDES = frozenset(map(tag, ("ImageLaterality", *_FUNCTIONAL_GROUPS)))


def names_sides(modality: object, sop_class_uid: str) -> bool:
    """Whether the images of a series each name their side, so that the series' can only be told from all of them.

    Told by the series' modality, and by the SOP class of the instance that speaks for it.
    """
    code = modality.get("code") if isinstance(modality, dict) else None
    return str(code) in _SIDED or has_frames(sop_class_uid)


SERIES.counted("uid", "SeriesInstanceUID", "R4 mappings; PS3.3 C.7.3.1", "Bare, without urn:oid:.")


@SERIES.row("number", "SeriesNumber", "R4 mappings; PS3.3 C.7.3.1")
def _number(facts: Facts) -> int | None:
    """From 0 to 2147483647; a negative one, which DICOM allows, is dropped."""
    return facts.dataset.integer(tag("SeriesNumber"))


@SERIES.row("modality", "Modality SOPClassUID", "R4 mappings; PS3.3 C.7.3.1.1.1", always=True)
def _modality(facts: Facts) -> JSON:
    """1..1: if it is missing, what the SOP class implies, else a data-absent-reason."""
    code = facts.dataset.text(tag("Modality")).upper()
    if not code:
        facts.dataset.warn(tag("Modality"), "missing")
        code = modality_of(facts.dataset.identifier(tag("SOPClassUID")))
    return dict(modality(" ".join(code.split())) if code else UNKNOWN)


@SERIES.row(
    "description",
    "SeriesDescription SeriesDescriptionCodeSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.3.1",
)
def _description(facts: Facts) -> str:
    """In words, else the meaning of its code."""
    coded = codes(facts.dataset, "SeriesDescriptionCodeSequence")
    return facts.dataset.text(tag("SeriesDescription")) or str(coded[0].get("text", "") if coded else "")


SERIES.counted("numberOfInstances", "", "R4 mappings", "The instances, listed or not.")


@SERIES.row(
    "bodySite",
    f"AnatomicRegionSequence {_FUNCTIONAL_GROUPS[0]} BodyPartExamined CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.3.1, §10.5, C.7.6.16.2.8; PS3.16 Annex L",
)
def _body_site(facts: Facts) -> JSON:
    """The coded region, of the image or of all its frames; else BodyPartExamined by Annex L; else as it was sent, as
    display."""
    anatomies = [facts.dataset, *_frame_anatomies(facts.dataset, _FUNCTIONAL_GROUPS[0])]
    for region in (item for one in anatomies for item in one.items(tag("AnatomicRegionSequence"))):
        if concept := codeable_concept(region):
            coding: JSON = concept.get("coding", [{"display": concept.get("text")}])[0]
            return coding
    body_part = facts.dataset.text(tag("BodyPartExamined"))
    return dict(body_site(body_part)) if body_part else {}


def _frame_anatomies(dataset: Dataset, groups: str) -> list[Dataset]:
    return [one for group in dataset.items(tag(groups)) for one in group.items(tag("FrameAnatomySequence"))]


@SERIES.row(
    "laterality",
    f"Laterality Modality SOPClassUID ImageLaterality {' '.join(_FUNCTIONAL_GROUPS)}",
    "R4 mappings; PS3.3 C.7.3.1, C.8.11.2, C.7.6.16.2.8",
)
def _laterality(facts: Facts) -> JSON:
    """Of the series; else the side that all of its images, or all of their frames, state, for where they state it the
    series must not. Left, right or both; unpaired is no laterality."""
    sides = {_side(facts.dataset, "Laterality")}
    if sides == {""} and names_sides(_modality(facts), facts.dataset.identifier(tag("SOPClassUID"))):
        sides = {side for image in facts.images for side in _sides(image)}
    side = sides.pop() if len(sides) == 1 else ""
    if side not in _LATERALITY:
        return {}
    code, display = _LATERALITY[side]
    return {"system": SNOMED_CT, "code": code, "display": display}


def _sides(image: Dataset) -> set[str]:
    """What an image says of its side, or what its frames say of theirs."""
    if side := _side(image, "ImageLaterality"):
        return {side}
    frames = (frame for groups in _FUNCTIONAL_GROUPS for frame in _frame_anatomies(image, groups))
    return {_side(frame, "FrameLaterality") for frame in frames} or {""}


def _side(dataset: Dataset, keyword: str) -> str:
    side = dataset.text(tag(keyword)).upper()
    if side not in ("", "U", *_LATERALITY):
        dataset.warn(tag(keyword), "unknown-code")
    return side


@SERIES.row("specimen", "SpecimenDescriptionSequence", "R4 mappings; PS3.3 C.7.6.22")
def _specimen(facts: Facts) -> list[JSON]:
    """A logical reference for each SpecimenIdentifier, with the system of its issuer: an archive owns no Specimen."""
    references = []
    for item in facts.dataset.items(tag("SpecimenDescriptionSequence")):
        value = item.identifier(tag("SpecimenIdentifier"))
        authorities = item.items(tag("IssuerOfTheSpecimenIdentifierSequence"))
        if identifier := issued_identifier(value, authorities, facts.rules.issuers):
            references.append({"type": "Specimen", "identifier": identifier})
    return references


@SERIES.row("started", "SeriesDate SeriesTime TimezoneOffsetFromUTC", "R4 mappings; PS3.3 C.7.3.1")
def _started(facts: Facts) -> str:
    """As the study's."""
    return fhir_datetime(facts.dataset, "SeriesDate", "SeriesTime", facts.rules.timezone)


@SERIES.row(
    "performer:PRF",
    "PerformingPhysicianName PerformingPhysicianIdentificationSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.3.1, §10.1",
)
def _performing_physicians(facts: Facts) -> list[JSON]:
    """Each performing physician, as the referrer."""
    return _staff(facts, "PRF", "performer", "PerformingPhysicianName", "PerformingPhysicianIdentificationSequence")


@SERIES.row(
    "performer:SPRF",
    "OperatorsName OperatorIdentificationSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.3.1, §10.1",
)
def _operators(facts: Facts) -> list[JSON]:
    """Each operator, as secondary performer."""
    return _staff(facts, "SPRF", "secondary performer", "OperatorsName", "OperatorIdentificationSequence")


@SERIES.row(
    "performer:DEV",
    "DeviceUID DeviceSerialNumber Manufacturer ManufacturerModelName StationName",
    "HL7 Europe Imaging, ImagingStudy; PS3.3 C.7.5.1",
    extra=Extra.DEVICE,
)
def _device(facts: Facts) -> list[JSON]:
    """The device by its UID, else its serial number; manufacturer and model, else its station, as display."""
    serial_number = facts.dataset.identifier(tag("DeviceSerialNumber"))
    text = {one: facts.dataset.text(tag(one)) for one in ("Manufacturer", "StationName")}
    uid = oid_urn(facts.dataset.identifier(tag("DeviceUID")))
    identifier: JSON = {"system": "urn:dicom:uid", "value": uid} if uid else {}
    if not uid and serial_number:
        identifier = {"type": _SERIAL_NUMBER, "value": serial_number}
    names = (text["Manufacturer"], facts.dataset.text(tag("ManufacturerModelName")))
    display = " ".join(filter(None, names)) or text["StationName"]
    device = without_empty({"identifier": identifier, "display": display})
    return [_performer("DEV", "device", {"type": "Device", **device})] if device else []


def _staff(facts: Facts, code: str, display: str, *attributes: str) -> list[JSON]:
    return [_performer(code, display, one) for one in people(facts.dataset, *attributes)]


def _performer(code: str, display: str, actor: JSON) -> JSON:
    return {"function": {"coding": [{"system": _PARTICIPATION, "code": code, "display": display}]}, "actor": actor}

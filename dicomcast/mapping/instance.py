"""ImagingStudy.series.instance, and the order in which the instances of a series speak."""

from __future__ import annotations

import math

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import rank
from dicomcast.mapping.values import JSON, UNKNOWN, codes, oid_urn
from dicomcast.model import Extra

__all__ = ["INSTANCE", "Voice", "sop_class_of", "voice", "voice_of"]

INSTANCE = Table("ImagingStudy.series.instance")

# The smallest speaks: rank of the SOP class, InstanceNumber, SOPInstanceUID.
Voice = tuple[int, float, str]

_NUMBER_OF_FRAMES = "https://profiles.ihe.net/RAD/MADO/StructureDefinition/MadoNumberOfFrames"

INSTANCE.counted(
    "uid",
    "SOPInstanceUID",
    "R4 mappings; PS3.3 C.12.1",
    "Bare, without urn:oid:. Only up to `MAPPING__INSTANCES` in a study.",
)


@INSTANCE.row("sopClass", "SOPClassUID", "R4 mappings; PS3.3 C.12.1", always=True)
def _sop_class(facts: Facts) -> JSON:
    """1..1: `urn:ietf:rfc:3986` and `urn:oid:…`; what is no UID as display, a missing one as data-absent-reason."""
    sop_class = facts.dataset.identifier(tag("SOPClassUID"))
    if not sop_class:
        if not facts.dataset.text(tag("SOPClassUID")):
            facts.dataset.warn(tag("SOPClassUID"), "missing")
        return dict(UNKNOWN)
    if urn := oid_urn(sop_class):
        return {"system": "urn:ietf:rfc:3986", "code": urn}
    facts.dataset.warn(tag("SOPClassUID"), "not-a-uid")
    return {"display": sop_class}


@INSTANCE.row("number", "InstanceNumber", "R4 mappings; PS3.3 C.7.6.1")
def _number(facts: Facts) -> int | None:
    """As the series'."""
    return facts.dataset.integer(tag("InstanceNumber"))


@INSTANCE.row(
    "title",
    "DocumentTitle ConceptNameCodeSequence ContentLabel ContentDescription ImageType "
    "CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.24.2, C.17.3, §10.9, C.7.6.1",
)
def _title(facts: Facts) -> str:
    """What a document calls itself, by the first of these that it has; of an image, with the extra `image-type`, its
    ImageType (`ORIGINAL/PRIMARY/AXIAL`)."""
    dataset = facts.dataset
    concepts = codes(dataset, "ConceptNameCodeSequence")
    return (
        dataset.text(tag("DocumentTitle"))
        or str(concepts[0].get("text", "") if concepts else "")
        or dataset.text(tag("ContentLabel"))
        or dataset.text(tag("ContentDescription"))
        or ("/".join(dataset.texts(tag("ImageType"))) if Extra.IMAGE_TYPE in facts.rules.extras else "")
    )


@INSTANCE.row(
    f"extension:{_NUMBER_OF_FRAMES}",
    "NumberOfFrames",
    "IHE MADO, MadoNumberOfFrames; PS3.3 C.7.6.6",
    extra=Extra.FRAMES,
)
def _number_of_frames(facts: Facts) -> list[JSON]:
    """As IHE MADO has it."""
    frames = facts.dataset.integer(tag("NumberOfFrames"), low=1)
    return [] if frames is None else [{"url": _NUMBER_OF_FRAMES, "valueInteger": frames}]


def voice(uid: str, element: JSON) -> Voice:
    """When an instance speaks, by what stands of it in FHIR."""
    number = element.get("number")
    return rank(sop_class_of(element)), number if isinstance(number, int) else math.inf, uid


def voice_of(uid: str, dataset: Dataset) -> Voice:
    """The same, by its metadata."""
    facts = Facts(dataset, Rules(""))
    return voice(uid, {"sopClass": _sop_class(facts), "number": _number(facts)})


def sop_class_of(element: JSON) -> str:
    """The UID of its SOP class, "" if it is none; anyone may have written the element."""
    sop_class = element.get("sopClass")
    code = sop_class.get("code") if isinstance(sop_class, dict) else None
    return str(code or "").removeprefix("urn:oid:")

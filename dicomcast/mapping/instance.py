"""ImagingStudy.series.instance."""

from __future__ import annotations

from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import JSON, UNKNOWN, codes, oid_urn
from dicomcast.model import Extra

__all__ = ["INSTANCE"]

INSTANCE = Table("ImagingStudy.series.instance")

_NUMBER_OF_FRAMES = "https://profiles.ihe.net/RAD/MADO/StructureDefinition/MadoNumberOfFrames"

INSTANCE.counted("uid", "SOPInstanceUID", "R4 mappings; PS3.3 C.12.1", "Bare, without urn:oid:.")


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

"""Code systems: what DICOM designators, modalities, SOP classes and body parts are called in FHIR.

The tables stand in `data`. Most are pydicom's, which are generated from PS3.6 and PS3.16; the others are what it lacks.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from dicomcast.mapping.data import table

__all__ = [
    "DCM",
    "IDENTIFIER_TYPE",
    "SNOMED_CT",
    "body_site",
    "coding_system",
    "has_frames",
    "is_acquisition",
    "modality",
    "modality_of",
    "rank",
    "snomed_from_srt",
]

DCM = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED_CT = "http://snomed.info/sct"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"

# What an image of these classes is of, it states for its frames (PS3.3 C.7.6.16.2.8).
_FRAMED = re.compile(
    "(LegacyConverted)?(Enhanced|XRay3D|BreastTomosynthesis|BreastProjection).*(Image|Volume)Storage.*"
)


def coding_system(designator: str) -> str:
    """The URI of a coding scheme designator, "" for private and unknown ones."""
    return str(table("coding_schemes", "systems").get(designator, ""))


def snomed_from_srt(code: str) -> str:
    """The SNOMED CT concept of an SRT code ("T-A0100"), "" if PS3.16 knows none."""
    concept = table("coding_schemes", "snomed_rt").get(code) or table("snomed_rt").get(code)
    return str(concept) if concept else ""


def modality(code: str) -> dict[str, str]:
    """A modality as a FHIR Coding."""
    coding = {"system": DCM, "code": code}
    known = table("modality_codes").get(code)
    return {**coding, "display": known[0]} if known else coding


def is_acquisition(code: str) -> bool:
    """Whether a modality belongs into R4 `ImagingStudy.modality`, which has no SR, KO, PR, SEG and the like."""
    return bool(table("modality_codes").get(code, ("", False))[1])


def _keyword(sop_class_uid: str) -> str:
    return str(table("sop_classes").get(sop_class_uid, ""))


def modality_of(sop_class_uid: str) -> str:
    """The modality that a SOP class implies, "" if it leaves a choice."""
    keyword = _keyword(sop_class_uid)
    if "SR" in keyword or keyword.endswith("ReportStorage"):
        return "SR"
    if "PresentationState" in keyword:
        return "PR"
    modalities = table("modalities", "modalities")
    stems = [stem for stem in modalities if keyword.startswith(stem)]
    return str(modalities[max(stems, key=len)]) if stems else ""


def has_frames(sop_class_uid: str) -> bool:
    """Whether images of a SOP class state their anatomy, and so their side, frame by frame."""
    return _FRAMED.fullmatch(_keyword(sop_class_uid)) is not None


@lru_cache(maxsize=1000)
def rank(sop_class_uid: str) -> int:
    """How well an instance speaks for its study: 0 an acquired image, 1 other images and signals, 2 documents.

    Documents (SR, KO, PR, SEG, REG, RT plans) may carry the dates and numbers of their own making.
    """
    keyword = _keyword(sop_class_uid)
    if not keyword or "Waveform" in keyword or "SecondaryCapture" in keyword or keyword.startswith("ParametricMap"):
        return 1
    acquired = "ImageStorage" in keyword or keyword in ("MRSpectroscopyStorage", "EnhancedUSVolumeStorage")
    return 0 if acquired else 2


@cache
def _body_parts() -> dict[str, list[str]]:
    """Anatomic regions by their name without blanks: PS3.16 Annex L, then the context groups to which it points."""
    return table("regions") | table("body_parts", "body_parts")


def body_site(body_part: str) -> dict[str, str]:
    """BodyPartExamined as a Coding: SNOMED CT where PS3.16 names the region, else what was sent, as `display`."""
    found = _body_parts().get(body_part.upper().replace(" ", "").replace("_", "").replace("-", ""))
    if found is None:
        return {"display": body_part}
    return {"system": SNOMED_CT, "code": found[0], "display": found[1]}

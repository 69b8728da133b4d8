"""Code systems: what DICOM designators, modalities, SOP classes and body parts are called in FHIR.

The tables are pydicom's, which are generated from PS3.6 and PS3.16; only what they lack stands in `data`.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from typing import Any

from pydicom._uid_dict import UID_dictionary  # pydicom.uid uses it, but does not export it

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


@cache
def _data(name: str) -> dict[str, Any]:
    """A table that pydicom lacks; its file says where it is from."""
    from importlib.resources import files  # here, since a start without a study needs none of it

    table: dict[str, Any] = json.loads((files("dicomcast.mapping") / f"data/{name}.json").read_text("utf-8"))
    return table


def coding_system(designator: str) -> str:
    """The URI of a coding scheme designator, "" for private and unknown ones."""
    return str(_data("coding_schemes")["systems"].get(designator, ""))


def snomed_from_srt(code: str) -> str:
    """The SNOMED CT concept of an SRT code ("T-A0100"), "" if PS3.16 knows none."""
    from pydicom.sr._snomed_dict import mapping  # here, since it is large; pydicom has no public name for it

    concept = _data("coding_schemes")["snomed_rt"].get(code) or mapping["SRT"].get(code)
    return str(concept) if concept else ""


def _context_group(cid: str) -> dict[str, Any]:
    """The concepts of a context group of PS3.16 by keyword; imported here, since it takes a tenth of a second."""
    from pydicom.sr.codedict import Collection

    return Collection(cid).concepts


@cache
def _modalities() -> dict[str, str]:
    """Modality code to meaning, PS3.16 CID 33."""
    return {code.value: code.meaning for code in _context_group("CID33").values()}


@cache
def _acquisition() -> frozenset[str]:
    """Modalities that make images or signals, PS3.16 CID 29."""
    return frozenset(code.value for code in _context_group("CID29").values())


def modality(code: str) -> dict[str, str]:
    """A modality as a FHIR Coding."""
    coding = {"system": DCM, "code": code}
    meaning = _modalities().get(code)
    return {**coding, "display": meaning} if meaning else coding


def is_acquisition(code: str) -> bool:
    """Whether a modality belongs into R4 `ImagingStudy.modality`, which has no SR, KO, PR, SEG and the like."""
    return code in _acquisition()


def _keyword(sop_class_uid: str) -> str:
    entry = UID_dictionary.get(sop_class_uid)
    return entry[4] if entry else ""


def modality_of(sop_class_uid: str) -> str:
    """The modality that a SOP class implies, "" if it leaves a choice."""
    keyword = _keyword(sop_class_uid)
    if "SR" in keyword or keyword.endswith("ReportStorage"):
        return "SR"
    if "PresentationState" in keyword:
        return "PR"
    modalities = _data("modalities")["modalities"]
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
def _body_parts() -> dict[str, tuple[str, str]]:
    """Anatomic regions by their name without blanks: PS3.16 Annex L, then CID 4031 and CID 4, to which it points."""
    parts = {term: (code, meaning) for term, (code, meaning) in _data("body_parts")["body_parts"].items()}
    for cid in ("CID4031", "CID4"):
        for keyword, code in _context_group(cid).items():
            parts.setdefault(keyword.upper(), (code.value, code.meaning))
    return parts


def body_site(body_part: str) -> dict[str, str]:
    """BodyPartExamined as a Coding: SNOMED CT where PS3.16 names the region, else what was sent, as `display`."""
    found = _body_parts().get(body_part.upper().replace(" ", "").replace("_", "").replace("-", ""))
    if found is None:
        return {"display": body_part}
    return {"system": SNOMED_CT, "code": found[0], "display": found[1]}

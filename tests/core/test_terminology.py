"""Modalities, SOP classes, coding schemes and body parts: what they are called in FHIR, and who speaks first."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from pydicom.sr._concepts_dict import concepts  # the names and codes that PS3.16 uses, as pydicom lists them

from dicomcast.mapping.terminology import (
    body_site,
    coding_system,
    has_frames,
    is_acquisition,
    modality,
    modality_of,
    rank,
    snomed_from_srt,
)
from tests.metadata import CT, KEY_OBJECTS, MAMMOGRAM, SECONDARY_CAPTURE, SR

STORAGE = "1.2.840.10008.5.1.4.1.1."


def test_modality_is_a_coding_of_dcm() -> None:
    """The system is the full URI of DCM, the display PS3.16's meaning; an unknown code has no display."""
    system = "http://dicom.nema.org/resources/ontology/DCM"
    assert modality("CT") == {"system": system, "code": "CT", "display": "Computed Tomography"}
    assert modality("QQ") == {"system": system, "code": "QQ"}


@pytest.mark.parametrize("code", "CT MR US NM PT CR DX MG XA RF XC ES OP IVUS SM ECG".split())
def test_acquisition_modalities(code: str) -> None:
    """CID 29: what makes images or signals belongs into ImagingStudy.modality."""
    assert is_acquisition(code)


@pytest.mark.parametrize("code", "SR KO PR SEG REG RTPLAN RTSTRUCT RTDOSE DOC OT QQ".split())
def test_other_modalities(code: str) -> None:
    """Documents and what is derived do not."""
    assert not is_acquisition(code)


@pytest.mark.parametrize(
    ("sop_class", "code"),
    [
        (CT, "CT"),
        (f"{STORAGE}2.1", "CT"),
        (f"{STORAGE}4", "MR"),
        (f"{STORAGE}4.1", "MR"),
        (f"{STORAGE}6.1", "US"),
        (f"{STORAGE}3.1", "US"),
        (f"{STORAGE}20", "NM"),
        (f"{STORAGE}128", "PT"),
        (f"{STORAGE}1", "CR"),
        (f"{STORAGE}1.1", "DX"),
        (MAMMOGRAM, "MG"),
        (f"{STORAGE}13.1.3", "MG"),
        (f"{STORAGE}12.1", "XA"),
        (f"{STORAGE}12.2", "RF"),
        (f"{STORAGE}481.1", "RTIMAGE"),
        (f"{STORAGE}481.3", "RTSTRUCT"),
        (f"{STORAGE}66.4", "SEG"),
        (KEY_OBJECTS, "KO"),
        (f"{STORAGE}11.1", "PR"),
        (f"{STORAGE}11.2", "PR"),
        (f"{STORAGE}11.12", "PR"),
        (f"{STORAGE}2.2", "CT"),
        (f"{STORAGE}4.4", "MR"),
        (f"{STORAGE}128.1", "PT"),
        (f"{STORAGE}12.1.1", "XA"),
        (f"{STORAGE}12.2.1", "RF"),
        (f"{STORAGE}13.1.4", "MG"),
        (f"{STORAGE}6.2", "US"),
        (f"{STORAGE}77.1.6", "SM"),
        (f"{STORAGE}481.8", "RTPLAN"),
        (SR, "SR"),
        (f"{STORAGE}88.67", "SR"),
        (SECONDARY_CAPTURE, ""),
        ("1.2.3", ""),
        ("", ""),
    ],
)
def test_modality_that_a_sop_class_implies(sop_class: str, code: str) -> None:
    """Without Modality (0008,0060) the storage class tells it, where it leaves no choice."""
    assert modality_of(sop_class) == code


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        (CT, 0),
        (MAMMOGRAM, 0),
        (f"{STORAGE}4.2", 0),
        (SECONDARY_CAPTURE, 1),
        (f"{STORAGE}9.1.1", 1),
        ("1.2.3", 1),
        ("", 1),
        (SR, 2),
        (KEY_OBJECTS, 2),
        (f"{STORAGE}11.1", 2),
        (f"{STORAGE}66.4", 2),
        (f"{STORAGE}66.1", 2),
        (f"{STORAGE}481.5", 2),
        (f"{STORAGE}104.1", 2),
    ],
)
def test_rank_of_a_sop_class(sop_class: str, expected: int) -> None:
    """Acquired images speak before other images and signals, documents speak last."""
    assert rank(sop_class) == expected


@pytest.mark.parametrize(
    ("sop_class", "framed"),
    [
        (f"{STORAGE}4.1", True),
        (f"{STORAGE}2.1", True),
        (f"{STORAGE}2.2", True),
        (f"{STORAGE}13.1.4", True),
        (f"{STORAGE}13.1.3", True),
        (f"{STORAGE}6.2", True),
        (CT, False),
        (f"{STORAGE}88.22", False),
        ("1.2.3", False),
    ],
)
def test_classes_whose_frames_state_their_anatomy(sop_class: str, framed: bool) -> None:
    """Enhanced images state region and side frame by frame; an Enhanced SR is none."""
    assert has_frames(sop_class) is framed


def test_tables_say_where_they_are_from() -> None:
    """Each table is a file with its source: an edition of the standard, or pydicom, from which `make check` has it."""
    tables = [one for one in (files("dicomcast.mapping") / "data").iterdir() if one.name.endswith(".json")]
    for one in tables:
        table = json.loads(one.read_text("utf-8"))
        assert table["about"]
        assert table["source"].startswith("pydicom ") or (table["source"].startswith("DICOM PS3.") and table["edition"])
    assert len(tables) == 8


def test_coding_systems_are_case_sensitive_and_closed() -> None:
    """A designator that PS3.16 does not define has no system."""
    assert coding_system("SCT") == "http://snomed.info/sct"
    assert [coding_system(one) for one in ("sct", "99ACME", "L", "")] == ["", "", "", ""]


def test_snomed_rt_codes() -> None:
    """SRT codes have a SNOMED CT concept, or none."""
    assert snomed_from_srt("P5-08000") == "77477000"
    assert snomed_from_srt("T-A0100") == "12738006"
    assert snomed_from_srt("ZZ-99999") == ""


@pytest.mark.parametrize(
    ("body_part", "code", "display"),
    [
        ("CHEST", "816094009", "Chest"),
        ("THORAX", "816094009", "Thorax"),
        ("ABDOMEN", "818981001", "Abdomen"),
        ("HEAD", "69536005", "Head"),
        ("BREAST", "76752008", "Breast"),
        ("KNEE", "72696002", "Knee"),
        ("HIP", "24136001", "Hip joint"),
        ("CSPINE", "122494005", "Cervical spine"),
        ("TSPINE", "122495006", "Thoracic spine"),
        ("LSPINE", "122496007", "Lumbar spine"),
        ("ABDOMENPELVIS", "818982008", "Abdomen and Pelvis"),
        ("HEADNECK", "774007", "Head and Neck"),
        ("WHOLEBODY", "38266002", "Entire body"),
        ("WHOLE BODY", "38266002", "Entire body"),
        ("whole_body", "38266002", "Entire body"),
        ("WHOLE-BODY", "38266002", "Entire body"),
        ("CERVICALSPINE", "122494005", "Cervical spine"),
    ],
)
def test_body_part_with_a_code(body_part: str, code: str, display: str) -> None:
    """PS3.16 Annex L names a SNOMED CT concept for a body part; CHEST and THORAX are the chest, not its inside."""
    assert body_site(body_part) == {"system": "http://snomed.info/sct", "code": code, "display": display}


@pytest.mark.parametrize("body_part", ["PATTERN", "T-15460", "胸部"])
def test_body_part_without_a_code(body_part: str) -> None:
    """What Annex L does not list is shown as it was sent, without system and code."""
    assert body_site(body_part) == {"display": body_part}


# Names of Annex L for concepts that the context groups call otherwise.
SYNONYMS = {
    "AMNIOTICFLUID": "Amniotic fluid (substance)",
    "CALF": "Structure of calf of leg (body structure)",
    "CELIACA": "Celiac Axis",
    "CHOROIDPLEXUS": "Structure of choroid plexus (body structure)",
    "CULDESAC": "Structure of rectouterine pouch (body structure)",
    "GESTSAC": "Finding of gestational sac (finding)",
    "GLUTEAL": "Buttock",
    "LPORTALV": "Left Main Branch of Portal Vein",
    "MORISONSPOUCH": "Rutherford Morrison's pouch (body structure)",
    "PENILEA": "Structure of penile artery (body structure)",
    "RPORTALV": "Right Main Branch of Portal Vein",
    "SUPRAPUBIC": "Hypogastric region",
}


def test_annex_l_means_what_the_context_groups_mean() -> None:
    """Each concept of our table has the meaning that PS3.16 gives its code elsewhere, or a synonym that is listed."""
    meanings: dict[str, set[str]] = {}
    for named in concepts["SCT"].values():
        for code, (meaning, _) in named.items():
            meanings.setdefault(code, set()).add(meaning.lower())
    table = json.loads((files("dicomcast.mapping") / "data/body_parts.json").read_text("utf-8"))["body_parts"]
    used = set()
    for term, (code, meaning) in table.items():
        if code in meanings and meaning.lower() not in meanings[code]:
            assert SYNONYMS[term].lower() in meanings[code]
            used.add(term)
    assert used == SYNONYMS.keys()


@pytest.mark.parametrize("code", ["T-D3000", "T-D4000", "T-D6000", "R-FAB57"])
def test_regions_are_the_same_in_both_ways(code: str) -> None:
    """A region that is coded in SNOMED RT is the concept that BodyPartExamined has for it."""
    region = {"T-D3000": "CHEST", "T-D4000": "ABDOMEN", "T-D6000": "PELVIS", "R-FAB57": "ABDOMENPELVIS"}[code]
    assert snomed_from_srt(code) == body_site(region)["code"]


def test_annex_l_has_no_invented_concept() -> None:
    """Each concept of our table is one that PS3.16 uses elsewhere; Annex L alone has the halves of the trunk."""
    table = json.loads((files("dicomcast.mapping") / "data/body_parts.json").read_text("utf-8"))["body_parts"]
    known = {code for meanings in concepts["SCT"].values() for code in meanings}
    assert {term for term, (code, _) in table.items() if code not in known} == {"LOWERTRUNK", "UPPERTRUNK"}
    assert len(table) == 194

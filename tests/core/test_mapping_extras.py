"""What a site asks for: MAPPING__EXTRAS and MAPPING__COMPAT, and how it stands beside what others wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomcast.errors import ConfigError
from dicomcast.mapping.patient import patient
from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.series import SERIES
from dicomcast.mapping.study import STUDY
from dicomcast.mapping.table import TABLES
from dicomcast.merge import Links, draft, merge_study
from dicomcast.model import Extra, Instance, InstanceKey, Outcome, StudyDelta, StudyKey
from dicomcast.settings import effective, load_offline_settings
from tests.harness import SYSTEM, Harness
from tests.metadata import CT, KEY_OBJECTS, code, dataset, metadata, rules_broken

SOURCE = "https://dicom.example"
ALL = frozenset(Extra)
FRAMES = "https://profiles.ihe.net/RAD/MADO/StructureDefinition/MadoNumberOfFrames"
FOREIGN = {"url": "https://ris.example/x", "valueCode": "y"}


def made(table: Table, element: str, *extras: Extra, **attributes: Any) -> Any:
    """An element as these attributes make it, with these extras."""
    return table.elements(Facts(dataset(**attributes), Rules("", extras=frozenset(extras)), "1.2")).get(element)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
def test_no_extra_is_mapped_unasked(table: Table) -> None:
    """What is not asked for is not made, and is not ours either: it may be somebody else's."""
    extras = {row.mark for row in table.rows if row.extra}
    usual = {row.mark for row in table.rows if row.extra is None and row.build is not None}
    assert table.owned(Rules("")) & extras <= usual
    assert extras - table.owned(Rules("", extras=ALL)) <= {"encounter"}


@pytest.mark.parametrize(
    ("attributes", "actor"),
    [
        (
            {"DeviceUID": "2.25.1", "DeviceSerialNumber": "7", "Manufacturer": "ACME", "StationName": "CT1"},
            {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1"}, "display": "ACME"},
        ),
        (
            {"DeviceUID": "hello", "DeviceSerialNumber": "7", "ManufacturerModelName": "One"},
            {
                "identifier": {
                    "type": {
                        "coding": [
                            {
                                "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                                "code": "SNO",
                                "display": "Serial Number",
                            }
                        ]
                    },
                    "value": "7",
                },
                "display": "One",
            },
        ),
        ({"StationName": "CT1"}, {"display": "CT1"}),
    ],
)
def test_device(attributes: Any, actor: Any) -> None:
    """The device is a performer by its UID, else its serial number, and by its maker and model, else its station."""
    (performer,) = made(SERIES, "performer", Extra.DEVICE, **attributes)
    assert performer["actor"] == {"type": "Device", **actor}
    assert made(SERIES, "performer", **attributes) is None


def test_device_stands_behind_people() -> None:
    """Slices of one list stand in the order of the table."""
    found = made(SERIES, "performer", Extra.DEVICE, StationName="CT1", OperatorsName="Doe^Jane")
    assert [one["function"]["coding"][0]["code"] for one in found] == ["SPRF", "DEV"]


@pytest.mark.parametrize(("frames", "expected"), [(2, 2), ("60", 60), (0, None), ("x", None), (None, None)])
def test_number_of_frames(frames: Any, expected: Any) -> None:
    """NumberOfFrames (0028,0008) is an extension of the instance, if it is a number from 1."""
    instance = TABLES[2]
    found = made(instance, "extension", Extra.FRAMES, **({} if frames is None else {"NumberOfFrames": frames}))
    assert found == (None if expected is None else [{"url": FRAMES, "valueInteger": expected}])


@pytest.mark.parametrize(("sex", "gender"), [("", "unknown"), ("X", "unknown"), ("F", "female")])
def test_unknown_gender(sex: str, gender: str) -> None:
    """Where it is asked for, what is absent or not understood is `unknown`; the latter is told all the same."""
    one = dataset(PatientID="P1", PatientSex=sex)
    found = patient(one, Rules("", extras=ALL), "1.2")
    assert found is not None and found["gender"] == gender
    assert rules_broken(one) == ([("00100040", "unknown-code")] if sex == "X" else [])


def test_other_identifiers_have_a_system_and_are_no_repeats() -> None:
    """An other PatientID without a known issuer may be anybody's; the patient's own is not repeated."""
    others = [
        metadata(PatientID="P1", IssuerOfPatientID="NORTH"),
        metadata(PatientID="P2", IssuerOfPatientID="NORTH"),
        metadata(PatientID="P2", IssuerOfPatientID="NORTH"),
        metadata(PatientID="P3", IssuerOfPatientID="SOUTH"),
        metadata(IssuerOfPatientID="NORTH"),
    ]
    rules = Rules("urn:oid:2.25.7", issuers={"NORTH": "urn:oid:2.25.7"}, extras=ALL)
    found = patient(dataset(PatientID="P1", OtherPatientIDsSequence=others), rules, "1.2")
    assert found is not None
    assert [(one["use"], one["value"]) for one in found["identifier"]] == [("usual", "P1"), ("secondary", "P2")]


async def test_no_patient_is_found_by_another_patients_other_identifier() -> None:
    """Two people of whom one once had the other's number stay two, whoever comes first."""
    harness = Harness(rules=Rules(SYSTEM, issuers={"NORTH": SYSTEM}, extras=ALL))
    other = metadata(PatientID="P2", IssuerOfPatientID="NORTH")
    first = metadata(**_uids("1.2"), PatientID="P1", OtherPatientIDsSequence=[other], SOPClassUID=CT, Modality="CT")
    harness.archive.store(first)
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientID="P2")
    assert await harness.cast() == {Outcome.CREATED: 2}
    assert sorted(one["identifier"][0]["value"] for one in harness.patients()) == ["P1", "P2"]
    harness.archive.store(first | metadata(SOPInstanceUID="1.2.1.0", PatientName="Doe^Jane"))
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert sorted(len(one["identifier"]) for one in harness.patients()) == [1, 2]
    await harness.close()


def _uids(study: str) -> dict[str, str]:
    return {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.1"}


@pytest.mark.parametrize(
    ("zone", "born", "time", "expected"),
    [
        ("+0900", "20240701", "0415", "2024-07-01T04:15:00+09:00"),
        ("", "20240701", "0415", None),
        ("+0900", "2024", "0415", None),
        ("+0900", "19000101", "0415", None),
        ("+0900", "20240701", "noon", None),
    ],
)
def test_birth_time(zone: str, born: str, time: str, expected: Any) -> None:
    """A time of birth needs a whole and plausible date, and a zone."""
    told = {"TimezoneOffsetFromUTC": zone, "PatientBirthDate": born, "PatientBirthTime": time}
    found = made(TABLES[3], "_birthDate", Extra.BIRTH_TIME, **told)
    url = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
    assert found == (None if expected is None else {"extension": [{"url": url, "valueDateTime": expected}]})


def test_accession_number_of_the_site() -> None:
    """MAPPING__ACCESSION_SYSTEM is the system of an accession number whose issuer has none, here and in `basedOn`."""
    rules = Rules("", accession_system="https://ris.example/accession")
    issuer = metadata(LocalNamespaceEntityID="RIS")
    one = dataset(AccessionNumber="A1", IssuerOfAccessionNumberSequence=[issuer])
    found = STUDY.elements(Facts(one, rules, "1.2"))
    assert found["identifier"][1]["system"] == found["basedOn"][0]["identifier"]["system"] == rules.accession_system
    assert found["identifier"][1]["assigner"] == {"display": "RIS"}


def merged(before: Any, rules: Rules, **attributes: Any) -> dict[str, Any]:
    """A study after its one instance came, with these attributes."""
    key = StudyKey(SOURCE, "", "1.2")
    one = InstanceKey("1.2.1", "1.2.1.1")
    told = metadata(**{"SOPClassUID": CT, "Modality": "CT", **attributes})
    content = draft(before, StudyDelta(key, {one: Instance(one, told)}), rules, "Endpoint/1")
    return merge_study(before, content, key, rules, Links({"reference": "Patient/1"}, "Endpoint/1", SOURCE), "1")


COMPAT = Rules("", compat=True)
BY_HAND = {"text": "CT", "time": "2024-01-01", "authorString": "Jane"}


def test_note_follows_the_description() -> None:
    """With MAPPING__COMPAT the note is the description: replaced with it, never piled up, and gone with it."""
    first = merged(None, COMPAT, StudyDescription="CT")
    assert first["note"] == [{"text": "CT"}]
    assert merged(first, COMPAT, StudyDescription="CT") == first
    second = merged(first, COMPAT, StudyDescription="CT chest")
    assert second["note"] == [{"text": "CT chest"}]
    assert "note" not in merged(second, COMPAT)


def test_notes_of_others_stay() -> None:
    """A note that says more than the description, or something else, is somebody else's, and stands behind ours."""
    others = [BY_HAND, {"text": "call me"}]
    before = merged(None, COMPAT, StudyDescription="CT") | {"note": [{"text": "CT", "id": "n1"}, *others]}
    assert merged(before, COMPAT, StudyDescription="CT") == before
    assert merged(before, COMPAT, StudyDescription="MR")["note"] == [{"text": "MR"}, *others]
    assert merged(before, COMPAT)["note"] == others


def test_notes_stay_without_compat() -> None:
    """Without it notes are none of our business, whatever they say."""
    before = merged(None, COMPAT, StudyDescription="CT")
    assert merged(before, Rules(""), StudyDescription="MR")["note"] == [{"text": "CT"}]


def test_study_id_is_replaced() -> None:
    """The StudyID that we wrote goes when another comes, or when it is asked for no more; others' identifiers stay."""
    asked = Rules("", extras=ALL)
    theirs = {"use": "secondary", "type": {"text": "Study ID"}, "system": "https://ris.example", "value": "17"}
    before = merged(None, asked, StudyID="17")
    before["identifier"].append(theirs)
    after = merged(before, asked, StudyID="18")
    assert [one["value"] for one in after["identifier"]] == ["urn:oid:1.2", "18", "17"]
    assert [one["value"] for one in merged(after, Rules(""), StudyID="18")["identifier"]] == ["urn:oid:1.2", "17"]


def test_encounter_of_others_stays() -> None:
    """A visit that we wrote is replaced and goes; a reference to an Encounter is worth more than a visit's number."""
    asked = Rules("", extras=ALL)
    first = merged(None, asked, AdmissionID="V1")
    assert first["encounter"]["identifier"]["value"] == "V1"
    assert merged(first, asked, AdmissionID="V2")["encounter"]["identifier"]["value"] == "V2"
    assert "encounter" not in merged(first, asked)
    assert merged(first, Rules(""), AdmissionID="V2")["encounter"] == first["encounter"]
    linked = first | {"encounter": {"reference": "Encounter/1"}}
    assert merged(linked, asked, AdmissionID="V2") == merged(linked, asked) == linked
    assert merged(linked, Rules(""), AdmissionID="V2") == linked


def test_extensions_of_others_stay() -> None:
    """Our extension of an instance, or of the study, is replaced and removed; those of others stay as they are."""
    asked = Rules("", extras=ALL)
    sex = {"00100046": {"vr": "SQ", "Value": [code("248153007", "SCT", "Male")]}}
    told = {"NumberOfFrames": 2, "00100043": [sex]}
    before = merged(None, asked, **told)
    before["extension"].append(FOREIGN)
    before["series"][0]["instance"][0]["extension"].insert(0, FOREIGN)
    again = merged(before, asked, **told)
    assert len(again["extension"]) == 2 and again["extension"][1] == FOREIGN
    after = merged(again, asked, NumberOfFrames=3)
    assert after["extension"] == [FOREIGN]
    assert after["series"][0]["instance"][0]["extension"] == [{"url": FRAMES, "valueInteger": 3}, FOREIGN]
    alone = merged(merged(None, asked, **told), asked)
    assert "extension" not in alone and "extension" not in alone["series"][0]["instance"][0]


def test_all_modalities() -> None:
    """A key object's modality is the study's only where that is asked for."""
    assert "modality" not in merged(None, Rules(""), SOPClassUID=KEY_OBJECTS, Modality="KO")
    found = merged(None, Rules("", extras=ALL), SOPClassUID=KEY_OBJECTS, Modality="KO")
    assert [one["code"] for one in found["modality"]] == ["KO"]


@pytest.mark.parametrize("written", ["frames, study-id", "frames study-id", " frames,study-id "])
def test_extras_as_they_are_written(written: str) -> None:
    """The names of MAPPING__EXTRAS stand behind commas or blanks; `config` prints them as one may write them."""
    environ = {"DICOMCAST_MAPPING__EXTRAS": written}
    assert load_offline_settings(environ).mapping.extras == (Extra.FRAMES, Extra.STUDY_ID)
    (line,) = (one for one in effective(environ) if one.variable == "DICOMCAST_MAPPING__EXTRAS")
    assert line.value == written


def test_extras_in_toml(tmp_path: Path) -> None:
    """In TOML they are an array, and the default is none of them."""
    assert load_offline_settings({}).mapping.extras == ()
    config = tmp_path / "config.toml"
    config.write_text('[mapping]\nextras = ["animal", "device"]\n')
    environ = {"DICOMCAST_CONFIG": str(config)}
    assert load_offline_settings(environ).mapping.extras == (Extra.ANIMAL, Extra.DEVICE)
    (line,) = (one for one in effective(environ) if one.variable == "DICOMCAST_MAPPING__EXTRAS")
    assert line.value == "animal, device"


@pytest.mark.parametrize("written", ["frame", "frames;device", "Frames"])
def test_unknown_extra(written: str) -> None:
    """A name that is none of them is refused, with those that there are."""
    with pytest.raises(ConfigError, match="DICOMCAST_MAPPING__EXTRAS: write some of study-id, encounter"):
        load_offline_settings({"DICOMCAST_MAPPING__EXTRAS": written})


@pytest.mark.parametrize(
    "junk",
    [
        {"note": [{"text": ["CT"]}, "CT", None]},
        {"description": {"a": 1}},
        {"extension": [{"url": ["x"]}, "x", None]},
        {"extension": "x"},
        {"encounter": "x"},
        {"encounter": {"identifier": ["x"]}},
        {"encounter": {"type": "Encounter", "identifier": {"type": ["x"]}}},
        {
            "series": [
                {"uid": "1.2.9", "modality": {"code": ["x"]}, "instance": [{"uid": "1.2.9.1", "sopClass": ["x"]}]}
            ]
        },
    ],
)
def test_junk_of_others_does_no_harm(junk: Any) -> None:
    """What stands in a study may be anything: with everything asked for, ours is added, and nothing raises."""
    rules = Rules("", extras=ALL, compat=True)
    sex = {"00100046": {"vr": "SQ", "Value": [code("248153007", "SCT", "Male")]}}
    told = {"AdmissionID": "V1", "StudyDescription": "CT", "NumberOfFrames": 2, "00100043": [sex]}
    found = merged(merged(None, rules) | junk, rules, **told)
    assert (found["description"], {"text": "CT"} in found["note"]) == ("CT", True)
    assert any(isinstance(one, dict) and str(one.get("url")).startswith("http") for one in found["extension"])
    assert found["series"][0]["instance"][0]["extension"] == [{"url": FRAMES, "valueInteger": 2}]
    assert merged(found, rules, **told) == found

"""Servers of each version of FHIR: what is written there, what others wrote there, and which one it is."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from dicomcast.errors import ConfigError
from dicomcast.fhir import FhirServer
from dicomcast.http import Http
from dicomcast.model import Outcome
from tests.harness import CT, DICOM_URL, SYSTEM, Harness
from tests.judge import R5

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SCT = "http://snomed.info/sct"
# What is mapped from `_put`, each in the words of R5.
_CT = {"system": _DCM, "code": "CT", "display": "Computed Tomography"}
_CHEST = {"system": _SCT, "code": "816094009", "display": "Chest"}
_LEFT = {"system": _SCT, "code": "7771000", "display": "Left"}
_ATTRIBUTES = {
    "BodyPartExamined": "CHEST",
    "Laterality": "L",
    "AccessionNumber": "A1",
    "NameOfPhysiciansReadingStudy": "Roe^Rick",
    "SeriesNumber": 1,
    "ReasonForTheRequestedProcedure": "cough",
}


def _put(harness: Harness, instance: str = "1", **attributes: Any) -> None:
    harness.put("1.2", "1.2.1", f"1.2.1.{instance}", **{**_ATTRIBUTES, **attributes})


async def test_modalities_on_an_r5_server() -> None:
    """R5 wants those of all series, also of a report that comes later; when the report goes, its modality does."""
    harness = Harness(version=R5)
    _put(harness)
    await harness.cast()
    harness.put("1.2", "1.2.2", "1.2.2.1", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert [one["coding"][0]["code"] for one in harness.study()["modality"]] == ["CT", "SR"]
    await harness.writes_nothing("1.2")
    harness.archive.delete("Microsoft.Default", "1.2", "1.2.2", "1.2.2.1")
    await harness.cast()
    assert harness.study()["modality"] == [{"coding": [_CT]}]


async def test_a_study_on_an_r5_server() -> None:
    """An R5 server gets R5 (the harness judges it), once; then it is changed and deleted there."""
    harness = Harness(version=R5)
    _put(harness)
    assert await harness.cast() == {Outcome.CREATED: 1}
    study = harness.study()
    assert study["modality"] == [{"coding": [_CT]}]
    assert (study["reason"], study["basedOn"][0]["identifier"]["value"]) == ([{"concept": {"text": "cough"}}], "A1")
    assert [one["system"] for one in study["identifier"]] == ["urn:dicom:uid"]
    assert "interpreter" not in study
    (series,) = study["series"]
    assert (series["modality"], series["bodySite"], series["laterality"]) == (
        {"coding": [_CT]},
        {"concept": {"coding": [_CHEST]}},
        {"coding": [_LEFT]},
    )
    assert series["instance"][0]["sopClass"] == {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{CT}"}
    await harness.writes_nothing("1.2")
    _put(harness, "2")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert harness.study()["numberOfInstances"] == 2
    harness.archive.delete("Microsoft.Default", "1.2")
    assert await harness.cast() == {Outcome.DELETED: 1}
    await harness.close()


async def test_what_others_wrote_on_an_r5_server_stays() -> None:
    """In a study that is adopted, what is new in R5 and what R4 cannot say stays, also while a run goes on."""
    harness = Harness(version=R5)
    local = {"system": "https://ris.example", "code": "7"}
    noted = {"extension": [{"url": "https://ris.example/noted", "valueString": "yes"}]}
    theirs: dict[str, Any] = {
        "partOf": [{"display": "the procedure"}],
        "procedure": [{"reference": {"display": "a plan"}}],
        "reason": [noted | {"concept": noted | {"text": "cough"}}, {"reference": {"display": "a condition"}}],
        "note": [{"text": "a note"}],
    }
    mine = {
        "modality": noted | {"coding": [local, _CT], "text": "scan"},
        "bodySite": {"concept": {"coding": [_CHEST], "text": "thorax"}, "reference": {"display": "a structure"}},
        "laterality": noted | {"coding": [noted | _LEFT, local]},
    }
    harness.store.put(_patient())
    harness.store.put(
        {
            "resourceType": "ImagingStudy",
            "id": "ris",
            "meta": {"source": "https://ris.example"},
            "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}],
            "status": "registered",
            "modality": [mine["modality"]],
            "subject": {"reference": "Patient/ehr"},
            **theirs,
            "series": [{"uid": "1.2.1", **mine}],
        }
    )
    for instance in "12":
        _put(harness, instance)
        assert await harness.cast() == {Outcome.UPDATED: 1}
        study = harness.study()
        assert {name: study[name] for name in theirs} == theirs
        assert {name: study["series"][0][name] for name in mine} == mine
        assert study["modality"] == [mine["modality"]]
        assert (study["status"], study["numberOfInstances"]) == ("registered", int(instance))
        assert "_stood" not in json.dumps(study)
    await harness.writes_nothing("1.2")
    await harness.close()


def _patient() -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "ehr", "identifier": [{"system": SYSTEM, "value": "P1"}]}


async def test_an_endpoint_on_an_r5_server() -> None:
    """Ours is of R5; what others added to it stays when its payload is put right, and then it is left alone."""
    harness = Harness(version=R5)
    _put(harness)
    await harness.cast()
    (ours,) = harness.store.resources("Endpoint")
    assert ours["connectionType"][0]["coding"][0]["code"] == "dicom-wado-rs"
    assert ours["payload"][0]["mimeType"] == ["application/dicom", "application/dicom+json"]
    added = {"environmentType": [{"text": "test"}], "header": ["X: 1"]}
    other = {"type": [{"text": "reports"}], "mimeType": ["application/pdf"]}
    harness.store.put(ours | added | {"payload": [ours["payload"][0] | {"mimeType": ["application/dicom"]}, other]})
    harness.restart()
    _put(harness, "2")
    await harness.cast()
    (after,) = harness.store.resources("Endpoint")
    assert {name: value for name, value in after.items() if name != "meta"} == {
        name: value
        for name, value in (ours | added | {"payload": [ours["payload"][0], other]}).items()
        if name != "meta"
    }
    assert after["address"] == f"{DICOM_URL}/v1"
    await harness.writes_nothing("1.2")
    await harness.close()


@pytest.mark.parametrize(
    ("stated", "wanted", "spoken"),
    [
        ("4.0.1", "auto", "R4"),
        ("4.3.0", "auto", "R4B"),
        ("5.0.0", "auto", "R5"),
        ("5.0.0", "5.0", "R5"),
        ("4.0.1", "4.0", "R4"),
        (None, "5.0", "R5"),
    ],
)
async def test_the_version_is_the_servers(stated: str | None, wanted: str, spoken: str) -> None:
    """The CapabilityStatement decides; the setting only where there is nothing to decide by."""
    server = _server(stated, wanted)
    await server.open()
    assert server.version.name == spoken


@pytest.mark.parametrize(
    ("stated", "wanted", "said"),
    [
        ("5.0.0", "4.0", "DICOMCAST_FHIR__VERSION is 4.0, but the server at http://fhir.test speaks FHIR 5.0.0"),
        ("4.0.1", "4.3", "DICOMCAST_FHIR__VERSION is 4.3, but the server at http://fhir.test speaks FHIR 4.0.1"),
        ("3.0.2", "4.0", "DICOMCAST_FHIR__VERSION is 4.0, but the server at http://fhir.test speaks FHIR 3.0.2"),
        ("6.0.0", "auto", "DICOMCAST_FHIR__URL: the server at http://fhir.test speaks FHIR 6.0.0; dicomcast writes R4"),
        (
            None,
            "auto",
            "DICOMCAST_FHIR__URL: the server at http://fhir.test speaks FHIR of no stated version; dicomcast writes",
        ),
    ],
)
async def test_a_version_that_does_not_fit_is_refused(stated: str | None, wanted: str, said: str) -> None:
    """What does not fit is a configuration error that names the setting."""
    with pytest.raises(ConfigError) as refused:
        await _server(stated, wanted).open()
    assert str(refused.value).startswith(said)


def _server(stated: str | None, wanted: str) -> FhirServer:
    """A server with transactions that states this fhirVersion."""
    statement = {"resourceType": "CapabilityStatement", "rest": [{"interaction": [{"code": "transaction"}]}]}
    content = statement | ({"fhirVersion": stated} if stated else {})
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=content))
    return FhirServer(Http("fhir", "http://fhir.test", transport=transport), version=wanted)

"""What others wrote on FHIR servers that are not ours, and what they write while we do."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dicomcast.bundle import Method, Write
from dicomcast.errors import Conflict
from dicomcast.fhir import FhirServer
from dicomcast.http import Http
from tests.servers import SERVERS
from tests.servers.site import JSON, Site

pytestmark = pytest.mark.long

EXTENSION = {"url": "https://ehr.example.org/fhir/score", "valueDecimal": 1.25}


def without(resource: JSON, *members: str) -> JSON:
    """A resource without some of its members, and without `meta`, which is the server's."""
    return {name: value for name, value in resource.items() if name not in (*members, "meta")}


def ehr_patient(site: Site, value: str = "P1") -> JSON:
    """A Patient as an EHR keeps it, with more than DICOM knows."""
    return {
        "resourceType": "Patient",
        "id": f"ehr-{site.salt}",
        "meta": {"source": "https://ehr.example.org"},
        "extension": [EXTENSION],
        "identifier": [
            {"system": "https://ehr.example.org/id", "value": "0815"},
            {"system": site.system, "value": value, "extension": [EXTENSION]},
        ],
        "name": [{"family": "Doe", "_family": {"extension": [EXTENSION]}, "given": ["Jane", "Ann"]}],
        "telecom": [{"system": "phone", "value": "555-0100", "rank": 1}],
        "gender": "female",
        "_birthDate": {"extension": [EXTENSION]},
        "birthDate": "1970-01-02",
    }


def handwritten_study(site: Site) -> JSON:
    """An ImagingStudy as somebody else keeps it: it knows a series of ours, and one that no archive has."""
    return {
        "resourceType": "ImagingStudy",
        "id": f"ris-{site.salt}",
        "meta": {"source": "https://ris.example.org", "tag": [{"system": "https://ris.example.org/tag", "code": "x"}]},
        "extension": [EXTENSION],
        "identifier": [
            {"system": "https://ris.example.org/order", "value": "A-7", "extension": [EXTENSION]},
            {"system": "urn:dicom:uid", "value": f"urn:oid:{site.uid('A')}"},
        ],
        "status": "registered",
        "_status": {"extension": [EXTENSION]},
        "subject": {"reference": f"Patient/ehr-{site.salt}", "display": "Jane Doe"},
        "note": [{"text": "written by hand", "time": "2024-01-02T03:04:05.600+01:00"}],
        "series": [
            {
                "uid": site.uid("A.1"),
                "extension": [EXTENSION],
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
            },
            {
                "uid": site.uid("A.film"),
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "RG"},
                "description": "scanned film",
                "extension": [EXTENSION],
            },
        ],
    }


def test_patient_of_an_ehr_is_left_alone(site: Site) -> None:
    """The study refers to the Patient that the EHR keeps, of which nothing is written, now or later."""
    theirs = site.put_resource(ehr_patient(site))
    for study in ("A", "B"):
        site.put(study, "1", "1", PatientID="P1", PatientName="Other^Name", PatientSex="M")
    assert site.run() == "2 created; 0 parked now"
    assert {site.study(study)["subject"]["reference"] for study in ("A", "B")} == {f"Patient/{theirs['id']}"}
    site.put("A", "1", "2", PatientID="P1", PatientName="Third^Name")
    site.delete("B")
    assert site.run() == "1 updated, 1 deleted; 0 parked now"
    assert site.patients() == [theirs]


def test_patients_of_an_ehr_match_exactly(site: Site) -> None:
    """Whatever characters the EHR uses for its identifiers, no second Patient is made."""
    odd = ["a,b", "a$b", "a\\b", "a&b", "a#b", "a+b", "a b", "a%2Cb", "a=b", "a*", "a,", "ä", "a", "b", "A"]
    theirs = {}
    for number, value in enumerate(odd):
        patient = ehr_patient(site, value) | {"id": f"{number}-{site.salt}"}
        theirs[value] = site.put_resource(patient)
        site.put(f"S{number}", "1", "1", PatientID=value)
    assert site.run() == f"{len(odd)} created; 0 parked now"
    assert sorted(site.patients(), key=lambda one: one["id"]) == sorted(theirs.values(), key=lambda one: one["id"])
    for number, value in enumerate(odd):
        assert site.study(f"S{number}")["subject"]["reference"] == f"Patient/{theirs[value]['id']}"


@pytest.mark.parametrize("real_server", SERVERS, indirect=True)
def test_study_of_others_is_merged_into_and_never_deleted(site: Site) -> None:
    """Adopted, cast again, emptied: our elements come and go, theirs stay as they were."""
    site.put_resource(ehr_patient(site))
    theirs = site.put_resource(handwritten_study(site))
    site.put("A", "1", "1", PatientID="P1", StudyDescription="Chest", SeriesNumber=4)
    site.put("A", "2", "1", PatientID="P1", StudyDescription="Chest", SeriesNumber=5)
    assert site.run() == "1 updated; 0 parked now"
    adopted = site.study("A")
    assert adopted["id"] == theirs["id"] and adopted["description"] == "Chest"
    assert [one["uid"] for one in adopted["series"]] == [site.uid(name) for name in ("A.1", "A.2", "A.film")]
    assert_theirs_stands(theirs, adopted)
    assert adopted["series"][0]["numberOfInstances"] == 1
    versions = site.versions()
    assert site.run("--replay-from", "1") == "1 unchanged; 0 parked now"
    assert site.versions() == versions and site.study("A") == adopted

    site.delete("A")
    assert site.run() == "1 updated; 0 parked now"
    left = site.study("A")
    assert left["id"] == theirs["id"]
    assert [one for one in left["series"] if one.get("instance")] == []
    assert without(theirs, "series", "identifier", "subject").items() <= left.items()


def assert_theirs_stands(theirs: JSON, now: JSON) -> None:
    """All that others wrote is there as it was; only what we map may have come beside it."""
    mapped = ("identifier", "subject", "series")
    assert without(theirs, *mapped).items() <= now.items()
    assert all(one in now["identifier"] for one in theirs["identifier"][:1])
    assert now["subject"]["reference"] == theirs["subject"]["reference"]
    assert {name: now["meta"][name] for name in ("source", "tag")} == {
        name: theirs["meta"][name] for name in ("source", "tag")
    }
    series = {one["uid"]: one for one in now["series"]}
    for one in theirs["series"]:
        assert series[one["uid"]]["extension"] == one["extension"]
    assert theirs["series"][1] in now["series"]


def test_somebody_else_writes_between_two_runs(site: Site) -> None:
    """What others add to a study and a Patient of ours is read again, merged into and kept."""
    site.put("A", "1", "1", StudyDescription="Chest", PatientName="Doe^Jane")
    site.run()
    study, (patient,) = site.study("A"), site.patients()
    noted: dict[str, Any] = copy.deepcopy(study) | {"note": [{"text": "seen"}], "extension": [EXTENSION]}
    noted["series"][0]["extension"] = [EXTENSION]
    noted["series"][0]["instance"][0]["extension"] = [EXTENSION]
    noted["identifier"].append({"system": "https://ris.example.org/order", "value": "A-7"})
    noted = site.put_resource(noted)
    called = site.put_resource(copy.deepcopy(patient) | {"telecom": [{"system": "phone", "value": "555-0100"}]})
    assert noted["meta"]["versionId"] != study["meta"]["versionId"]
    assert site.run("--replay-from", "1") == "1 unchanged; 0 parked now"
    assert site.study("A") == noted and site.patients() == [called]

    site.put("A", "1", "2", StudyDescription="Chest", PatientName="Doe^Jane")
    change = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Roe^Jane"}]}}
    site.archive.bulk_update("Microsoft.Default", [site.uid("A")], change)
    assert site.run() == "1 updated; 0 parked now"
    merged = site.study("A")
    assert without(merged, "series", "numberOfInstances") == without(noted, "series", "numberOfInstances")
    (series,) = merged["series"]
    assert series["extension"] == [EXTENSION] and len(series["instance"]) == 2
    assert noted["series"][0]["instance"][0] in series["instance"]
    (renamed,) = site.patients()
    assert renamed["name"][0]["family"] == "Roe"
    assert without(renamed, "name") == without(called, "name")


def test_two_studies_of_others_are_parked_and_the_rest_goes_on(site: Site) -> None:
    """Several matches cannot be told apart: nothing of theirs is touched, and other studies arrive."""
    site.put_resource(ehr_patient(site))
    theirs = [site.put_resource(handwritten_study(site) | {"id": f"{name}-{site.salt}"}) for name in ("one", "two")]
    site.put("A", "1", "1")
    site.put("B", "1", "1")
    assert site.run(code=1) == "1 created, 1 parked; 1 parked now"
    assert sorted(site.named("A"), key=lambda one: one["id"]) == theirs
    assert site.study("B")["numberOfInstances"] == 1


def test_two_workers_at_once_make_no_duplicates(site: Site) -> None:
    """Ids are derived from the data, so that two workers make the same resources."""
    for number in range(20):
        site.put(f"S{number}", "1", "1", PatientID=f"P{number % 5}")
    workers = [site.start("run", "--once", "--strict", state=state) for state in ("one", "two")]
    assert {site.finish(worker).rpartition(";")[2] for worker in workers} == {" 0 parked now"}
    assert (len(site.studies()), len(site.patients()), len(site.endpoints())) == (20, 5, 1)


@pytest.fixture
async def server(site: Site) -> AsyncIterator[FhirServer]:
    """The client that the command line uses."""
    http = Http("fhir", str(site.fhir.base_url).rstrip("/"))
    server = FhirServer(http)
    await server.open()
    yield server
    await http.close()


async def test_version_that_moved_on_is_a_conflict(site: Site, server: FhirServer) -> None:
    """A write that rests on an old version is refused as a conflict, and nothing of its transaction is written."""
    first, second = (site.put_resource({"resourceType": "Patient", "id": f"{n}-{site.salt}"}) for n in "ab")
    moved = site.put_resource(second | {"gender": "other"})
    with pytest.raises(Conflict):
        await server.write([changed(first), changed(second)])
    assert site.read(f"Patient/{first['id']}").json() == first
    assert site.read(f"Patient/{second['id']}").json() == moved


async def test_resource_that_is_gone_is_a_conflict(site: Site, server: FhirServer) -> None:
    """What somebody deleted since it was read has to be looked for again: the study must not be parked for it."""
    first, second = (site.put_resource({"resourceType": "Patient", "id": f"{n}-{site.salt}"}) for n in "ab")
    assert site.fhir.delete(f"Patient/{second['id']}").is_success
    with pytest.raises(Conflict):
        await server.write([changed(first), changed(second)])
    assert site.read(f"Patient/{first['id']}").json() == first


def changed(patient: JSON) -> Write:
    """A change of a Patient as it was read."""
    return Write(Method.PUT, patient | {"gender": "male"}, version=patient["meta"]["versionId"])


async def test_search_finds_more_than_a_page(site: Site, server: FhirServer) -> None:
    """All studies of a Patient are found, by the server's links or without them."""
    site.put_resource({"resourceType": "Patient", "id": site.salt})
    subject = {"reference": f"Patient/{site.salt}"}
    made = [{"resourceType": "ImagingStudy", "id": f"{number}-{site.salt}"} for number in range(230)]
    for start in range(0, len(made), 46):
        some = made[start : start + 46]
        await server.write([Write(Method.PUT, one | {"status": "available", "subject": subject}) for one in some])
    found = await server.search("ImagingStudy", {"subject": subject["reference"]})
    assert sorted(one["id"] for one in found) == sorted(one["id"] for one in made)

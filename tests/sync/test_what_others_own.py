"""What others own in FHIR is referred to and left as it is, also where they write between our look and our write."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import httpx

from dicomcast.http import dump_json
from dicomcast.mapping.endpoint import endpoint
from dicomcast.mapping.rules import Rules
from dicomcast.model import Outcome
from tests.harness import DICOM_URL, SYSTEM, Harness


async def test_the_endpoint_of_somebody_else_is_referred_to_and_left_alone() -> None:
    """A site that describes its PACS itself keeps its name, its status and its identifiers."""
    harness = Harness()
    endpoint = {
        "resourceType": "Endpoint",
        "id": "pacs",
        "meta": {"source": "https://ehr.test"},
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"{DICOM_URL}/v1"}, {"value": "A-17"}],
        "status": "suspended",
        "name": "Main PACS",
    }
    harness.store.put(endpoint)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert harness.study()["endpoint"] == [{"reference": "Endpoint/pacs"}]
    assert harness.store.versions("Endpoint", "pacs") == 1
    await harness.close()


async def test_of_several_endpoints_ours_is_referred_to() -> None:
    """In whatever order the server answers them: a copy of somebody else's adds nothing to the studies."""
    harness = Harness()
    harness.store.put(
        {
            "resourceType": "Endpoint",
            "id": "0-copy",
            "meta": {"source": "https://ehr.test"},
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"{DICOM_URL}/v1"}],
        }
    )
    ours = endpoint(f"{DICOM_URL}/v1") | {"id": "ours"}
    harness.store.put(ours)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    assert harness.study()["endpoint"] == [{"reference": "Endpoint/ours"}]
    await harness.close()


async def test_a_patient_that_an_ehr_creates_meanwhile_is_the_ehrs() -> None:
    """A conditional create that finds one did not write ours: the next study of the window must not think so."""
    theirs = {
        "resourceType": "Patient",
        "id": "ehr",
        "meta": {"source": "https://ehr.test"},
        "identifier": [{"system": SYSTEM, "value": "P1"}],
        "name": [{"family": "Own"}],
    }

    class Raced(Harness):
        def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
            return _Race(transport, lambda: self.store.put(theirs) if not self.patients() else None)

    harness = Raced(update_create=False)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane", StudyDate="20240101")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="Doe^Janet", StudyDate="20240201")
    assert await harness.cast() == {Outcome.CREATED: 2}
    (patient,) = harness.patients()
    assert (patient["id"], patient["name"]) == ("ehr", [{"family": "Own"}])
    assert harness.store.versions("Patient", "ehr") == 1
    await harness.close()


class _Race(httpx.AsyncBaseTransport):
    """Somebody writes just before the first Bundle with a Patient arrives."""

    def __init__(self, inner: httpx.AsyncBaseTransport, write: Any) -> None:
        self._inner, self._write = inner, write

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and b'"resourceType":"Patient"' in request.content:
            self._write()
        return await self._inner.handle_async_request(request)


async def test_updating_an_ehrs_patient_follows_the_newest_study() -> None:
    """PATIENT__MODE=update: two studies that differ make no flip-flop, and a replay writes nothing."""
    harness = Harness(mode="update")
    harness.store.put(
        {"resourceType": "Patient", "id": "ehr", "identifier": [{"system": SYSTEM, "value": "P1"}], "gender": "female"}
    )
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane", StudyDate="20240101")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="Doe^Janet", StudyDate="20240201")
    await harness.cast()
    versions = harness.store.versions("Patient", "ehr")
    await harness.replay()
    await harness.synchronizer.replay_studies(["1.2"])
    assert harness.patients()[0]["name"][0]["text"] == "Janet Doe"
    assert harness.store.versions("Patient", "ehr") == versions
    await harness.close()


async def test_a_replacement_on_another_server_is_not_looked_for_here() -> None:
    """The same id on this server is another person: the study is parked."""
    harness = Harness()
    harness.store.put({"resourceType": "Patient", "id": "1", "name": [{"family": "Stranger"}]})
    link = [{"other": {"reference": "https://mpi.test/fhir/Patient/1"}, "type": "replaced-by"}]
    harness.store.put(
        {"resourceType": "Patient", "id": "old", "identifier": [{"system": SYSTEM, "value": "P1"}], "link": link}
    )
    harness.put("1.2", "1.2.1", "1.2.1.1")
    assert await harness.cast() == {Outcome.PARKED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert row.reason == "broken-patient-link"
    await harness.close()


async def test_an_identifier_that_the_server_chokes_on_costs_its_study_alone() -> None:
    """One search looks for the Patients of many studies; where it fails, each study looks for its own."""

    class Choking(Harness):
        def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
            return _Chokes(transport)

    harness = Choking()
    for number, value in enumerate(["P1", "ODD", "P3"]):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID=value)
    assert await harness.cast() == {Outcome.CREATED: 2, Outcome.PARKED: 1}
    await harness.close()


class _Chokes(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("Patient/_search") and b"ODD" in request.content:
            return httpx.Response(400)
        return await self._inner.handle_async_request(request)


async def test_what_others_added_stays_byte_for_byte() -> None:
    """Extensions, `contained`, identifiers, notes and a date as the server writes it, in a study and its Patient."""
    harness = Harness(rules=Rules(SYSTEM, timezone=UTC))
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyTime="0831", StudyDescription="CT", PatientName="Doe^Jane")
    await harness.cast()
    note = {"extension": [{"url": "https://ris.example/seen", "valueBoolean": True}]}
    study, patient = harness.study(), harness.patients()[0]
    added: dict[str, dict[str, Any]] = {
        "ImagingStudy": {
            "started": "2024-01-02T08:31:00.000+00:00",
            "contained": [{"resourceType": "Practitioner", "id": "p", "name": [{"text": "é  \u00a0x"}]}],
            "identifier": [*study["identifier"], {"system": "https://ris.example", "value": "7"}],
            "note": [{"text": "compare with the last one", "time": "2024"}],
            "_description": note,
            "subject": study["subject"] | note | {"display": "Jane"},
            **note,
        },
        "Patient": {
            "contained": [{"resourceType": "Organization", "id": "o", "name": "Ward"}],
            "identifier": [*patient["identifier"], {"system": "https://ehr.example", "value": "8"}],
            "name": [patient["name"][0] | note | {"id": "n"}, {"use": "nickname", "text": "Janie"}],
            "telecom": [{"system": "phone", "value": "1"}],
            **note,
        },
    }
    for one in (study, patient):
        harness.store.put(one | added[one["resourceType"]])
    harness.put("1.2", "1.2.1", "1.2.1.2", StudyTime="0831", StudyDescription="CT", PatientName="Doe^Jane")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert harness.study()["numberOfInstances"] == 2
    for one in (harness.study(), harness.patients()[0]):
        kept = {name: one.get(name) for name in added[one["resourceType"]]}
        assert dump_json(kept) == dump_json(added[one["resourceType"]])
    await harness.close()

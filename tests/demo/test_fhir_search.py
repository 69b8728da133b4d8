"""Searches of the embedded FHIR server that lead from one resource to others, and by date (R4 search.html)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.demo.fhir_client import Client, patient, study

STUDY = {"subject": {"reference": "Patient/a"}, "endpoint": [{"reference": "Endpoint/e"}]}
READER = {"identifier": {"system": "urn:staff", "value": "7"}, "display": "Roe"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A patient born in May 1975 with two studies, and one of whom the year alone is known."""
    client = Client(page_size=1)
    client.store.put(patient(id="a", birthDate="1975-05-17", identifier=[{"system": "urn:s", "value": "x"}]))
    client.store.put(patient(id="b", birthDate="1975"))
    client.store.put({"resourceType": "Endpoint", "id": "e", "name": "here"})
    client.store.put(study(id="1", started="2024-03-01", interpreter=[READER], **STUDY))
    client.store.put(study(id="2", started="2024-03-02T08:00:00+01:00", **STUDY))
    client.store.put(study(id="3", subject={"reference": "Patient/b"}))
    client.store.put({"resourceType": "Device", "id": "d", "identifier": [{"system": "urn:m", "value": "1"}]})
    said = {"device": {"reference": "Device/d"}, "derivedFrom": [{"reference": "ImagingStudy/1"}]}
    client.store.put({"resourceType": "Observation", "id": "o", "code": {"coding": [{"code": "AI"}]}, **said})
    yield client
    await client.close()


def ids(bundle: Any, mode: str = "match") -> str:
    """The ids on a page, in one word."""
    return "".join(one["resource"]["id"] for one in bundle.get("entry", []) if one["search"]["mode"] == mode)


async def all_ids(client: Client, kind: str, **query: str) -> str:
    """Those of all pages."""
    bundle = await client.search(kind, {name.replace("_dot_", "."): value for name, value in query.items()})
    found = ids(bundle)
    while following := client.link(bundle, "next"):
        bundle = (await client.get(following)).json()
        found += ids(bundle)
    return found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1975-05-17", "a"),
        ("1975", "ab"),
        ("eq1975-05", "a"),
        ("lt1975-05-17", "b"),
        ("le1975-05-17", "ab"),
        ("gt1975-05-17", "b"),
        ("ge1975-05-18", "b"),
        ("lt1975", ""),
        ("gt1975", ""),
        ("1974,1975-05", "a"),
    ],
)
async def test_a_date_is_as_long_as_it_is_precise(client: Client, value: str, found: str) -> None:
    """The one of whom the year is known may have been born before and after a day of it."""
    assert await all_ids(client, "Patient", birthdate=value) == found


@pytest.mark.parametrize("value", ["", "1975-13", "75", "sa1975", "xx1975", "ge"])
async def test_what_is_no_date_is_refused(client: Client, value: str) -> None:
    """Nothing is guessed."""
    assert client.outcome(await client.get("Patient", {"birthdate": value}), 400) == "value"


async def test_a_time_has_its_zone(client: Client) -> None:
    """Eight o'clock in Berlin is seven."""
    assert await all_ids(client, "ImagingStudy", started="gt2024-03-02T06:59:59Z") == "2"
    assert await all_ids(client, "ImagingStudy", started="ge2024-03-02T07:00:01Z") == ""


async def test_chains(client: Client) -> None:
    """By what the patient, or the device, is; a reference to several types has to say which."""
    assert await all_ids(client, "ImagingStudy", patient_dot_birthdate="1975-05") == "12"
    assert await all_ids(client, "ImagingStudy", patient_dot_identifier="urn:s|x", started="2024-03-01") == "1"
    assert ids(await client.search("Observation", {"device:Device.identifier": "urn:m|1"})) == "o"
    assert ids(await client.search("Observation", {"device:Device.identifier": "urn:m|2"})) == ""
    for name in ("device.identifier", "device:Patient.birthdate", "patient.name", "nobody.identifier", "subject._id"):
        assert client.outcome(await client.get("Observation", {name: "1"}), 400) == "not-supported"


async def test_the_identifier_in_a_reference(client: Client) -> None:
    """There need be no such Practitioner."""
    assert await all_ids(client, "ImagingStudy", **{"interpreter:identifier": "urn:staff|7"}) == "1"
    assert await all_ids(client, "ImagingStudy", **{"interpreter:identifier": "urn:staff|8"}) == ""
    assert await all_ids(client, "ImagingStudy", interpreter="7") == ""


async def test_include(client: Client) -> None:
    """What the matches of a page refer to comes along, once, and is not counted."""
    bundle = await client.search("ImagingStudy", {"patient": "a", "_include": "ImagingStudy:endpoint"})
    assert (ids(bundle), ids(bundle, "include"), bundle["total"]) == ("1", "e", 2)
    following = (await client.get(client.link(bundle, "next"))).json()
    assert (ids(following), ids(following, "include")) == ("2", "e")
    for value in ("ImagingStudy:name", "Patient:endpoint", "ImagingStudy:modality"):
        assert client.outcome(await client.get("ImagingStudy", {"_include": value}), 400) == "not-supported"

"""Transactions and batches of the embedded FHIR server (R4 http.html#transaction)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.demo.fhir_client import Client, patient, study

URN = "urn:uuid:7a1f6a3c-7b1e-4d8e-9a55-0d1c2b3a4f5e"
OTHER = "urn:uuid:0b0ff1c4-4e3e-4b62-8f0a-52ad6b9be9a1"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


def identified(**elements: Any) -> dict[str, Any]:
    return patient(identifier=[{"system": "urn:s", "value": "x"}], **elements)


def put(resource: dict[str, Any], **request: str) -> dict[str, Any]:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url, **request}}


def post(resource: dict[str, Any], full_url: str = "", **request: str) -> dict[str, Any]:
    named = {"fullUrl": full_url} if full_url else {}
    return {**named, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"], **request}}


def delete(url: str, **request: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url, **request}}


def everything(client: Client) -> dict[str, Any]:
    return {one["id"]: one for kind in ("Patient", "ImagingStudy") for one in client.store.resources(kind)}


def statuses(bundle: dict[str, Any]) -> list[str]:
    return [one["response"]["status"][:3] for one in bundle["entry"]]


async def test_a_transaction_answers_in_the_order_of_its_entries(client: Client) -> None:
    """Each response has status, place, ETag and time; a deletion has its status alone."""
    await client.put("Patient/old", patient(id="old"))
    response = await client.bundle("transaction", put(patient(id="a")), delete("Patient/old"), post(patient()))
    bundle = response.json()
    assert (response.status_code, bundle["type"]) == (200, "transaction-response")
    assert statuses(bundle) == ["201", "204", "201"]
    first, second, third = (one["response"] for one in bundle["entry"])
    assert (first["status"], first["location"], first["etag"]) == ("201 Created", "Patient/a/_history/1", 'W/"1"')
    assert second == {"status": "204 No Content"}
    assert third["location"].startswith("Patient/")
    assert "resource" not in bundle["entry"][0]


async def test_a_transaction_deletes_then_creates_then_updates(client: Client) -> None:
    """Whatever the order of its entries: a condition is judged after the deletions and before the updates."""
    await client.put("Patient/a", identified(id="a"))
    await client.put("Patient/b", patient(id="b"))
    condition = {"ifNoneExist": "identifier=urn:s|x"}
    response = await client.bundle(
        "transaction", put(identified(id="b")), post(identified(), **condition), delete("Patient/a")
    )
    assert statuses(response.json()) == ["200", "201", "204"]
    assert len(client.store.resources("Patient")) == 2


async def test_a_transaction_deletes_what_nothing_refers_to_afterwards(client: Client) -> None:
    """References are judged by what the whole transaction leaves behind."""
    await client.put("Patient/a", patient(id="a"))
    await client.put("Patient/b", patient(id="b"))
    await client.put("ImagingStudy/s", study(id="s", subject={"reference": "Patient/a"}))
    relinked = put(study(id="s", subject={"reference": "Patient/b"}))
    assert statuses((await client.bundle("transaction", delete("Patient/a"), relinked)).json()) == ["204", "200"]
    refused = await client.bundle("transaction", delete("Patient/b"))
    assert client.outcome(refused, 409) == "conflict"


BAD = {
    "invalid": (put(patient(id="z", gender="F")), 422),
    "another type": ({"resource": patient(), "request": {"method": "POST", "url": "Endpoint"}}, 400),
    "another id": ({"resource": patient(id="y"), "request": {"method": "PUT", "url": "Patient/z"}}, 400),
    "dangling": (put(study(id="z", subject={"reference": "Patient/nobody"})), 422),
    "dangling urn": (put(study(id="z", subject={"reference": OTHER})), 422),
    "conflict": (put(patient(id="old"), ifMatch='W/"9"'), 412),
    "conflict of a deletion": (delete("Patient/old", ifMatch='W/"9"'), 412),
    "conflict with nothing": (put(patient(id="z"), ifMatch='W/"1"'), 412),
    "referred to": (delete("Patient/held"), 409),
    "ambiguous": (post(patient(), ifNoneExist="_id=old,held"), 412),
    "no condition": (post(patient(), ifNoneExist="nonsense=1"), 400),
    "a read": ({"request": {"method": "GET", "url": "Patient/old"}}, 400),
    "conditional update": ({"resource": patient(), "request": {"method": "PUT", "url": "Patient?_id=old"}}, 400),
    "update without id": ({"resource": patient(), "request": {"method": "PUT", "url": "Patient"}}, 400),
    "unknown type": ({"resource": patient(), "request": {"method": "POST", "url": "Medication"}}, 400),
}


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("kind", BAD)
async def test_one_bad_entry_undoes_the_whole_transaction(client: Client, kind: str, place: str) -> None:
    """Created, updated and deleted resources are as they were, with as many versions, and can be found as before."""
    await client.put("Patient/old", identified(id="old"))
    await client.put("Patient/held", patient(id="held"))
    await client.put("Patient/gone", patient(id="gone"))
    await client.put("ImagingStudy/s", study(id="s", subject={"reference": "Patient/held"}))
    before = everything(client)
    versions = client.store.total_versions()
    bad, status = BAD[kind]
    good = [put(patient(id="new")), put(study(id="s", subject={"reference": "Patient/new"}, description="x"))]
    if "held" in str(bad):
        good.pop()
    entries = [*good, post(identified()), delete("Patient/gone")]
    response = await client.bundle("transaction", *([bad, *entries] if place == "first" else [*entries, bad]))
    assert client.outcome(response, status)
    assert everything(client) == before
    assert client.store.total_versions() == versions
    assert (await client.search("Patient", {"identifier": "urn:s|x"}))["total"] == 1
    assert client.outcome(await client.delete("Patient/held"), 409) == "conflict"


async def test_a_refused_entry_is_named(client: Client) -> None:
    """The OperationOutcome tells where in the Bundle the trouble is."""
    response = await client.bundle("transaction", put(patient(id="a")), put(patient(id="b", gender="F")))
    assert response.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource.gender"]


async def test_urn_uuids_become_the_ids_that_are_chosen(client: Client) -> None:
    """A reference to a fullUrl, in front of it or behind, nested or not, leads to what was created there."""
    imaging = study(
        id="s", subject={"reference": URN}, interpreter=[{"reference": URN}, {"reference": "Practitioner/d"}]
    )
    practitioner = {"resourceType": "Practitioner", "id": "d"}
    response = await client.bundle("transaction", put(imaging), post(patient(), URN), put(practitioner))
    place = response.json()["entry"][1]["response"]["location"].partition("/_history")[0]
    (made,) = client.store.resources("ImagingStudy")
    assert made["subject"] == {"reference": place}
    assert made["interpreter"] == [{"reference": place}, {"reference": "Practitioner/d"}]
    assert (await client.get(place)).status_code == 200


async def test_urn_uuids_become_the_id_that_a_condition_finds(client: Client) -> None:
    """A conditional create that finds its resource writes nothing, and is referred to all the same."""
    await client.put("Patient/known", identified(id="known"))
    create = post(identified(active=True), URN, ifNoneExist="identifier=urn:s|x")
    response = await client.bundle("transaction", create, post(study(subject={"reference": URN})))
    assert statuses(response.json()) == ["200", "201"]
    assert response.json()["entry"][0]["response"]["location"] == "Patient/known/_history/1"
    assert client.store.resources("ImagingStudy")[0]["subject"] == {"reference": "Patient/known"}
    assert "active" not in client.store.resources("Patient")[0]


@pytest.mark.parametrize(
    "entries",
    [
        [put(patient(id="a")), put(patient(id="a"))],
        [put(patient(id="a")), delete("Patient/a")],
        [put(patient(id="a")), post(patient(), ifNoneExist="_id=a")],
        [post(patient(), URN), post(patient(), URN)],
    ],
)
async def test_overlap_is_refused(client: Client, entries: list[dict[str, Any]]) -> None:
    """A resource, and a fullUrl, may be in a transaction but once, the matches of conditions included."""
    await client.put("Patient/a", patient(id="a"))
    assert client.outcome(await client.bundle("transaction", *entries), 400) in ("duplicate", "invariant")
    assert client.store.total_versions() == 1


async def test_if_match_inside_a_transaction(client: Client) -> None:
    """The version that was read passes, for updates and deletions."""
    for id in ("a", "b"):
        await client.put(f"Patient/{id}", patient(id=id))
    response = await client.bundle(
        "transaction", put(patient(id="a", active=True), ifMatch='W/"1"'), delete("Patient/b", ifMatch='W/"1"')
    )
    assert statuses(response.json()) == ["200", "204"]


async def test_a_batch_carries_out_each_entry_alone(client: Client) -> None:
    """What is bad is answered with its own status and outcome; everything else is done, in the order it stands in."""
    await client.put("Patient/old", patient(id="old"))
    bad = [BAD[kind] for kind in ("invalid", "dangling", "conflict", "a read", "conditional update", "unknown type")]
    response = await client.bundle(
        "batch", put(patient(id="a")), *(entry for entry, _ in bad), post(patient()), delete("Patient/old")
    )
    assert (response.status_code, response.json()["type"]) == (200, "batch-response")
    assert statuses(response.json()) == ["201", *(str(status) for _, status in bad), "201", "204"]
    outcomes = [one["response"].get("outcome", {}).get("resourceType") for one in response.json()["entry"]]
    assert outcomes == [None, *["OperationOutcome"] * len(bad), None, None]
    assert len(client.store.resources("Patient")) == 2


async def test_the_entries_of_a_batch_do_not_know_each_other(client: Client) -> None:
    """A urn:uuid leads nowhere; an id that an entry before made is there; what is written twice has two versions."""
    imaging = study(id="s", subject={"reference": URN})
    response = await client.bundle("batch", post(patient(), URN), put(imaging))
    assert statuses(response.json()) == ["201", "422"]
    linked = put(study(id="s", subject={"reference": "Patient/a"}))
    response = await client.bundle("batch", put(patient(id="a")), linked, put(patient(id="a", active=True)))
    assert statuses(response.json()) == ["201", "201", "200"]
    assert client.store.versions("Patient", "a") == 2


async def test_a_server_without_transactions() -> None:
    """It refuses them as such, before it writes anything, and takes batches."""
    client = Client(transactions=False)
    response = await client.bundle("transaction", put(patient(id="a")))
    assert client.outcome(response, 400) == "not-supported"
    assert statuses((await client.bundle("batch", put(patient(id="a")))).json()) == ["201"]
    await client.close()


async def test_a_representation_comes_back_if_it_is_preferred(client: Client) -> None:
    """The resources as they stand now; nothing for what was deleted."""
    await client.put("Patient/b", patient(id="b"))
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [put(patient(id="a")), delete("Patient/b")],
    }
    entries = (await client.post("", bundle, {"Prefer": "return=representation"})).json()["entry"]
    assert entries[0]["resource"]["meta"]["versionId"] == "1"
    assert "resource" not in entries[1]


@pytest.mark.parametrize("type", ["transaction", "batch"])
async def test_an_empty_bundle_is_answered_with_one(client: Client, type: str) -> None:
    """Without an empty array, which would be no FHIR."""
    response = await client.bundle(type)
    assert (response.status_code, response.json()) == (200, {"resourceType": "Bundle", "type": f"{type}-response"})


@pytest.mark.parametrize(
    "bundle",
    [
        [],
        patient(),
        {"resourceType": "Bundle"},
        {"resourceType": "Bundle", "type": "collection"},
        {"resourceType": "Bundle", "type": "batch", "entry": {}},
        {"resourceType": "Bundle", "type": "batch", "entry": []},
        {"resourceType": "Bundle", "type": "batch", "entry": ["x"]},
        {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": patient()}]},
        {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "POST", "url": "Patient"}}]},
        {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "DELETE"}}]},
        {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "DROP", "url": "Patient/a"}}]},
        {"resourceType": "Bundle", "type": "batch", "entry": [{**delete("Patient/a"), "resource": patient(id="a")}]},
        {"resourceType": "Bundle", "type": "batch", "entry": [delete("Patient/a")], "nonsense": 1},
    ],
)
async def test_what_is_no_bundle_of_requests_is_refused_whole(client: Client, bundle: Any) -> None:
    """400: another resource or type, an entry without a request, a body too many or too few, unknown elements."""
    await client.put("Patient/a", patient(id="a"))
    assert client.outcome(await client.post("", bundle), 400)
    assert (await client.get("Patient/a")).status_code == 200

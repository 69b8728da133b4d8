"""The embedded FHIR server: the interactions of R4 http.html on single resources, and search.html."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.demo.fhir_client import BASE, FHIR_JSON, Client, patient, study


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


def identified(value: str, system: str = "urn:s") -> dict[str, Any]:
    return patient(identifier=[{"system": system, "value": value}])


async def test_capabilities_say_what_the_server_can(client: Client) -> None:
    """The version, JSON, the interactions of each type, and whether there are transactions and ids of one's choice."""
    statement = (await client.get("metadata")).json()
    (rest,) = statement["rest"]
    assert (statement["fhirVersion"], statement["kind"], statement["format"]) == ("4.0.1", "instance", ["json"])
    assert [one["code"] for one in rest["interaction"]] == ["transaction", "batch"]
    kind = next(one for one in rest["resource"] if one["type"] == "ImagingStudy")
    assert (kind["updateCreate"], kind["conditionalCreate"], kind["versioning"]) == (True, True, "versioned")
    found = {one["name"] for one in kind["searchParam"]}
    assert found == set("_id identifier subject patient modality endpoint interpreter performer started".split())
    assert "ImagingStudy:endpoint" in kind["searchInclude"]


async def test_capabilities_follow_the_options() -> None:
    """A server without transactions and ids of one's choice, of another version, says so."""
    client = Client(transactions=False, update_create=False, version="4.3.0")
    statement = (await client.get("metadata")).json()
    assert statement["fhirVersion"] == "4.3.0"
    assert [one["code"] for one in statement["rest"][0]["interaction"]] == ["batch"]
    assert {one["updateCreate"] for one in statement["rest"][0]["resource"]} == {False}
    await client.close()


async def test_create_chooses_the_id(client: Client) -> None:
    """201 with the place of the first version; an id and a version that the client sends are ignored."""
    response = await client.post("Patient", patient(id="mine", meta={"versionId": "9", "source": "urn:x"}))
    made = response.json()
    assert response.status_code == 201
    assert made["id"] != "mine"
    assert response.headers["location"] == f"{BASE}/Patient/{made['id']}/_history/1"
    assert response.headers["etag"] == 'W/"1"'
    assert (made["meta"]["versionId"], made["meta"]["source"]) == ("1", "urn:x")
    assert (await client.get(response.headers["location"])).json() == made


async def test_read_and_vread(client: Client) -> None:
    """The newest version, or a given one, each with its ETag; 404 for what never was."""
    await client.put("Patient/a", patient(id="a", active=True))
    await client.put("Patient/a", patient(id="a", active=False))
    newest, first = await client.get("Patient/a"), await client.get("Patient/a/_history/1")
    assert (newest.json()["active"], newest.headers["etag"]) == (False, 'W/"2"')
    assert (first.json()["active"], first.headers["etag"]) == (True, 'W/"1"')
    assert newest.headers["content-type"] == FHIR_JSON
    for missing in ("Patient/b", "Patient/a/_history/3", "Endpoint/a", "Medication/a"):
        assert client.outcome(await client.get(missing), 404) in ("not-found", "not-supported")
    assert client.outcome(await client.get("Patient/a_b"), 400) == "value"


async def test_what_was_deleted_is_gone(client: Client) -> None:
    """410 for the resource and the version that deleted it; what was before can still be read by its version."""
    await client.put("Patient/a", patient(id="a"))
    response = await client.delete("Patient/a")
    assert (response.status_code, response.content) == (204, b"")
    assert client.outcome(await client.get("Patient/a"), 410) == "deleted"
    assert client.outcome(await client.get("Patient/a/_history/2"), 410) == "deleted"
    assert (await client.get("Patient/a/_history/1")).status_code == 200
    assert (await client.delete("Patient/a")).status_code == 204
    assert (await client.delete("Patient/never")).status_code == 204
    assert client.store.versions("Patient", "a") == 2


async def test_what_is_referred_to_cannot_be_deleted(client: Client) -> None:
    """409 as long as something refers to it."""
    await client.put("Patient/a", patient(id="a"))
    await client.put("ImagingStudy/s", study(id="s", subject={"reference": "Patient/a"}))
    assert client.outcome(await client.delete("Patient/a"), 409) == "conflict"
    assert (await client.get("Patient/a")).status_code == 200
    await client.delete("ImagingStudy/s")
    assert (await client.delete("Patient/a")).status_code == 204


@pytest.mark.parametrize(
    "reference", ["Patient/b", "urn:uuid:1", "Patient?identifier=x", "#inside", "http://x/Patient/a"]
)
async def test_what_does_not_exist_cannot_be_referred_to(client: Client, reference: str) -> None:
    """422, and nothing is written; what a resource contains itself may be referred to."""
    subject = {"reference": reference}
    assert client.outcome(await client.put("ImagingStudy/s", study(id="s", subject=subject)), 422) == "not-found"
    assert client.store.total_versions() == 0
    inside = {"reference": "#p"}
    contained = study(id="s", subject=inside, contained=[patient(id="p")])
    assert (await client.put("ImagingStudy/s", contained)).status_code == 201


async def test_update_with_if_match(client: Client) -> None:
    """The version that there is passes; another, one of a resource that is not there, and a bare number are 412."""
    await client.put("Patient/a", patient(id="a"))
    assert (await client.put("Patient/a", patient(id="a"), {"If-Match": 'W/"1"'})).status_code == 200
    for path, etag in (("a", 'W/"1"'), ("a", "2"), ("a", '"2"'), ("b", 'W/"1"')):
        response = await client.put(f"Patient/{path}", patient(id=path), {"If-Match": etag})
        assert client.outcome(response, 412) == "conflict"
    assert client.outcome(await client.delete("Patient/a", {"If-Match": 'W/"1"'}), 412) == "conflict"
    assert (await client.delete("Patient/a", {"If-Match": 'W/"2"'})).status_code == 204
    assert client.outcome(await client.delete("Patient/a", {"If-Match": 'W/"3"'}), 412) == "conflict"


async def test_update_as_create(client: Client) -> None:
    """201 with a Location the first time, 200 without one later, 201 where it comes back from the dead."""
    for status, number in ((201, 1), (200, 2)):
        response = await client.put("Patient/a", patient(id="a"))
        assert response.status_code == status
        assert ("location" in response.headers) == (status == 201)
        assert response.headers["etag"] == f'W/"{number}"'
    await client.delete("Patient/a")
    response = await client.put("Patient/a", patient(id="a"))
    assert (response.status_code, response.headers["etag"]) == (201, 'W/"4"')


async def test_update_as_create_switched_off() -> None:
    """405 where the server chooses ids; what is there can be updated."""
    client = Client(update_create=False)
    assert client.outcome(await client.put("Patient/a", patient(id="a")), 405) == "not-supported"
    id = (await client.post("Patient", patient())).json()["id"]
    assert (await client.put(f"Patient/{id}", patient(id=id))).status_code == 200
    await client.close()


@pytest.mark.parametrize("body", [patient(), patient(id="b"), study(id="a"), [], {"id": "a"}])
async def test_update_of_something_else(client: Client, body: Any) -> None:
    """400 where the resource is not of the URL's id or type."""
    assert client.outcome(await client.put("Patient/a", body), 400) in ("value", "structure")
    assert client.store.total_versions() == 0


@pytest.mark.parametrize(
    "invalid", [{"gender": "F"}, {"birthDate": "01.02.1970"}, {"nonsense": 1}, {"active": "true"}, {"name": []}]
)
async def test_an_invalid_resource_is_not_stored(client: Client, invalid: Mapping[str, Any]) -> None:
    """422, with where it is; 400 where it is not JSON, and 415 where it does not say that it is."""
    response = await client.post("Patient", patient(**invalid))
    assert client.outcome(response, 422) in ("value", "structure", "code-invalid")
    assert response.json()["issue"][0]["expression"][0].startswith("Patient.")
    for body in (b"{", b"\xff", b""):
        assert client.outcome(await client.send("POST", "Patient", body, {"Content-Type": FHIR_JSON}), 400)
    for kind in ("text/plain", "application/xml", ""):
        assert client.outcome(await client.send("POST", "Patient", b"{}", {"Content-Type": kind}), 415)
    assert client.store.total_versions() == 0


async def test_prefer_minimal_leaves_the_body_out(client: Client) -> None:
    """The headers still tell the version; without a preference the resource comes back."""
    response = await client.put("Patient/a", patient(id="a"), {"Prefer": "return=minimal"})
    assert (response.status_code, response.content, response.headers["etag"]) == (201, b"", 'W/"1"')
    assert (await client.put("Patient/a", patient(id="a"))).json()["id"] == "a"


async def test_conditional_create_of_none_one_and_two(client: Client) -> None:
    """No match is created, one is answered as it is with 200, two are 412; nothing is written then."""
    condition = {"If-None-Exist": "identifier=urn:s%7Cx"}
    first = await client.post("Patient", identified("x"), condition)
    assert first.status_code == 201
    second = await client.post("Patient", identified("x") | {"active": True}, condition)
    assert (second.status_code, second.json()) == (200, first.json())
    assert "location" not in second.headers
    await client.post("Patient", identified("x"))
    assert client.outcome(await client.post("Patient", identified("x"), condition), 412) == "multiple-matches"
    assert client.store.total_versions() == 2


@pytest.mark.parametrize(
    "condition", ["identifier", "identifier=", "identifier=x&&", "nonsense=1", "?identifier=x", "%"]
)
async def test_conditional_create_on_no_condition(client: Client, condition: str) -> None:
    """A condition that is none is 400, and not ignored: a resource would be made twice."""
    assert client.outcome(await client.post("Patient", patient(), {"If-None-Exist": condition}), 400)
    assert client.store.total_versions() == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("urn:s|a", "a"),
        ("a", "a b"),
        ("urn:s|", "a c d e"),
        ("|a", ""),
        ("|n", "n"),
        ("urn:t|a,urn:s|c\\,d", "b c"),
        ("urn:s|c\\,d", "c"),
        ("urn:s|c\\|d", "d"),
        ("urn:s|c\\\\\\$d", "e"),
        ("urn:s|A", ""),
        ("urn:s|missing", ""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_search_by_identifier(client: Client, method: str, query: str, expected: str) -> None:
    """`system|value`, `value`, `system|`, `|value`; alternatives between commas; escapes; exactly, case included."""
    for id, system, value in (
        ("a", "urn:s", "a"),
        ("b", "urn:t", "a"),
        ("c", "urn:s", "c,d"),
        ("d", "urn:s", "c|d"),
        ("e", "urn:s", "c\\$d"),
    ):
        await client.put(f"Patient/{id}", identified(value, system) | {"id": id})
    await client.put("Patient/n", patient(id="n", identifier=[{"value": "n"}]))
    bundle = await client.search("Patient", {"identifier": query}, method)
    assert [one["resource"]["id"] for one in bundle.get("entry", [])] == expected.split()
    assert (bundle["type"], bundle["total"]) == ("searchset", len(expected.split()))


@pytest.mark.parametrize("query", ["", "|", "a,", "a|b|c", "a\\", "a\\b", "|\\"])
async def test_search_refuses_what_was_not_escaped(client: Client, query: str) -> None:
    """400: an empty alternative, a bar too many, a backslash that escapes nothing."""
    assert client.outcome(await client.get("Patient", {"identifier": query}), 400) == "value"


async def test_search_with_several_parameters(client: Client) -> None:
    """All must match; a reference by type and id, by id, or as `patient`; the modality is that of the series."""
    await client.put("Patient/p", patient(id="p"))
    for id, code in (("s", "CT"), ("t", "MR")):
        series = {"uid": f"1.{id}", "modality": {"system": "urn:dcm", "code": code}}
        await client.put(f"ImagingStudy/{id}", study(id=id, subject={"reference": "Patient/p"}, series=[series]))
    for query, expected in (
        ({"subject": "Patient/p"}, ["s", "t"]),
        ({"patient": "p", "modality": "urn:dcm|MR"}, ["t"]),
        ({"subject": "Patient/p", "_id": "s,t", "modality": "CT"}, ["s"]),
        ({"patient": "q"}, []),
    ):
        bundle = await client.search("ImagingStudy", query)
        assert [one["resource"]["id"] for one in bundle.get("entry", [])] == expected


@pytest.mark.parametrize(
    "query", [{"nonsense": "1"}, {"name": "x"}, {"identifier:of-type": "x"}, {"_count": "many"}, {"_summary": "text"}]
)
async def test_search_refuses_unknown_parameters(client: Client, query: dict[str, str]) -> None:
    """400 unless the client asks for leniency, which does not reach to unknown modifiers."""
    assert client.outcome(await client.get("Patient", query), 400) == "not-supported"
    lenient = await client.send("GET", "Patient", params=query, headers={"Prefer": "handling=lenient"})
    assert lenient.status_code == (400 if "identifier:of-type" in query else 200)


async def test_search_pages_by_next_links() -> None:
    """_count entries to a page and no more than the server's; the links lead to the end, and expire."""
    client = Client(page_size=3)
    for number in range(7):
        await client.put(f"Patient/{number}", patient(id=str(number)))
    for count, sizes in ((2, [2, 2, 2, 1]), (100, [3, 3, 1])):
        bundle = await client.search("Patient", {"_count": str(count)})
        pages = [bundle]
        while following := client.link(pages[-1], "next"):
            pages.append((await client.get(following)).json())
        assert [len(page["entry"]) for page in pages] == sizes
        assert {page["total"] for page in pages} == {7}
        ids = [one["resource"]["id"] for page in pages for one in page["entry"]]
        assert ids == [str(number) for number in range(7)]
        assert pages[0]["entry"][0]["fullUrl"] == f"{BASE}/Patient/0"
    assert client.outcome(await client.get(f"{BASE}?_getpages=x&_offset=0&_count=1"), 410) == "not-found"
    await client.close()


async def test_search_for_a_count(client: Client) -> None:
    """`_summary=count` and `_count=0` answer the total alone."""
    await client.put("Patient/a", patient(id="a"))
    for query in ({"_summary": "count"}, {"_count": "0"}):
        bundle = await client.search("Patient", query)
        assert (bundle["total"], "entry" in bundle) == (1, False)


async def test_search_by_post_is_a_form(client: Client) -> None:
    """What stands in the URL counts as well; 415 for another type of body, 400 for one that is not a form."""
    await client.put("Patient/a", identified("x") | {"id": "a"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, found in ((b"_id=a", 1), (b"_id=b", 0), (b"", 1)):
        response = await client.send("POST", "Patient/_search", body, form, {"identifier": "x"})
        assert response.json()["total"] == found
    for kind in ("application/json", FHIR_JSON, ""):
        response = await client.send("POST", "Patient/_search", b"_id=a", {"Content-Type": kind})
        assert client.outcome(response, 415) == "not-supported"
    for body in (b"\xff=1", b"_id"):
        assert client.outcome(await client.send("POST", "Patient/_search", body, form), 400) == "value"


async def test_only_json_is_served(client: Client) -> None:
    """406 for a client that wants XML alone; what is no interaction is 404 or 405, in an OperationOutcome."""
    for accept, status in (
        ("application/fhir+xml", 406),
        ("text/html, image/*;q=0.5", 406),
        ("text/html, application/fhir+json; fhirVersion=4.0", 200),
        ("application/*", 200),
    ):
        response = await client.send("GET", "metadata", headers={"Accept": accept})
        assert response.status_code == status
        assert response.json()["resourceType"] == ("CapabilityStatement" if status == 200 else "OperationOutcome")
    assert client.outcome(await client.send("PATCH", "Patient/a", b"[]"), 405) == "not-supported"
    assert client.outcome(await client.get("Patient/a/$everything"), 404) == "not-found"
    assert ("PATCH", "/fhir/Patient/a") in client.app.state.requests

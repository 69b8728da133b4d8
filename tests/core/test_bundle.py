"""Bundles: what a write becomes on the wire, escaped, guarded and in order."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.bundle import Method, Write, batches, escape, reference, token, transaction

PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "gender": "other"}
STUDY: dict[str, Any] = {"resourceType": "ImagingStudy", "id": "s1", "status": "available"}


def entry(write: Write) -> dict[str, Any]:
    """The only entry of a transaction."""
    (only,) = transaction([write])["entry"]
    return dict(only)


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("P1", "P1"),
        ("a,b", "a\\,b"),
        ("a|b", "a\\|b"),
        ("a$b", "a\\$b"),
        ("a\\b", "a\\\\b"),
        ("\\,|$", "\\\\\\,\\|\\$"),
        ("ÄÖ 山&=?#%+", "ÄÖ 山&=?#%+"),
    ],
)
def test_escape(value: str, escaped: str) -> None:
    """Comma, pipe, dollar and backslash mean something in a search, and are escaped; nothing else is."""
    assert escape(value) == escaped


def test_token_separates_system_and_value_by_the_only_bare_pipe() -> None:
    """A pipe in a system or value does not become the separator; an empty system is system-less."""
    assert token("urn:a|b", "1,2") == "urn:a\\|b|1\\,2"
    assert token("", "P1") == "|P1"


@given(st.text(), st.text())
def test_token_can_be_read_back(system: str, value: str) -> None:
    """Undoing the escapes gives what went in, whatever it was."""
    parts, current, characters = [], "", iter(token(system, value))
    for character in characters:
        if character == "|":
            parts.append(current)
            current = ""
        else:
            current += next(characters) if character == "\\" else character
    assert [*parts, current] == [system, value]


def test_put_has_the_id_and_no_full_url() -> None:
    """A PUT names its resource by type and id; the transaction is one Bundle of that type."""
    assert transaction([Write(Method.PUT, STUDY)]) == {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": STUDY, "request": {"method": "PUT", "url": "ImagingStudy/s1"}}],
    }


def test_put_and_delete_are_guarded_by_the_version() -> None:
    """What was read is written with If-Match, as a weak ETag; the version is opaque."""
    assert entry(Write(Method.PUT, STUDY, version="7"))["request"]["ifMatch"] == 'W/"7"'
    assert entry(Write(Method.DELETE, STUDY, version="a-b")) == {
        "request": {"method": "DELETE", "url": "ImagingStudy/s1", "ifMatch": 'W/"a-b"'}
    }


def test_what_servers_set_is_not_sent() -> None:
    """versionId and lastUpdated are the server's; the rest of meta is sent, and the resource is left as it was."""
    read = {**STUDY, "meta": {"versionId": "7", "lastUpdated": "2024-01-01T00:00:00Z", "source": "https://a.example"}}
    assert entry(Write(Method.PUT, read, version="7"))["resource"] == {**STUDY, "meta": {"source": "https://a.example"}}
    assert read["meta"]["versionId"] == "7"
    bare = {**STUDY, "meta": {"versionId": "7"}}
    assert entry(Write(Method.PUT, bare))["resource"] == STUDY


def test_conditional_create_is_encoded_as_a_form() -> None:
    """ifNoneExist is a query string: FHIR's escapes inside, form encoding around them."""
    write = Write(Method.POST, PATIENT, unless=("urn:a&b", "1,2 +|3%"))
    request = entry(write)["request"]
    assert request == {
        "method": "POST",
        "url": "Patient",
        "ifNoneExist": "identifier=urn%3Aa%26b%7C1%5C%2C2+%2B%5C%7C3%25",
    }
    assert parse_qs(request["ifNoneExist"]) == {"identifier": ["urn:a&b|1\\,2 +\\|3%"]}


def test_create_has_no_id_but_a_full_url() -> None:
    """The server chooses the id of a POST; others in the bundle refer to it by its fullUrl."""
    write = Write(Method.POST, PATIENT)
    made = entry(write)
    assert made["resource"] == {"resourceType": "Patient", "gender": "other"}
    assert made["request"] == {"method": "POST", "url": "Patient"}
    assert made["fullUrl"] == reference(write) == "urn:uuid:2a427b40-17d5-555d-b0c8-fbc95dc9e594"


def test_reference_to_a_put_is_its_url() -> None:
    """An id that we chose is known before the server answers."""
    assert reference(Write(Method.PUT, PATIENT)) == "Patient/p1"


def test_references_of_different_resources_differ() -> None:
    """A Patient and a study of the same id are not taken for each other."""
    both = [Write(Method.POST, PATIENT | {"id": "1"}), Write(Method.POST, STUDY | {"id": "1"})]
    assert len({reference(one) for one in both}) == 2


def test_batches_keep_the_order_of_the_writes() -> None:
    """One batch for each run of a type: a Patient that follows a study is not written before it."""
    new, following = PATIENT | {"id": "p2"}, PATIENT | {"id": "p3"}
    found = batches([Write(Method.PUT, one) for one in (PATIENT, new, STUDY, following)])
    assert [[one["resource"]["id"] for one in batch["entry"]] for batch in found] == [["p1", "p2"], ["s1"], ["p3"]]
    assert {one["type"] for one in found} == {"batch"}
    assert batches([]) == []


def test_batches_and_transaction_have_the_same_entries() -> None:
    """A server without transactions gets the same plan."""
    writes = [Write(Method.PUT, PATIENT), Write(Method.PUT, STUDY, version="3"), Write(Method.DELETE, STUDY)]
    assert [one for batch in batches(writes) for one in batch["entry"]] == transaction(writes)["entry"]

"""Laying what we map over what stands there: ours as desired, everything else byte for byte."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.overlay import leads_to, overlay, replace_ours, target_of

OWNED = frozenset({"description", "modality", "started", "performer"})
NOTE = {"url": "https://ris.example/note", "valueString": "seen"}
ABSENT = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}

texts = st.sampled_from(["CT", "MR", "Doe", ""])
codings = st.dictionaries(st.sampled_from(["system", "code", "display"]), texts, min_size=1)
marks = st.fixed_dictionaries(
    {}, optional={"id": texts, "extension": st.just([NOTE]), "_display": st.just({"extension": [NOTE]})}
)
marked = st.builds(lambda coding, mark: coding | mark, codings, marks)


def resources(coding: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Resources with some of our elements; those that a server holds have marks of others on them."""
    return st.fixed_dictionaries(
        {},
        optional={
            "description": texts,
            "modality": coding,
            "started": st.sampled_from(["2024-01-01", "2024-01-01T08:00:00Z", "2024-01-01T08:00:00+00:00"]),
            "performer": st.lists(coding, max_size=3),
        },
    )


foreign = st.fixed_dictionaries(
    {},
    optional={
        "id": texts,
        "extension": st.just([NOTE]),
        "contained": st.just([{"resourceType": "Practitioner"}]),
        "note": st.lists(st.fixed_dictionaries({"text": texts})),
        "_description": st.just({"extension": [NOTE]}),
        "status": st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    },
)
existing_resources = st.builds(lambda ours, theirs: ours | theirs, resources(marked), foreign)


@given(existing=existing_resources, desired=resources(codings))
def test_overlay_is_idempotent_and_leaves_the_rest(existing: Any, desired: Any) -> None:
    """A second time changes nothing; members that are not ours stay, those that are ours and not desired go."""
    before = copy.deepcopy(existing)
    after = overlay(existing, desired, OWNED)
    assert existing == before
    assert overlay(after, desired, OWNED) == after
    assert after.keys() == desired.keys() | (existing.keys() - OWNED)
    assert {name: after[name] for name in existing.keys() - OWNED} == {
        name: existing[name] for name in existing.keys() - OWNED
    }
    if "modality" in desired:
        told = {name: after["modality"].get(name) for name in desired["modality"]}
        assert told == desired["modality"]
        before_marks = {name: one for name, one in existing.get("modality", {}).items() if name in marks_of(existing)}
        assert {name: after["modality"].get(name) for name in before_marks} == before_marks


def marks_of(resource: Any) -> set[str]:
    """What others put on our modality."""
    return {"id", "extension", "_display"} & resource.get("modality", {}).keys()


@given(existing=existing_resources, desired=resources(codings))
def test_overlay_without_owned_members_takes_nothing_away(existing: Any, desired: Any) -> None:
    """In a resource of which we own nothing, what we do not know is no reason to erase what is there."""
    assert overlay(existing, desired, ()).keys() == existing.keys() | desired.keys()


@given(
    items=st.lists(
        st.fixed_dictionaries({"who": st.sampled_from(["we", "they"]), "what": texts}, optional={"id": texts})
    ),
    desired=st.lists(st.fixed_dictionaries({"who": st.just("we"), "what": texts}), max_size=3),
)
def test_replace_ours(items: list[Any], desired: list[Any]) -> None:
    """Ours are as many as desired and say what is desired; those of others follow in order; twice is once."""
    after = replace_ours(items, desired, lambda item: item["who"] == "we")
    assert [{"who": one["who"], "what": one["what"]} for one in after[: len(desired)]] == desired
    assert after[len(desired) :] == [one for one in items if one["who"] == "they"]
    assert replace_ours(after, desired, lambda item: item["who"] == "we") == after


@pytest.mark.parametrize("existing", [None, "text", {"a": 1}, 7])
def test_replace_ours_in_what_is_no_list(existing: Any) -> None:
    """Where no list stands, ours is the list."""
    assert replace_ours(existing, [{"value": "A1"}], lambda item: True) == [{"value": "A1"}]


def test_items_that_are_no_objects_are_not_ours() -> None:
    """Whatever a list holds, only objects can be ours."""
    assert replace_ours(["text", None], [], lambda item: True) == ["text", None]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # Said already, with more beside it that is not ours.
        ({"code": "CT", "extension": [NOTE]}, {"code": "CT"}, {"code": "CT", "extension": [NOTE]}),
        ({"code": "CT", "_code": {"id": "1"}}, {"code": "CT"}, {"code": "CT", "_code": {"id": "1"}}),
        # A member that we do not say is not there by us.
        ({"code": "CT", "display": "old"}, {"code": "CT"}, {"code": "CT"}),
        # Changed: the marks stay.
        (
            {"id": "m", "code": "CT", "extension": [NOTE], "_code": {"id": "1"}},
            {"code": "MR"},
            {"id": "m", "code": "MR", "extension": [NOTE], "_code": {"id": "1"}},
        ),
        # Our own extensions come and go.
        ({"extension": [ABSENT, NOTE]}, {"code": "CT"}, {"code": "CT", "extension": [NOTE]}),
        ({"extension": [ABSENT]}, {"code": "CT"}, {"code": "CT"}),
        ({"code": "CT", "extension": [NOTE]}, {"extension": [ABSENT]}, {"extension": [ABSENT, NOTE]}),
        ({"code": "CT", "extension": [ABSENT]}, {"code": "CT"}, {"code": "CT"}),
        # Of a list, items are known by what they say, wherever they stand.
        (
            [{"code": "CT", "id": "1"}, {"code": "MR", "id": "2"}],
            [{"code": "MR"}, {"code": "US"}],
            [{"code": "MR", "id": "2"}, {"code": "US"}],
        ),
        (["a", "b"], ["b"], ["b"]),
        # A change of type is a change.
        (1, True, True),
        ("1", 1, 1),
        ({"a": 1}, [1], [1]),
    ],
)
def test_what_a_member_becomes(old: Any, new: Any, expected: Any) -> None:
    """What stands there is kept where it says the same, and its marks where it does not."""
    after = overlay({"member": old}, {"member": new}, {"member"})["member"]
    assert after == expected
    assert type(after) is type(expected)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("2024-01-01T08:00:00+00:00", "2024-01-01T08:00:00Z", True),
        ("2024-01-01T08:00:00.000+09:00", "2024-01-01T08:00:00+09:00", True),
        ("2024-01-01T08:00:00+09:00", "2024-01-01T08:00:00+08:00", False),
        ("2024-01-01T08:00:00+09:00", "2023-12-31T23:00:00Z", False),
        ("2024-01-01T08:15:00+05:45", "2024-01-01T08:00:00+05:30", False),
        ("2024-01-01T08:00:00.5Z", "2024-01-01T08:00:00Z", False),
        ("2024-01-01", "2024-01-01T00:00:00Z", False),
        ("2024-01-01T99:00:00 no time", "2024-01-01T99:00:00 no time.", False),
    ],
)
def test_moments_as_servers_rewrite_them(old: str, new: str, same: bool) -> None:
    """A dateTime that a server wrote differently stays, if it is the same moment in the same zone."""
    after = overlay({"started": old}, {"started": new}, OWNED)
    assert after["started"] == (old if same else new)


BASE = "https://fhir.test/fhir"


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/1",
        "Patient/1/_history/3",
        f"{BASE}/Patient/1",
        f"{BASE}/Patient/1/_history/3",
        "HTTPS://FHIR.test:443/fhir/Patient/1",
    ],
)
@pytest.mark.parametrize("base", [BASE, f"{BASE}/", "https://fhir.test:443/fhir"])
def test_a_reference_leads_to_a_resource_of_the_server(reference: str, base: str) -> None:
    """Relative or absolute, to the resource or to one of its versions."""
    assert leads_to({"reference": reference, "display": "x"}, "Patient/1", base)


@pytest.mark.parametrize(
    "reference",
    [
        "https://other.test/fhir/Patient/1",
        "http://fhir.test/fhir/Patient/1",
        "https://fhir.test:8443/fhir/Patient/1",
        "https://fhir.test/Patient/1",
        "https://fhir.test/fhir2/Patient/1",
        "https://fhir.test/fhir/x/Patient/1",
        "https://fhir.test:port/fhir/Patient/1",
        "https://[/fhir/Patient/1",
        "fhir/Patient/1",
        "Patient/1?x=y",
        "Patient/11",
        "Patient/1/_history",
        "urn:uuid:1",
        "",
        7,
        None,
    ],
)
def test_a_reference_that_leads_elsewhere(reference: Any) -> None:
    """The same id on another server, or below another path, is somebody else."""
    assert not leads_to({"reference": reference}, "Patient/1", BASE)


@pytest.mark.parametrize("reference", ["Patient/..", "Patient/.", "Patient/../x", "Patient/a b", "Patient/a\n"])
def test_what_is_no_id_leads_nowhere(reference: str) -> None:
    """It would go into the path of a request."""
    assert target_of({"reference": reference}, BASE) == ""


@pytest.mark.parametrize("reference", [None, [], "Patient/1", {}, {"reference": ["Patient/1"]}])
def test_what_is_no_reference_leads_nowhere(reference: Any) -> None:
    """Neither to a resource nor to no resource."""
    assert target_of(reference, BASE) == ""
    assert not leads_to(reference, "", BASE)

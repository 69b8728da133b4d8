"""Law 6 on real metadata: whatever happens to a few places of it, what comes out is FHIR, or nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dicomcast.dicom.files import instance_of
from dicomcast.errors import Rejected
from dicomcast.http import parse_json
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.table import select
from dicomcast.model import Extra
from dicomcast.offline import bundle_of
from tests.golden_files import CASES
from tests.judge import problems
from tests.real_files import real_metadata

# Real files, and the made ones that have what no real one has.
SEEDS = [*real_metadata().values(), *(one for case in CASES.values() for one in case["metadata"])]
SITE = Rules(
    "urn:oid:2.25.1",
    accession_system="urn:oid:2.25.2",
    timezone=ZoneInfo("Asia/Tokyo"),
    extras=frozenset(Extra),
    compat=True,
)

Place = tuple[Any, Any]


def _places(node: Any) -> Iterator[Place]:
    """Every container of a JSON tree with each of its keys or positions."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


ODD = st.sampled_from(
    [
        *(None, True, 0, -1, 3.7, 2**70, 1e300, float("nan"), float("-inf"), "", " ", "\x00", "\u3000", "\ud800", "\\"),
        *(
            "a\\b",
            "^",
            "=",
            "^^^^^^^",
            "=山田",
            "a  b",
            "a\x0cb",
            "é" * 3000,
            "urn:oid:1.2",
            "1.2.03",
            "00000000",
            "M\\F",
        ),
        *([], {}, [None], [[]], [{}], {"Value": None}, {"vr": "PN"}, {"Alphabetic": None}, {"BulkDataURI": "x"}),
    ]
)
LEAVES = sorted(
    {str(place[0][place[1]]) for one in SEEDS for place in _places(one)}, key=lambda text: (len(text), text)
)
VALUES = ODD | st.sampled_from(LEAVES[:4000]) | st.text(max_size=8)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The metadata of an instance, changed in up to six places."""
    metadata = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        places = list(_places(metadata))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "replace", "drop", "double", "move", "wrap"])):
            case "replace":
                container[key] = copy.deepcopy(draw(VALUES))
            case "drop":
                del container[key]
            case "double" if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case "move":
                other, there = draw(st.sampled_from(places))
                container[key] = copy.deepcopy(other[there])
            case _:
                container[key] = [container[key]]
    return metadata


@given(changed=st.lists(mutated(), min_size=1, max_size=3))
def test_law_6_on_real_metadata(changed: list[dict[str, Any]]) -> None:
    """A valid Bundle, and issues that name a tag and a rule, with everything asked for that may be; no exception."""
    instances = []
    for metadata in changed:
        try:
            instances.append(instance_of(select(metadata)))
        except Rejected as refused:
            event(refused.reason)
    bundle, issues = bundle_of(instances, SITE, archive="https://dicom.example")
    assert problems(bundle) == []
    assert all(len(issue.tag) == 8 and issue.rule for some in issues.values() for issue in some)
    for issue in (one for some in issues.values() for one in some):
        event(issue.rule)


@pytest.mark.parametrize("depth", [500, 970, 1000, 1020])
def test_functional_groups_that_are_nested_beyond_all_bounds(depth: int) -> None:
    """The fast parser takes what Python cannot compare."""
    nested = b'{"Value":[' * depth + b"1" + b"]}" * depth
    frame = b'{"00209071":{"vr":"SQ","Value":[' + nested + b"]}}"
    page = b'{"52009230":{"vr":"SQ","Value":[' + frame + b"," + frame + b"]}}"
    try:
        metadata = parse_json(page)
    except ValueError:
        return
    assert isinstance(select(metadata), dict)

"""People of a study: logical references, since an archive is no source of Practitioner resources."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.mapping.people import people
from tests.metadata import code, dataset, metadata


@pytest.mark.parametrize("value", ["", "^^^^", {}, {"Alphabetic": ""}, []])
def test_nobody(value: Any) -> None:
    """An empty name refers to nobody."""
    assert people(dataset(OperatorsName=value), "OperatorsName", "OperatorIdentificationSequence") == []


def test_people_are_logical_references() -> None:
    """Name and identification of the same place make one reference; either may be missing."""
    one = dataset(
        OperatorsName=["Doe^Jane", "Roe^Rick"],
        OperatorIdentificationSequence=[
            metadata(PersonIdentificationCodeSequence=[code("4711", "SCT", "Jane")], InstitutionName="North"),
            metadata(PersonIdentificationCodeSequence=[code("0815", "L", "Rick")]),
            metadata(PersonIdentificationCodeSequence=[code("0001", "L", "nobody's name")]),
        ],
    )
    assert people(one, "OperatorsName", "OperatorIdentificationSequence") == [
        {
            "type": "Practitioner",
            "identifier": {"system": "http://snomed.info/sct", "value": "4711", "assigner": {"display": "North"}},
            "display": "Jane Doe",
        },
        {
            "type": "Practitioner",
            "identifier": {"value": "0815", "assigner": {"display": "L"}},
            "display": "Rick Roe",
        },
        {"type": "Practitioner", "identifier": {"value": "0001", "assigner": {"display": "L"}}},
    ]


@pytest.mark.parametrize("nobody", [None, "", {}])
def test_people_keep_their_places(nobody: Any) -> None:
    """An empty value between names does not give one person the identification of another."""
    one = dataset(
        OperatorsName=[nobody, "Roe^Rick"],
        OperatorIdentificationSequence=[
            metadata(PersonIdentificationCodeSequence=[code("4711", "L", "Jane")]),
            metadata(PersonIdentificationCodeSequence=[code("0815", "L", "Rick")]),
        ],
    )
    jane, rick = people(one, "OperatorsName", "OperatorIdentificationSequence")
    assert (jane["identifier"]["value"], "display" in jane) == ("4711", False)
    assert (rick["identifier"]["value"], rick["display"]) == ("0815", "Rick Roe")

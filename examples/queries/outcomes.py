"""For the team of a model: in which studies it recommended what, and what became of these patients.

A recommendation is an Observation whose `device` is the model and which was derived from an ImagingStudy.
GET Observation?device:Device.identifier=https://models.example.org|lung-2&_include=Observation:derived-from
GET Condition?patient=Patient/a,Patient/b&code=http://snomed.info/sct|254637007
"""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import date
from typing import Any

from clinical import day, saying, stands
from fhir import Resource, of_patients, refers, search, show, words


def recommendations(model: str) -> list[tuple[Resource, Resource]]:
    """(Observation, ImagingStudy), for each study that the model looked at."""
    found = search("Observation", {"device:Device.identifier": model, "_include": "Observation:derived-from"})
    studies = [one for one in found if one["resourceType"] == "ImagingStudy"]
    return [
        (said, study)
        for said in found
        if said["resourceType"] == "Observation" and stands(said)
        for study in studies
        if any(refers(one, study) for one in said.get("derivedFrom", []))
    ]


def outcomes(model: str, code: str) -> list[dict[str, Any]]:
    """A row for each recommendation, with the first diagnosis of that code since the study."""
    given = recommendations(model)
    query = {"code": code} if code else {}
    found = of_patients("Condition", (study["subject"]["reference"] for _, study in given), query)
    diagnoses = sorted(filter(stands, found), key=day)
    rows = []
    for said, study in sorted(given, key=lambda pair: pair[1].get("started", "")):
        started = study.get("started", "")[:10]
        later = (
            one
            for one in diagnoses
            if one["subject"]["reference"] == study["subject"]["reference"] and started and day(one) >= started
        )
        outcome = next(later, None)
        rows.append(
            {
                "started": started,
                "study": study.get("description", ""),
                "patient": study["subject"]["reference"],
                "recommended": recommended(said),
                "outcome": saying(outcome) if outcome else "-",
                "days": days(started, day(outcome)) if outcome else "-",
            }
        )
    return rows


def recommended(said: Resource) -> str:
    """What the Observation says, be it a concept, words or a number."""
    quantity = said.get("valueQuantity", {})
    number = f"{quantity.get('value', '')} {quantity.get('unit', '')}".strip()
    return words(said.get("valueCodeableConcept", {})) or said.get("valueString", "") or number


def days(first: str, last: str) -> int | str:
    """Between two dates, if both are whole."""
    if len(first) < 10 or len(last) < 10:
        return "?"
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="SYSTEM|VALUE, an identifier of the Device")
    parser.add_argument("--code", default="", help="the diagnosis that counts, as SYSTEM|CODE; any, if left out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = outcomes(arguments.model, arguments.code)
    show(found, as_json=arguments.json)
    if found and not arguments.json:
        print()
        studies = Counter(row["recommended"] for row in found)
        diagnosed = Counter(row["recommended"] for row in found if row["outcome"] != "-")
        show(
            [{"recommended": said, "studies": count, "diagnosed": diagnosed[said]} for said, count in studies.items()],
            as_json=False,
        )

"""For a radiologist who read scans from afar: what was found later in these patients.

GET ImagingStudy?interpreter:identifier=https://hospital.example.org/staff|R-7&started=ge2024-01-01
GET Condition?patient=Patient/a,Patient/b
GET DiagnosticReport?patient=Patient/a,Patient/b

With --write, each finding becomes a Communication to that radiologist, once, however often this runs:
POST Communication, If-None-Exist: identifier=urn:example:feedback|…
"""

from __future__ import annotations

import argparse

from clinical import day, is_about, saying, stands
from fhir import Refused, Resource, checked, client, name, of_patients, search, show

SYSTEM = "urn:example:feedback"


def read_by(who: str, role: str, since: str) -> list[Resource]:
    """The studies in which somebody is named as interpreter, or performer; by SYSTEM|VALUE, or by name as it stands."""
    query = {"started": f"ge{since}"}
    try:
        if "|" not in who:
            raise Refused("R4 has no search for the name in a reference")
        found = search("ImagingStudy", {**query, f"{role}:identifier": who})
    except Refused:  # not every server knows :identifier; then all studies of that time are looked through
        found = search("ImagingStudy", query)
    return [study for study in found if any(is_called(one, who) for one in people(study, role))]


def people(study: Resource, role: str) -> list[Resource]:
    """dicomcast names them by identifier and display, for an archive is no source of Practitioners."""
    performers = [one["actor"] for series in study.get("series", []) for one in series.get("performer", [])]
    return study.get("interpreter", []) if role == "interpreter" else performers


def is_called(person: Resource, who: str) -> bool:
    identifier = person.get("identifier", {})
    return who in (person.get("display"), f"{identifier.get('system', '')}|{identifier.get('value')}")


def found_later(studies: list[Resource]) -> list[tuple[Resource, Resource]]:
    """(study, finding), for diagnoses and reports that came after the study and are not its own report."""
    patients = {study["subject"]["reference"] for study in studies}
    found = [one for kind in ("Condition", "DiagnosticReport") for one in of_patients(kind, patients) if stands(one)]
    return [
        (study, one)
        for study in sorted((one for one in studies if "started" in one), key=lambda one: one["started"])
        for one in sorted(found, key=day)
        if one["subject"]["reference"] == study["subject"]["reference"]
        and study["started"][:10] < day(one)
        and not is_about(one, study)
    ]


def write(who: str, study: Resource, finding: Resource) -> None:
    """To be sent by whoever watches for Communications in preparation."""
    system, bar, value = who.partition("|")
    person = {"identifier": {"system": system, "value": value}} if bar else {"display": who}
    value = f"{study['id']}-{finding['id']}"
    communication = {
        "resourceType": "Communication",
        "identifier": [{"system": SYSTEM, "value": value}],
        "status": "preparation",
        "subject": study["subject"],
        "about": [{"reference": name(study)}, {"reference": name(finding)}],
        "recipient": [{"type": "Practitioner", **person}],
        "payload": [{"contentString": f"After your reading, on {day(finding)}: {saying(finding)}"}],
    }
    with client() as server:
        headers = {"If-None-Exist": f"identifier={SYSTEM}|{value}", "Content-Type": "application/fhir+json"}
        checked(server.post("Communication", json=communication, headers=headers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", help="SYSTEM|VALUE of the radiologist, or the name as it stands in the studies")
    parser.add_argument("--role", choices=["interpreter", "performer"], default="interpreter")
    parser.add_argument("--since", default="1900-01-01", help="the first day of the studies")
    parser.add_argument("--write", action="store_true", help="write Communications")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    pairs = found_later(read_by(arguments.who, arguments.role, arguments.since))
    for study, finding in pairs if arguments.write else []:
        write(arguments.who, study, finding)
    columns = [
        {
            "read": study["started"][:10],
            "study": study.get("description", ""),
            "patient": study["subject"]["reference"],
            "later": day(one),
            "kind": one["resourceType"],
            "finding": saying(one),
        }
        for study, one in pairs
    ]
    show(columns, as_json=arguments.json)

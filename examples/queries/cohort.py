"""CT studies, and their reports, of everyone over 45 with osteosarcoma.

GET Condition?code=http://snomed.info/sct|307576001&patient.birthdate=lt1981-11-24&_include=Condition:patient
GET ImagingStudy?patient=Patient/a,Patient/b&modality=CT
GET DiagnosticReport?patient=Patient/a,Patient/b
"""

from __future__ import annotations

import argparse
from datetime import date

from clinical import is_about, saying, stands
from fhir import name, of_patients, search, show

OSTEOSARCOMA = "http://snomed.info/sct|307576001"  # Osteosarcoma of bone (disorder)


def years_ago(years: int) -> date:
    """This day, so many years ago; before 29 February of a year that has none is the 28th."""
    today = date.today()
    leap_day = (today.month, today.day) == (2, 29)
    return today.replace(year=today.year - years, day=28 if leap_day else today.day)


def cohort(code: str, over: int, modality: str) -> list[dict[str, str]]:
    """A row for each study."""
    query = {"code": code, "patient.birthdate": f"lt{years_ago(over)}", "_include": "Condition:patient"}
    found = search("Condition", query)
    having = {one["subject"]["reference"] for one in found if one["resourceType"] == "Condition" and stands(one)}
    patients = {name(one): one for one in found if one["resourceType"] == "Patient" and name(one) in having}
    studies = of_patients("ImagingStudy", patients, {"modality": modality})
    reports = [one for one in of_patients("DiagnosticReport", patients) if stands(one)]
    return [
        {
            "patient": study["subject"]["reference"],
            "born": patients[study["subject"]["reference"]].get("birthDate", ""),
            "started": study.get("started", "")[:10],
            "study": study.get("description", ""),
            "report": "; ".join(saying(one) for one in reports if is_about(one, study)) or "-",
        }
        for study in sorted(studies, key=lambda one: (one["subject"]["reference"], one.get("started", "")))
        if study["subject"]["reference"] in patients
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", default=OSTEOSARCOMA, help="the disease, as SYSTEM|CODE; several with commas")
    parser.add_argument("--over", type=int, default=45, help="older than so many years")
    parser.add_argument("--modality", default="CT")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(cohort(arguments.code, arguments.over, arguments.modality), as_json=arguments.json)

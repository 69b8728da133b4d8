"""`examples/queries`: what each script prints of a hospital that was cast, and to which others added findings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.examples.variables import EXAMPLES
from tests.harness import SYSTEM
from tests.servers.embedded import Embedded, embedded_servers

FOLDER = EXAMPLES / "queries"
SNOMED = "http://snomed.info/sct"
STAFF, RADIOLOGIST = "urn:oid:2.25.9", "R-7"
MODEL = "urn:example:models|bone-2"

pytestmark = pytest.mark.long


class Front:
    """A front that may know no modifier `:identifier`, as many servers do not; it keeps the addresses."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.knows, self.addresses = app, True, set[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse such a search with 400."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.addresses.add(f"{scope['path']}?{scope['query_string'].decode()}")
        body = await Request(scope, receive).body()
        if not self.knows and b"%3Aidentifier=" in body:
            return await JSONResponse({"resourceType": "OperationOutcome"}, 400)(scope, receive, send)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self.app(scope, again, send)


class Hospital:
    """Everything that was cast and added, and the scripts to ask for it."""

    def __init__(self, servers: Embedded, front: Front) -> None:
        self.servers, self.front = servers, front

    def add(self, kind: str, **elements: Any) -> dict[str, str]:
        """A resource of others, by HTTP; a reference to it."""
        answer = httpx.post(f"{self.servers.fhir_url}/{kind}", json={"resourceType": kind, **elements})
        assert answer.status_code == 201, answer.text
        return {"reference": f"{kind}/{answer.json()['id']}"}

    def patient(self, id: str) -> dict[str, str]:
        found = next(one for one in self.servers.store.resources("Patient") if one["identifier"][0]["value"] == id)
        return {"reference": f"Patient/{found['id']}"}

    def study(self, uid: str) -> dict[str, str]:
        return {"reference": f"ImagingStudy/{self.servers.studies()[uid]['id']}"}

    def run(self, script: str, *arguments: str) -> str:
        """What a script prints."""
        environ = {"FHIR_URL": self.servers.fhir_url}
        command = [sys.executable, "-W", "error", str(FOLDER / script), *arguments]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def rows(self, script: str, *arguments: str) -> list[dict[str, Any]]:
        """The same for programs."""
        found: list[dict[str, Any]] = json.loads(self.run(script, *arguments, "--json"))
        return found


def text(*values: str) -> dict[str, Any]:
    return {"vr": "LO", "Value": list(values)}


def code(value: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": SNOMED, "code": value, "display": display}]}


# Who read a scan (PS3.3 §10.1): a code in the scheme of the hospital's staff.
READER = {
    "NameOfPhysiciansReadingStudy": "Roe^Rick",
    "PhysiciansReadingStudyIdentificationSequence": {
        "00401101": {"vr": "SQ", "Value": [{"00080100": text(RADIOLOGIST), "00080102": text("99STAFF")}]}
    },
    "CodingSchemeIdentificationSequence": {"00080102": text("99STAFF"), "0008010C": text("2.25.9")},
}
OSTEOSARCOMA = code("307576001", "Osteosarcoma of bone")


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """An old and a young patient with osteosarcoma, an old one without, and one study of the old one that was an MR."""
    fronts: list[Front] = []

    def front(app: ASGIApp) -> Front:
        fronts.append(Front(app))
        return fronts[0]

    with embedded_servers(tmp_path, front=front) as servers:
        old = {"PatientID": "OLD", "PatientBirthDate": "19600102"}
        servers.put("1.2.1", **old, **READER, StudyDate="20240102", StudyDescription="Femur")
        servers.put("1.2.2", **old, StudyDate="20240301", Modality="MR", StudyDescription="Knee")
        servers.put("1.2.3", PatientID="YOUNG", PatientBirthDate="20100102", StudyDate="20240102")
        servers.put("1.2.4", PatientID="WELL", PatientBirthDate="19600102", StudyDate="20240102")
        servers.run("run", "--once", code=0)
        made = Hospital(servers, fronts[0])
        for patient in ("OLD", "YOUNG"):
            made.add("Condition", subject=made.patient(patient), code=OSTEOSARCOMA, recordedDate="2024-02-01")
        report = {"status": "final", "code": {"text": "Report"}, "subject": made.patient("OLD")}
        made.add("DiagnosticReport", **report, imagingStudy=[made.study("1.2.1")], conclusion="A lesion")
        yield made


def test_cohort(hospital: Hospital) -> None:
    """CT studies and reports of everyone over 45 with osteosarcoma: one of the four studies."""
    (row,) = hospital.rows("cohort.py")
    assert row == {
        "patient": hospital.patient("OLD")["reference"],
        "born": "1960-01-02",
        "started": "2024-01-02",
        "study": "Femur",
        "report": "A lesion",
    }
    assert "A lesion" in hospital.run("cohort.py")
    assert hospital.run("cohort.py", "--code", f"{SNOMED}|1") == "nothing found\n"


def test_timeline(hospital: Hospital) -> None:
    """Both studies of a patient, oldest first, with the address of each series."""
    first, second = hospital.rows("timeline.py", f"{SYSTEM}|OLD")
    assert (first["modality"], first["images"], second["study"]) == ("CT", 1, "Knee")
    assert first["link"] == f"{hospital.servers.dicom_url}/v1/studies/1.2.1/series/1.2.1.1"
    assert not any("OLD" in address for address in hospital.front.addresses)


@pytest.mark.parametrize("knows", [True, False], ids=["identifier", "no-identifier"])
def test_feedback(hospital: Hospital, knows: bool) -> None:
    """What was found after the reading, also on a server that cannot search for an identifier in a reference; and one
    Communication of it, however often it is written."""
    hospital.front.knows = knows
    for who in (f"{STAFF}|{RADIOLOGIST}", "Rick Roe"):
        (row,) = hospital.rows("feedback.py", who, "--write")
        assert (row["later"], row["kind"], row["finding"]) == ("2024-02-01", "Condition", "Osteosarcoma of bone")
    (said,) = hospital.servers.store.resources("Communication")
    assert said["payload"] == [{"contentString": "After your reading, on 2024-02-01: Osteosarcoma of bone"}]
    assert hospital.run("feedback.py", "Nobody") == "nothing found\n"


def test_outcomes(hospital: Hospital) -> None:
    """What a model recommended, and what became of it."""
    system, value = MODEL.split("|")
    device = hospital.add("Device", identifier=[{"system": system, "value": value}])
    for uid, patient, said in (("1.2.1", "OLD", "biopsy"), ("1.2.4", "WELL", "no action")):
        hospital.add(
            "Observation",
            status="final",
            code={"text": "Recommendation"},
            subject=hospital.patient(patient),
            device=device,
            derivedFrom=[hospital.study(uid)],
            valueString=said,
        )
    rows = {one["recommended"]: one for one in hospital.rows("outcomes.py", MODEL)}
    assert (rows["biopsy"]["outcome"], rows["biopsy"]["days"]) == ("Osteosarcoma of bone", 30)
    assert (rows["no action"]["outcome"], rows["no action"]["days"]) == ("-", "-")
    assert re.search(r"biopsy +1 +1\n", hospital.run("outcomes.py", MODEL))


def test_without_a_server() -> None:
    """It says what is missing."""
    ended = subprocess.run(
        [sys.executable, str(FOLDER / "cohort.py")], env={}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "FHIR_URL" in ended.stderr and "Traceback" not in ended.stderr

"""No patient in the logs: whatever happens, no name, id, date of birth, accession number or free text gets out."""

from __future__ import annotations

import json
import signal
from io import BytesIO
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from dicomcast import cli
from tests.faults import Fault, answer, outcome, refuse
from tests.harness import CT, SYSTEM, dataset
from tests.servers import free_port
from tests.servers.embedded import Embedded, until

# All that is told of this patient has the syllable, or is one of the forms of the date of birth.
SYLLABLE = "xqz"
BIRTH_DATES = ("19170303", "1917-03-03")
PATIENT = {
    "PatientName": "Xqzfamily^Xqzgiven",
    "PatientID": "XQZ-4711",
    "IssuerOfPatientID": "XQZ-HOSPITAL",
    "PatientBirthDate": "19170303",
    "AccessionNumber": "XQZ-ACCESSION",
    "StudyDescription": "Xqz head, after the accident",
    "SeriesDescription": "Xqz axial",
    "ReferringPhysicianName": "Xqzdoctor^Ann",
}
GOSSIP = f"Patient Xqzfamily, Xqzgiven ({PATIENT['PatientID']}), born 1917-03-03, has no {PATIENT['AccessionNumber']}"
OUTCOME = outcome("invalid", text=GOSSIP, expression="Bundle.entry[0].resource.where(identifier.value='XQZ-4711')")
PAGE = answer(f"<html><body>{GOSSIP}</body></html>".encode(), kind="text/html")
NOWHERE = {f"DICOMCAST_{name}": "" for name in ("DICOM__URL", "FHIR__URL", "PATIENT__SYSTEM")}
TRANSACTION = "POST /fhir/?$"


def discreet(text: str | bytes) -> bool:
    """Whether nothing of the patient is in a text."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return SYLLABLE not in text.lower() and not any(date in text for date in BIRTH_DATES)


def put(embedded: Embedded, study: str, **attributes: Any) -> None:
    """Store an instance of the patient."""
    embedded.put(study, **PATIENT | attributes)


def everything_goes_wrong(embedded: Embedded) -> dict[str, str]:
    """A feed in which each study fails in its own way; returns the reasons for which they are parked."""
    refusals = {
        "1.2.10": refuse(422, body=OUTCOME),
        "1.2.11": refuse(412, body=OUTCOME),
        "1.2.12": refuse(500, body=OUTCOME),
        "1.2.13": refuse(400, body=outcome(GOSSIP, text=GOSSIP, expression=GOSSIP)),
        "1.2.14": PAGE,
        "1.2.15": Fault(302, headers=(("location", "/login?patient=XQZ-4711&name=Xqzfamily"),)),
    }
    for study, fault in refusals.items():
        put(embedded, study)
        embedded.fhir.always(fault, on=TRANSACTION, having=f'urn:oid:{study}"')
    datasets: dict[str, Any] = {
        "1.2.20": GOSSIP.encode(),
        "1.2.21": [GOSSIP],
        "1.2.22": [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Xqzfamily"}]}}],
        "1.2.23": [dataset("1.2.99", "1.2.99.1", "1.2.99.1.1", **PATIENT)],
    }
    for study, body in datasets.items():
        put(embedded, study)
        embedded.dicom.always(answer(body), on=f"studies/{study}/.*metadata")
    put(embedded, "1.2.24")
    embedded.dicom.always(refuse(400, body=GOSSIP.encode()), on="studies/1.2.24/.*metadata")
    put(embedded, "1.2.30", PatientBirthDate="Xqz, in spring")
    put(embedded, "1.2.31", PatientID="XQZ-TWICE")
    put(embedded, "1.2.32")
    put(embedded, "1.2.33")
    for name in ("one", "two"):
        embedded.store.put(
            {"resourceType": "Patient", "id": name, "identifier": [{"system": SYSTEM, "value": "XQZ-TWICE"}]}
        )
        embedded.store.put(
            {
                "resourceType": "ImagingStudy",
                "id": name,
                "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.32"}],
                "status": "available",
                "subject": {"reference": "Patient/one"},
            }
        )
    # An EHR may use record numbers as ids.
    merged = {"type": "replaced-by", "other": {"reference": "Patient/XQZ-4711"}}
    identifier = [{"system": SYSTEM, "value": "XQZ-MERGED"}]
    embedded.store.put({"resourceType": "Patient", "id": "old", "identifier": identifier, "link": [merged]})
    put(embedded, "1.2.34", PatientID="XQZ-MERGED")
    embedded.fhir.always(refuse(422, body=OUTCOME), on="POST /fhir/Patient/_search", having="_id=XQZ-4711")
    put(embedded, "1.2.40")  # passes, so that what is wrong with the others is theirs
    rows = json.loads(json.dumps(embedded.archive.page_v1(limit=100)))
    for row in rows:
        if row["studyInstanceUid"] in (*datasets, "1.2.24"):
            del row["metadata"]
        if row["studyInstanceUid"] == "1.2.33":
            row["action"], row["state"] = GOSSIP, GOSSIP
    embedded.dicom.script(answer(rows), on=r"changefeed\?")
    return {
        "1.2.10": "refused",
        "1.2.11": "conflict",
        "1.2.12": "no-usable-answer",
        "1.2.13": "refused",
        "1.2.14": "no-usable-answer",
        "1.2.15": "no-usable-answer",
        "1.2.20": "metadata-not-json",
        "1.2.21": "metadata-not-json",
        "1.2.22": "metadata-without-uids",
        "1.2.23": "metadata-mismatch",
        "1.2.24": "refused",
        "1.2.30": "invalid-value",
        "1.2.31": "multiple-match",
        "1.2.32": "multiple-match",
        "1.2.33": "entry-not-understood",
        "1.2.34": "refused",
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_day_on_which_everything_goes_wrong(embedded: Embedded, form: str) -> None:
    """Logs at level debug, health port, state store, URLs, `parked` and `status` tell why, and never of whom."""
    put(embedded, "1.2.1")
    reasons = everything_goes_wrong(embedded)
    port = free_port()
    settings = {
        "LOG__LEVEL": "debug",
        "LOG__FORMAT": form,
        "HEALTH__PORT": str(port),
        "HEALTH__ADDRESS": "127.0.0.1",
        "MAPPING__STRICT": "true",
        "PATIENT__ISSUERS": json.dumps({PATIENT["IssuerOfPatientID"]: SYSTEM}),  # strict refuses one that is not known
        "WORKER__POLL_INTERVAL": "1s",
    }
    running = embedded.start("run", **settings)
    until("the feed is settled", lambda: embedded.cursor[0] == len(reasons) + 2)
    assert set(embedded.studies()) == {"1.2.1", "1.2.32", "1.2.40"}
    told = [health(port)]
    embedded.fhir.always(refuse(503, retry_after="1", body=OUTCOME))
    embedded.dicom.always(refuse(401, body=GOSSIP.encode()))
    until("the worker is blocked", lambda: "worker.blocked" in running.said)
    told.append(health(port))
    assert '"phase": "blocked"' in told[1]
    assert 'dicomcast_issues_total{rule="' in told[0]
    status = embedded.run("status", "--json", **settings, code=0)
    assert status.json["worker_here"] == "blocked" and status.json["worker_reason"]
    running.signal(signal.SIGTERM)
    ended = running.finish()
    assert ended.code == 0
    assert "study.cast" in ended.err

    listed = embedded.run("parked", "list", "--json", **settings, code=0)
    assert {row["study"]: row["reason"] for row in listed.json} == reasons
    assert [row["codes"] for row in listed.json if row["study"] == "1.2.10"] == [["invalid Bundle.entry[0].resource"]]
    shown = embedded.run("parked", "show", **settings, code=0)
    for text in (*told, status.out, status.err, ended.out, ended.err, listed.out, listed.err, shown.out, shown.err):
        assert discreet(text), text
    for file in embedded.folder.glob("state.db*"):
        assert discreet(file.read_bytes()), file
    for request in embedded.dicom.requests + embedded.fhir.requests:
        assert discreet(request), request
    for kind in ("Patient", "ImagingStudy", "Endpoint"):
        assert all(discreet(one["meta"].get("source", "")) for one in embedded.store.resources(kind))


def health(port: int) -> str:
    """All that the health port tells."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        answers = [client.get(path) for path in ("/livez", "/readyz", "/metrics", "/")]
    assert "dicomcast_parked" in answers[2].text and "<h1" in answers[3].text
    return "\n".join(f"{one.headers}{one.text}" for one in answers)


LAST_WORDS = {
    75: refuse(503, body=OUTCOME),
    77: refuse(403, body=OUTCOME),
    78: Fault(302, headers=(("location", "https://login.example/?patient=XQZ-4711"),)),
}


@pytest.mark.parametrize("code", LAST_WORDS)
def test_last_words(embedded: Embedded, code: int) -> None:
    """What a run says when it gives up names the peer and the setting, not what the peer said of the patient."""
    put(embedded, "1.2.3")
    embedded.fhir.always(LAST_WORDS[code])
    ended = embedded.run("run", "--once", LOG__LEVEL="debug", code=code)
    assert "fhir" in ended.err.splitlines()[-1].lower()
    assert discreet(ended.err)


def test_pages_that_are_none(embedded: Embedded) -> None:
    """A page of the feed that cannot be read is not quoted."""
    put(embedded, "1.2.3")
    embedded.dicom.always(answer(b'[{"sequence": 1, "metadata": "' + GOSSIP.encode()), on=r"changefeed\?")
    ended = embedded.run("run", "--once", LOG__LEVEL="debug", code=75)
    assert discreet(ended.err)
    ended = embedded.run("replay", "--replay-study", "1.2.3", LOG__LEVEL="debug", code=0)
    assert ended.err.endswith("dicomcast: 1 created; 0 parked now\n")
    assert discreet(ended.err)


def test_wrong_settings(embedded: Embedded) -> None:
    """A value that was pasted into the wrong setting is not repeated."""
    wrong = dict.fromkeys(("WORKER__WINDOW", "DICOM__TIMEOUT", "PATIENT__MODE", "PATIENT__SYSTEM", "FHIR__URL"), GOSSIP)
    for command in (["run", "--once"], ["config"]):
        ended = embedded.run(*command, **wrong, code=78)
        assert len(ended.err.splitlines()) == len(wrong)
        assert discreet(ended.out + ended.err)


@pytest.mark.parametrize(
    "typed", [*PATIENT.values(), GOSSIP, "4711", "1.2.3\nXqz", "1.2.", "1..2", "１.２", "1.2" * 22, ""]
)
@pytest.mark.parametrize(
    "command",
    [
        ["run", "--replay-study"],
        ["replay", "--replay-study", "1.2.3", "--replay-study"],
        ["parked", "list", "--study"],
        ["parked", "show", "--study"],
        ["parked", "retry", "--study"],
        ["parked", "drop", "--study"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_is_typed_for_a_uid(command: list[str], typed: str) -> None:
    """A name or a number in the place of a UID ends the command before it is asked, logged or stored anywhere."""
    ended = CliRunner().invoke(cli.app, [*command, typed], env=NOWHERE)
    assert ended.exit_code == 2, "it has to end before the settings are read, which would be 78"
    assert "write a StudyInstanceUID: numbers joined by dots" in " ".join(ended.stderr.replace("│", " ").split())
    assert ended.stdout == ""
    assert discreet(ended.output)
    assert "4711" not in ended.output


def test_a_typed_name_reaches_nobody(embedded: Embedded) -> None:
    """Neither the archive, nor the log, nor the state file; a name with a blank that was not quoted neither."""
    for arguments in (["--replay-study", "Xqzfamily^Xqzgiven"], ["--replay-study", "Xqzfamily,", "Xqzgiven"]):
        ended = embedded.run("replay", *arguments, LOG__LEVEL="debug", code=2)
        assert discreet(ended.out + ended.err)
    assert embedded.dicom.requests + embedded.fhir.requests == []
    assert not embedded.state.exists()


def test_map(embedded: Embedded) -> None:
    """stdout is the data; what stderr tells of files, broken or odd ones, names attributes and no values."""
    odd = pydicom.Dataset()
    odd.file_meta = FileMetaDataset()
    odd.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    odd.SOPClassUID, odd.StudyInstanceUID, odd.SeriesInstanceUID, odd.SOPInstanceUID = CT, "1.2.3", "1.2.4", "1.2.5"
    with pydicom.config.disable_value_validation():
        odd.add_new("PatientName", "PN", PATIENT["PatientName"])
        odd.add_new("PatientBirthDate", "DA", "Xqz 1917-03-03")
        odd.add_new("SeriesNumber", "LO", "Xqz the first")
        odd.add_new("PatientSize", "LO", PATIENT["StudyDescription"])
    file = BytesIO()
    odd.save_as(file, enforce_file_format=True)
    whole = file.getvalue()
    mistyped = whole.replace(b"\x20\x00\x11\x00LO", b"\x20\x00\x11\x00IS").replace(
        b"\x10\x00\x20\x10LO", b"\x10\x00\x20\x10DS"
    )
    assert mistyped.count(b"IS") > whole.count(b"IS")
    (embedded.folder / "odd.dcm").write_bytes(mistyped)
    (embedded.folder / "cut.dcm").write_bytes(whole[: whole.index(b"Xqzfamily") + 12])
    (embedded.folder / "cut.json").write_bytes(b'{"00100010": {"vr": "PN", "Value": "' + GOSSIP.encode())
    (embedded.folder / "text.txt").write_text(GOSSIP)
    for names in (["odd.dcm"], ["cut.dcm", "cut.json", "text.txt"]):
        ended = embedded.run("map", "--issues", *names)
        assert ended.json["resourceType"] == "Bundle"
        assert ended.err != ""
        assert discreet(ended.err), ended.err

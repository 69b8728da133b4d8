"""`run` and `replay` as an operator sees them: exit codes, sentences, what is written and what is not."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.datadict import tag_for_keyword

from tests.faults import answer
from tests.harness import dataset
from tests.servers.embedded import Embedded, embedded_servers, until

FHIR_JSON = {"Content-Type": "application/fhir+json"}


def bundles(out: str) -> list[dict[str, Any]]:
    """What --dry-run prints: a Bundle a line."""
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--max-duration", "soon"], "write a duration such as 30s"),
        (["run", "--replay-to", "5"], "--replay-to needs a --replay-from"),
        (["replay"], "say what to replay"),
        (["parked", "drop"], "say which: --all, or --study UID, or --reason SLUG"),
        (["parked", "retry", "--all", "--study", "1.2.3"], "say which: --all, or --study UID, or --reason SLUG"),
    ],
)
def test_usage_errors(embedded: Embedded, arguments: list[str], said: str) -> None:
    """What cannot be meant ends with 2 and what to write instead, before anything is done."""
    ended = embedded.run(*arguments, code=2)
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""
    assert embedded.dicom.requests == []
    assert not embedded.state.exists()


def test_wrong_settings(embedded: Embedded) -> None:
    """All that is wrong with the settings is told at once, with the right names, and ends with 78."""
    ended = embedded.run("run", "--once", DICOM__URL="", FHIR__ULR="http://x.example", WORKER__WINDOW="many", code=78)
    said = ended.err.splitlines()
    assert any("DICOMCAST_FHIR__ULR" in line and "DICOMCAST_FHIR__URL" in line for line in said)
    assert any("DICOMCAST_DICOM__URL" in line for line in said)
    assert any("DICOMCAST_WORKER__WINDOW" in line for line in said)
    assert "many" not in ended.err
    assert not embedded.state.exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [("none/state.db", "does its folder exist"), ("damaged.db", "this is no SQLite file, or a damaged one")],
)
def test_state_store_that_cannot_be_used(embedded: Embedded, file: str, said: str) -> None:
    """Without its state store a run writes nothing, names the setting and says what to do: exit 75."""
    (embedded.folder / "damaged.db").write_bytes(b"This is a text and no database. " * 400)
    embedded.put("1.2.3")
    ended = embedded.run("run", "--once", STATE__URL=f"sqlite:///{embedded.folder / file}", code=75)
    assert ended.err.startswith("dicomcast: DICOMCAST_STATE__URL: ")
    assert said in ended.err
    assert embedded.store.total_versions() == 0


def test_strict_tells_of_what_is_parked(embedded: Embedded) -> None:
    """A parked study does not fail a run, but --strict ends it with 1; the other studies are cast all the same."""
    embedded.put("1.2.3")
    embedded.put("1.2.4")
    embedded.archive.poison("1.2.3", "1.2.3.1", "1.2.3.1.1", "corrupt")
    ended = embedded.run("run", "--once", "--strict", code=1)
    assert (ended.out, ended.err.splitlines()[-1]) == ("", "dicomcast: 1 created, 1 parked; 1 parked now")
    ended = embedded.run("run", "--once", code=0)
    assert (ended.out, ended.err.splitlines()[-1]) == ("", "dicomcast: nothing new; 1 parked now")
    assert set(embedded.studies()) == {"1.2.4"}


def _tampered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A page of the feed in which each study but the last has something wrong with it."""
    tag = f"{tag_for_keyword('SOPInstanceUID'):08X}"
    by_study = {row["studyInstanceUid"]: row for row in rows}
    by_study["1.2.1"]["metadata"][tag]["Value"] = ["9.9.9"]
    by_study["1.2.2"]["action"] = "Rotate"
    del by_study["1.2.3"]["seriesInstanceUid"]
    for study in ("1.2.4", "1.2.5", "1.2.6", "1.2.7"):
        del by_study[study]["metadata"]
    by_study["1.2.8"]["metadata"] = "not an object, so it is read by WADO-RS"
    return rows


def test_metadata_that_cannot_be_used(embedded: Embedded) -> None:
    """Each bad entry or dataset parks its own study with a reason that a person understands; the rest is cast."""
    for number in range(1, 10):
        embedded.put(f"1.2.{number}")
    rows = json.loads(json.dumps(embedded.archive.page_v1(limit=100)))
    embedded.dicom.script(answer(_tampered(rows)), on=r"changefeed\?")
    without_uids = {name: value for name, value in dataset("1.2.6", "x", "y").items() if not name.startswith("0020")}
    for study, body in {
        "1.2.4": b"<html>",
        "1.2.5": b'"text"',
        "1.2.6": [without_uids],
        "1.2.7": [dataset("1.2.9", "1.2.9.1", "1.2.9.1.1")],
    }.items():
        embedded.dicom.always(answer(body), on=f"studies/{study}/.*metadata")
    ended = embedded.run("run", "--once", "--strict", code=1)
    assert ended.err.endswith("dicomcast: 2 created, 7 parked; 7 parked now\n")

    parked = {row["study"]: row for row in embedded.run("parked", "list", "--json", code=0).json}
    assert {study: (row["reason"], row["message"]) for study, row in parked.items()} == {
        "1.2.1": (
            "entry-not-understood",
            "entry 1 of the change feed carries metadata of another instance: its SOPInstanceUID is not the entry's",
        ),
        "1.2.2": ("entry-not-understood", "entry 2 of the change feed has an action or state that is not known"),
        "1.2.3": ("entry-not-understood", "entry 3 of the change feed names no study, series or instance"),
        "1.2.4": ("metadata-not-json", "the metadata of study 1.2.4 is not DICOM JSON"),
        "1.2.5": ("metadata-not-json", "the metadata of study 1.2.5 is not DICOM JSON"),
        "1.2.6": ("metadata-without-uids", "the metadata of study 1.2.6 lacks UIDs"),
        "1.2.7": ("metadata-mismatch", "the metadata of study 1.2.7 is of another study"),
    }
    assert {study: row["first_sequence"] for study, row in parked.items()} == {f"1.2.{n}": n for n in range(1, 8)}

    embedded.dicom.heal()
    ended = embedded.run("parked", "retry", "--all", code=0)
    assert ended.out == "7 created\n"
    assert set(embedded.studies()) == {f"1.2.{number}" for number in range(1, 10)}


def test_a_page_that_is_no_page(embedded: Embedded) -> None:
    """A page that is cut short stops the feed where it is, with a sentence; the next run goes on from there."""
    embedded.put("1.2.3")
    embedded.run("run", "--once", code=0)
    embedded.put("1.2.4")
    embedded.dicom.always(answer(b'[{"sequence": 2, "timest'), on=r"changefeed\?")
    ended = embedded.run("run", "--once", code=75)
    assert "DICOM__URL sent no JSON for a page of the change feed" in ended.err
    assert embedded.cursor[0] == 1
    embedded.dicom.heal()
    # Where it is the metadata that spoils the page, the page is read without, and each study by itself.
    embedded.dicom.always(answer(b'[{"sequence": 2, "metadata": {"00'), on=r"changefeed\?.*includeMetadata=true")
    embedded.run("run", "--once", "--strict", code=0)
    assert set(embedded.studies()) == {"1.2.3", "1.2.4"}


def test_dry_run_shows_what_a_run_would_write(embedded: Embedded, tmp_path: Path) -> None:
    """--dry-run prints the very transactions that a run sends, on stdout alone, and writes and moves nothing."""
    for study in ("1.2.3", "1.2.4"):
        embedded.put(study, PatientName="Doe^Jane")
    shown = embedded.run("run", "--dry-run", code=0)
    assert embedded.store.total_versions() == 0
    assert not embedded.state.exists()
    said = "dicomcast: dry run, nothing was written; a run would report: 2 created; 0 parked now"
    assert shown.err.splitlines()[-1] == said

    (tmp_path / "other").mkdir()
    with embedded_servers(tmp_path / "other") as other:
        for bundle in bundles(shown.out):
            assert bundle["type"] == "transaction"
            assert httpx.post(other.fhir_url, json=bundle, headers=FHIR_JSON).status_code == 200
        embedded.run("run", "--once", code=0)
        for kind in ("Endpoint", "Patient", "ImagingStudy"):
            assert _bare(other.store.resources(kind)) == _bare(embedded.store.resources(kind))
    before = embedded.cursor, embedded.store.total_versions()
    assert embedded.run("run", "--dry-run", code=0).out == ""
    shown = embedded.run("replay", "--replay-study", "1.2.3", "--dry-run", PATIENT__SYSTEM="urn:oid:2.25.2", code=0)
    assert {entry["request"]["method"] for bundle in bundles(shown.out) for entry in bundle["entry"]} == {"PUT"}
    assert (embedded.cursor, embedded.store.total_versions()) == before


def test_dry_run_for_a_server_without_transactions(tmp_path: Path) -> None:
    """It shows the batches that such a server would get, in their order."""
    with embedded_servers(tmp_path, fhir_options={"transactions": False}) as embedded:
        embedded.put("1.2.3")
        shown = bundles(embedded.run("run", "--dry-run", code=0).out)
        assert embedded.store.total_versions() == 0
    assert [(one["type"], {entry["resource"]["resourceType"] for entry in one["entry"]}) for one in shown] == [
        ("batch", {"Endpoint"}),
        ("batch", {"Patient"}),
        ("batch", {"ImagingStudy"}),
    ]


def _bare(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a server sets itself."""
    metas = [{name: one["meta"][name] for name in one["meta"] if name == "source"} for one in resources]
    return sorted((one | {"meta": meta} for one, meta in zip(resources, metas, strict=True)), key=lambda one: one["id"])


def test_replay_of_a_stretch_and_of_a_study(embedded: Embedded) -> None:
    """A replay casts what it was told once more, writes nothing where FHIR is right, and leaves the cursor alone."""
    for study in ("1.2.3", "1.2.4", "1.2.5"):
        embedded.put(study)
    embedded.run("run", "--once", code=0)
    before = embedded.cursor
    for resource in embedded.studies().values():
        embedded.store.delete("ImagingStudy", resource["id"])
    ended = embedded.run("replay", "--replay-from", "1", "--replay-to", "2", code=0)
    assert (ended.out, ended.err.splitlines()[-1]) == ("", "dicomcast: 2 created; 0 parked now")
    studies = [part for uid in ("1.2.5", "1.2.3", "9.9") for part in ("--replay-study", uid)]
    ended = embedded.run("replay", *studies, code=0)
    assert ended.err.splitlines()[-2:] == [
        "dicomcast: study 9.9 was skipped: neither the archive nor FHIR holds it",
        "dicomcast: 1 created, 1 unchanged, 1 skipped; 0 parked now",
    ]
    ended = embedded.run("replay", "--replay-from", "4000", code=0)
    assert ended.err.splitlines()[-1] == "dicomcast: nothing was cast; 0 parked now"
    ended = embedded.run("replay", "--replay-study", "9.9", PATIENT__MISSING_ID="skip", code=0)
    assert "9.9 was skipped: neither the archive nor FHIR holds it, or it has no PatientID" in ended.err
    assert set(embedded.studies()) == {"1.2.3", "1.2.4", "1.2.5"}
    assert embedded.cursor == before


def test_beside_an_active_worker(embedded: Embedded) -> None:
    """What is asked for beside a worker is handed to it and done by it; a second run says who is at work: 77."""
    embedded.put("1.2.3")
    embedded.put("1.2.4")
    running = embedded.start("run", WORKER__POLL_INTERVAL="1s", WORKER__LEASE="3s")
    until("both studies are there", lambda: len(embedded.studies()) == 2)
    for resource in embedded.studies().values():
        embedded.store.delete("ImagingStudy", resource["id"])
    ended = embedded.run("replay", "--replay-from", "1", "--replay-to", "1", WORKER__LEASE="3s", code=0)
    assert "1 handed to the active worker, for its next poll" in ended.err
    until("the stretch is cast by the worker", lambda: set(embedded.studies()) == {"1.2.3"})
    ended = embedded.run("replay", "--replay-study", "1.2.4", WORKER__LEASE="3s", code=0)
    assert "1 handed to the active worker, for its next poll" in ended.err
    until("the study is cast by the worker", lambda: len(embedded.studies()) == 2)
    until("nothing is left to do", lambda: embedded.query("SELECT * FROM parked") == [])
    facts = embedded.run("status", "--json", code=0).json
    assert facts["active_worker"].split(":")[1] == str(running.process.pid)
    ended = embedded.run("run", "--once", WORKER__LEASE="1s", code=77)
    assert f"another worker ({facts['active_worker']}) is active on this source" in ended.err
    running.signal(signal.SIGTERM)
    assert running.finish().code == 0
    assert embedded.run("status", "--json", code=0).json["active_worker"] is None


def test_beside_a_worker_that_has_the_health_port(embedded: Embedded) -> None:
    """A replay by `kubectl exec` has the environment of the worker, whose port it leaves alone; so has a second run."""
    embedded.put("1.2.3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = {"HEALTH__PORT": str(taken.getsockname()[1]), "HEALTH__ADDRESS": "127.0.0.1"}
        embedded.run("run", "--once", "--dry-run", **port, code=0)
        embedded.run("run", "--once", **port, code=0)
        ended = embedded.run("replay", "--replay-study", "1.2.3", **port, code=0)
        assert ended.err.endswith("dicomcast: 1 unchanged; 0 parked now\n")
        embedded.run("run", **port, code=78)


def test_a_dry_run_that_nobody_reads_to_its_end(embedded: Embedded) -> None:
    """`dicomcast run --dry-run | head`: what is left is nobody's concern, and no defect."""
    for number in range(30):
        embedded.put(f"1.2.{number}", PatientID=f"P{number}")
    running = embedded.start("run", "--once", "--dry-run")
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.process.wait(60) == 0
    assert "defect" not in running.said and "Traceback" not in running.said

"""`status`, `parked`, `config` and `--version`: what they print for people and for programs."""

from __future__ import annotations

from typing import Any

import pytest

import dicomcast
from dicomcast.cli.inspect import _worker_here
from dicomcast.health import serve_health
from dicomcast.settings import HealthSettings
from dicomcast.vitals import Phase, Vitals
from tests.servers.embedded import Embedded, silent_port

REASONS = {"1.2.3": "refused", "1.2.4": "multiple-match", "1.2.5": "refused"}


@pytest.fixture
def parked(embedded: Embedded) -> Embedded:
    """Two studies whose metadata is corrupt, one that FHIR holds twice, and one that was cast."""
    embedded.store.put({"resourceType": "Patient", "id": "ehr"})
    for name in ("one", "two"):
        embedded.store.put(
            {
                "resourceType": "ImagingStudy",
                "id": name,
                "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.4"}],
                "status": "available",
                "subject": {"reference": "Patient/ehr"},
            }
        )
    for study in ("1.2.3", "1.2.4", "1.2.5", "1.2.6"):
        embedded.put(study)
    for study in ("1.2.3", "1.2.5"):
        embedded.archive.poison(study, f"{study}.1", f"{study}.1.1", "corrupt")
    embedded.run("run", "--once", code=0)
    return embedded


def reasons(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The reason of each study."""
    return {row["study"]: row["reason"] for row in rows}


def test_status(parked: Embedded) -> None:
    """The cursor, the lag and the rows, as an object for programs and as lines for people."""
    parked.put("1.2.7")
    parked.archive.skip_sequences(10)
    parked.put("1.2.8")
    facts = parked.run("status", "--json", code=0).json
    expected = {
        "source": parked.dicom_url,
        "settled": 4,
        "latest": 16,
        "lag_entries": 12,
        "parked": 3,
        "dead": 0,
        "backfill_left": None,
        "active_worker": None,
        "feed": "ok",
    }
    assert expected.items() <= facts.items()
    assert facts["lag_seconds"] >= 0
    assert facts["oldest_parked_seconds"] > 0
    lines = dict(line.split("  ", 1) for line in parked.run("status", code=0).out.splitlines())
    assert {name: value.strip() for name, value in lines.items() if name in ("settled", "lag entries", "parked")} == {
        "settled": "4",
        "lag entries": "12",
        "parked": "3",
    }
    # While the archive cannot be asked, what the store knows is told, and the rest is left open.
    with silent_port() as port:
        public = {"DICOM__URL": f"http://127.0.0.1:{port}", "DICOM__PUBLIC_URL": parked.dicom_url}
        facts = parked.run("status", "--json", **public, code=0).json
    assert (facts["settled"], facts["parked"]) == (4, 3)
    assert (facts["latest"], facts["lag_entries"], facts["lag_seconds"]) == (None, None, None)
    assert facts["feed"] == (
        f"dicom at http://127.0.0.1:{port} cannot be reached: nobody listens on that port (DICOMCAST_DICOM__URL)"
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_status_asks_the_worker_beside_it(address: str) -> None:
    """It alone knows that it is blocked, and by what; another source's worker, or none, is no answer."""
    vitals = Vitals(source="http://dicom.test", phase=Phase.BLOCKED, reason="too many are gone")
    with serve_health(vitals, address, 0) as port:
        here = HealthSettings(port=port, address=address)
        said = _worker_here(here, "http://dicom.test")
        assert (said["phase"], said["reason"]) == ("blocked", "too many are gone")
        assert _worker_here(here, "http://other.test") == {}
    assert _worker_here(here, "http://dicom.test") == {}
    assert _worker_here(HealthSettings(), "http://dicom.test") == {}


def test_status_of_a_new_store(embedded: Embedded) -> None:
    """Before the first run nothing is settled, and nothing is claimed."""
    facts = embedded.run("status", "--json", code=0).json
    assert (facts["settled"], facts["settled_at"], facts["latest"], facts["feed"]) == (None, None, 0, "ok")
    for command in ("list", "show"):
        assert embedded.run("parked", command, code=0).out == "nothing is parked\n"
    assert not embedded.state.exists(), "who only looks makes no state file"


def test_an_archive_without_a_feed(embedded: Embedded) -> None:
    """It is followed, and what is not known of it is null; a replay by sequence says what can be done instead."""
    kind = {"DICOM__KIND": "dicomweb", "DICOM__URL": f"{embedded.dicom_url}/v2"}
    embedded.put("1.2.3")
    embedded.run("run", "--once", "--dry-run", **kind, code=0)
    assert embedded.studies() == {}
    embedded.run("run", "--once", **kind, code=0)
    assert list(embedded.studies()) == ["1.2.3"]
    facts = embedded.run("status", "--json", **kind, code=0).json
    known = {"settled": 1, "latest": 1, "lag_entries": None, "lag_seconds": None, "parked": 0, "feed": "ok"}
    assert known.items() <= facts.items()
    assert "lag entries            -\n" in embedded.run("status", **kind, code=0).out
    refused = embedded.run("replay", "--replay-from", "1", **kind, code=78)
    assert "name the studies with --replay-study" in refused.err
    embedded.run("replay", "--replay-study", "1.2.3", "--strict", **kind, code=0)


def test_parked_list_and_show(parked: Embedded) -> None:
    """Rows are listed oldest first; one that is listed has one of the studies and one of the reasons asked for."""
    rows = parked.run("parked", "list", "--json", code=0).json
    assert reasons(rows) == REASONS
    assert [row["first_seen"] for row in rows] == sorted(row["first_seen"] for row in rows)
    found = parked.run("parked", "list", "--reason", "refused", "--study", "1.2.4", "--study", "1.2.5", "--json").json
    assert reasons(found) == {"1.2.5": "refused"}
    table = parked.run("parked", "list", code=0).out.splitlines()
    assert table[0].split() == ["study", "partition", "reason", "attempts", "first_seen", "next_attempt"]
    assert sorted(line.split()[0] for line in table[1:]) == sorted(REASONS)
    for command in ("list", "show"):
        assert parked.run("parked", command, "--study", "9.9", code=0).out == "no parked study matches\n"
        assert parked.run("parked", command, "--study", "9.9", "--json", code=0).json == []

    shown = parked.run("parked", "show", "--study", "1.2.4", code=0).out
    lines = dict(
        line.split(maxsplit=1) for line in shown.splitlines() if line.startswith(("study", "state", "message"))
    )
    assert lines == {
        "study": "1.2.4",
        "state": "parked",
        "message": "study 1.2.4: 2 ImagingStudies in FHIR have its UID; delete all but one",
    }
    (row,) = parked.run("parked", "show", "--reason", "refused", "--study", "1.2.3", "--json", code=0).json
    assert (row["stage"], row["status"], row["attempts"]) == ("read", 400, 1)
    assert (row["first_sequence"], row["last_sequence"]) == (1, 1)


def test_parked_retry_and_drop(parked: Embedded) -> None:
    """A retry casts what can be cast now and keeps the rest; what is dropped is gone until it is replayed."""
    parked.archive.heal("1.2.3", "1.2.3.1", "1.2.3.1.1")
    ended = parked.run("parked", "retry", "--reason", "refused", "--json", code=0)
    assert (ended.json["created"], ended.json["parked"]) == (1, 1)
    rows = parked.run("parked", "list", "--json", code=0).json
    assert {row["study"]: row["attempts"] for row in rows} == {"1.2.4": 1, "1.2.5": 2}

    parked.archive.heal("1.2.5", "1.2.5.1", "1.2.5.1.1")
    parked.delete("1.2.5")
    assert parked.run("parked", "retry", "--study", "1.2.5", code=0).out == "1 skipped\n"
    assert set(parked.studies()) >= {"1.2.3", "1.2.6"}
    assert "1.2.5" not in parked.studies()

    assert reasons(parked.run("parked", "drop", "--all", "--json", code=0).json) == {"1.2.4": "multiple-match"}
    assert parked.run("parked", "list", "--json", code=0).json == []
    parked.store.delete("ImagingStudy", "two")
    for command in ("drop", "retry"):
        assert parked.run("parked", command, "--all", code=0).out == "nothing is parked\n"
        # Who names what is not there has mistyped it, or comes too late.
        assert parked.run("parked", command, "--reason", "refusd", code=1).out == "no parked study matches\n"
    assert parked.run("parked", "drop", "--study", "9.9", "--json", code=1).json == []
    assert set(parked.run("parked", "retry", "--study", "9.9", "--json", code=1).json.values()) == {0}
    parked.run("replay", "--replay-study", "1.2.4", "--strict", code=0)
    assert parked.studies()["1.2.4"]["numberOfInstances"] == 1


def test_config(embedded: Embedded) -> None:
    """Every setting is printed with its source, secrets hidden; it asks nobody and needs no setting."""
    secret = "hunter-2-hunter"
    told = {"FHIR__AUTH__KIND": "bearer", "FHIR__AUTH__TOKEN": secret, "DICOM__TIMEOUT": "9s"}
    ended = embedded.run("config", "--json", **told, code=0)
    settings = {one["variable"]: (one["value"], one["source"]) for one in ended.json}
    assert settings["DICOMCAST_FHIR__URL"] == (embedded.fhir_url, "environment")
    assert settings["DICOMCAST_FHIR__AUTH__TOKEN"] == ("********", "environment")
    assert settings["DICOMCAST_DICOM__TIMEOUT"] == ("9s", "environment")
    assert settings["DICOMCAST_WORKER__WINDOW"] == ("2500", "default")
    text = embedded.run("config", **told, code=0).out
    assert [line.split()[0] for line in text.splitlines()] == list(settings)
    assert secret not in ended.out + text
    bare = embedded.run("config", "--json", **dict.fromkeys(("DICOM__URL", "FHIR__URL", "PATIENT__SYSTEM"), "")).json
    assert {one["source"] for one in bare if one["variable"] == "DICOMCAST_FHIR__URL"} == {"not set"}
    assert embedded.dicom.requests + embedded.fhir.requests == []
    assert not embedded.state.exists()


def test_version(embedded: Embedded) -> None:
    """The version is what the package says."""
    assert embedded.run("--version", code=0).out == f"dicomcast {dicomcast.__version__}\n"

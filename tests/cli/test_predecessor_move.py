"""DICOM Cast is replaced where it stands: its settings, its tables and its resources as they are, and the way back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.data.tables import EdmType, EntityProperty, TableClient, TableServiceClient

from dicomcast.app import build
from dicomcast.settings import load_settings
from tests.history import idle_versions
from tests.judge import problems
from tests.servers.azurite import Tables, connection_string
from tests.servers.embedded import Embedded, Finished

pytestmark = pytest.mark.long

SYSTEM = "urn:oid:2.25.1"
# What stands in the text of an exception, and must get no further.
NAME = "Doe^Jane"
ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
CT = "1.2.840.10008.5.1.4.1.1.2"
ENDPOINT_TYPE = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"


class Deployment:
    """A hospital that had DICOM Cast: three studies were cast before its cursor, one failed, and more came since."""

    def __init__(self, embedded: Embedded, tables: Tables) -> None:
        self.embedded, self.tables = embedded, tables
        self.account = connection_string(tables.endpoint)
        for study in ("1.2.1", "1.2.2", "1.2.3", "1.2.4"):  # sequences 1 to 4
            embedded.put(study, PatientID=f"P{study[-1]}", AccessionNumber="A1", StudyDescription="CT chest")
        self.write("SyncStateTable", "SyncStatePartitionKey", "SyncStateRowKey", SyncedSequence=4)
        self.fail("FhirFailToStoreExceptionTable", "FhirNonRetryableException", "1.2.4", 4)
        self.fail("TransientRetryExceptionTable", "RetryableException", "1.2.4", 3)
        self.fail("InvalidDicomTagExceptionTable", "InvalidDicomTagValueException", "1.2.3", 3)
        self.resources()
        embedded.put("1.2.2", instance="2", PatientID="P2", AccessionNumber="A1", StudyDescription="CT chest")
        embedded.put("1.2.5", PatientID="P5")

    def write(self, table: str, partition: str, row: str, **values: Any) -> None:
        """A row as DICOM Cast left it."""
        typed = {
            name: EntityProperty(value, EdmType.INT64) if isinstance(value, int) else value
            for name, value in values.items()
        }
        with TableServiceClient.from_connection_string(self.account) as service:
            client = service.create_table_if_not_exists(f"{self.tables.prefix}{table}")
            client.upsert_entity({"PartitionKey": partition, "RowKey": row, **typed})

    def fail(self, table: str, kind: str, study: str, sequence: int) -> None:
        """A row of its exceptions."""
        uids = {"StudyUid": study, "SeriesUid": f"{study}.1", "InstanceUid": f"{study}.1.1"}
        text = f"{kind}: PatientName {NAME} is not valid"
        self.write(table, kind, f"{study}-{sequence}", **uids, ChangeFeedSequence=sequence, Exception=text)

    def resources(self) -> None:
        """What it wrote, with its defects: server-assigned ids, empty codings, codes without systems, no counts."""
        url = f"{self.embedded.dicom_url}/"
        coding = {"coding": [{"system": "", "code": ""}], "text": "DICOM WADO-RS"}
        self.embedded.store.put(
            {
                "resourceType": "Endpoint", "id": "its-endpoint", "name": f"DICOM WADO-RS endpoint {url}",
                "status": "active", "connectionType": {"system": ENDPOINT_TYPE, "code": "dicom-wado-rs"},
                "payloadType": [coding], "payloadMimeType": ["application/dicom"], "address": url,
            }
        )  # fmt: skip
        for number in "123":
            patient = {"resourceType": "Patient", "id": f"its-patient-{number}"}
            self.embedded.store.put(patient | {"identifier": [{"system": SYSTEM, "value": f"P{number}"}]})
            uid = f"1.2.{number}"
            modality = {"system": "DCM", "code": "CT"}
            instance = {"uid": f"{uid}.1.1", "sopClass": {"code": CT}, "number": 1}
            self.embedded.store.put(
                {
                    "resourceType": "ImagingStudy", "id": f"its-study-{number}", "meta": {"source": url},
                    "identifier": [
                        {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}, {"type": ACSN, "value": "A1"}
                    ],
                    "status": "available", "subject": {"reference": f"Patient/its-patient-{number}"},
                    "endpoint": [{"reference": "Endpoint/its-endpoint"}], "note": [{"text": "CT chest"}],
                    "series": [{"uid": f"{uid}.1", "modality": modality, "instance": [instance]}],
                }
            )  # fmt: skip

    @property
    def variables(self) -> dict[str, str]:
        """What its container was told, and nothing else."""
        return {
            "DicomWeb__Endpoint": f"{self.embedded.dicom_url}/",
            "Fhir__Endpoint": self.embedded.fhir_url,
            "Patient__PatientSystemId": SYSTEM,
            "Patient__IsIssuerIdUsed": "false",
            "DicomCastWorker__PollInterval": "00:01:00",
            "DicomCast__Features__GenerateObservations": "true",
            "TableStore__ConnectionString": self.account,
            "TableStore__TableNamePrefix": self.tables.prefix,
        }

    def run(self, *arguments: str, code: int | None = 0, **settings: str) -> Finished:
        """Run the command in its place."""
        none = dict.fromkeys(["DICOM__URL", "DICOM__SAFETY_LAG", "FHIR__URL", "PATIENT__SYSTEM", "STATE__URL"], "")
        self.embedded.outside = self.variables
        finished = self.embedded.run(*arguments, **{**none, **settings}, code=code)
        assert NAME not in finished.err + finished.out
        return finished

    @property
    def versions(self) -> dict[str, int]:
        """How often each study was written, by its id."""
        return {one["id"]: int(one["meta"]["versionId"]) for one in self.embedded.store.resources("ImagingStudy")}

    @property
    def rows(self) -> dict[str, Any]:
        """What stands in the table of its cursor, by its key."""
        with TableClient.from_connection_string(self.account, f"{self.tables.prefix}SyncStateTable") as table:
            return {row["RowKey"]: dict(row) for row in table.list_entities()}


@pytest.fixture
def moved(embedded: Embedded, tables: str) -> Deployment:
    """A deployment whose container image was changed, and nothing else."""
    deployment = Deployment(embedded, Tables(tables))
    embedded.tables = deployment.tables
    return deployment


@pytest.fixture(autouse=True)
def its_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded servers' own settings stay out, and so does where the tables are."""
    monkeypatch.setattr(Tables, "settings", {})


def test_the_move(moved: Deployment) -> None:
    """It goes on behind the cursor: what changed since is cast and corrected, nothing before it, and nothing twice."""
    store = moved.embedded.store
    first = moved.run("run", "--once", "--strict")
    [told] = [line for line in first.err.splitlines() if line.startswith("dicomcast: settings of DICOM Cast: ")]
    assert "DicomWeb__Endpoint became DICOMCAST_DICOM__URL" in told
    assert "DicomCast__Features__GenerateObservations became nothing: radiation dose is not mapped yet" in told
    assert '"cursor.taken-over"' in first.err and "1 created, 1 updated" in first.err
    assert moved.embedded.cursor[0] == moved.embedded.archive.latest_v1()["sequence"]
    versions = moved.versions
    assert (versions["its-study-1"], versions["its-study-2"], versions["its-study-3"]) == (1, 2, 1)
    assert len(versions) == 4

    [endpoint] = store.resources("Endpoint")
    assert endpoint["id"] == "its-endpoint" and problems(endpoint) == []
    assert {one["subject"]["reference"] for one in store.resources("ImagingStudy")} >= {"Patient/its-patient-2"}
    assert len(store.resources("Patient")) == 4
    study = next(one for one in store.resources("ImagingStudy") if one["id"] == "its-study-2")
    assert problems(study) == []
    assert (study["numberOfInstances"], study["endpoint"]) == (2, [{"reference": "Endpoint/its-endpoint"}])
    assert {one["modality"]["system"] for one in study["series"]} == {"http://dicom.nema.org/resources/ontology/DCM"}

    moved.run("run", "--once", "--strict")
    assert moved.versions == versions
    # Its own cursor stands where it was: that is the way back.
    rows = moved.rows
    assert rows["SyncStateRowKey"]["SyncedSequence"].value == 4
    assert "behind sequence 4" in rows["TakenOverByDicomcast"]["body"]


def test_what_it_could_not_store(moved: Deployment) -> None:
    """Its exceptions become dead letters, once; replayed, they are in FHIR, and those that were right are corrected."""
    moved.run("run", "--once")
    assert moved.run("parked", "import", "--json").json == {"imported": 2, "known": 0}
    listed = moved.run("parked", "list", "--json").json
    assert {(one["study"], one["reason"], one["state"], one["attempts"]) for one in listed} == {
        ("1.2.4", "dicom-cast-fhir", "dead", 2),
        ("1.2.3", "dicom-cast-tag", "dead", 1),
    }
    assert {one["message"] for one in listed} == {""}
    assert "1 created, 1 updated" in moved.run("parked", "retry", "--all").out
    assert moved.run("parked", "import").out.startswith("0 imported")
    moved.fail("TransientFailureExceptionTable", "RetryableException", "1.2.1", 1)
    assert moved.run("parked", "import", "--json").json == {"imported": 1, "known": 0}
    moved.run("parked", "retry", "--all")
    moved.run("run", "--once", "--strict")
    store = moved.embedded.store
    assert len(store.resources("ImagingStudy")) == 5
    assert [problem for one in store.resources("ImagingStudy") for problem in problems(one)] == []
    assert len({str(one["identifier"]) for one in store.resources("Patient")}) == len(store.resources("Patient")) == 5
    assert idle_versions(store) == []


def test_taken_over_once(moved: Deployment) -> None:
    """A state that is lost, or new on purpose, begins at the beginning: its cursor says nothing of that FHIR server."""
    moved.run("run", "--once")
    with TableServiceClient.from_connection_string(moved.account) as service:
        service.delete_table(f"{moved.tables.prefix}dicomcast")
    again = moved.run("run", "--once")
    assert "cursor.taken-over" not in again.err
    assert moved.embedded.archive.latest_v1()["sequence"] == moved.embedded.cursor[0]
    assert len(moved.embedded.store.resources("ImagingStudy")) == 5


def test_who_dies_before_it_is_noted(moved: Deployment) -> None:
    """The cursor is ours by then, and says itself where it is from: the note is made up for."""
    settings = load_settings(moved.variables)

    async def die() -> None:
        async with build(settings) as app:
            await app.tenure.take()
            checkpoint = await app.open()
            assert checkpoint.cursor is not None and checkpoint.cursor.sequence == 4
            await app.store.advance(checkpoint, to=checkpoint.cursor, epoch=app.tenure.epoch)
            await app.tenure.release()

    asyncio.run(die())
    assert set(moved.rows) == {"SyncStateRowKey"}
    again = moved.run("run", "--once", "--strict")
    assert "cursor.taken-over" not in again.err
    assert "TakenOverByDicomcast" in moved.rows
    assert moved.versions["its-study-1"] == 1


def test_what_is_told_wins(moved: Deployment) -> None:
    """WORKER__START, and then the cursor that is there: nothing is taken over."""
    assert "1 created, 1 updated" in moved.run("run", "--once", WORKER__START="5").err
    moved.write("SyncStateTable", "SyncStatePartitionKey", "SyncStateRowKey", SyncedSequence=1)
    assert "nothing new" in moved.run("run", "--once").err
    assert set(moved.rows) == {"SyncStateRowKey"}


def test_a_dry_run_notes_nothing(moved: Deployment) -> None:
    """It shows what would become of the move, and leaves everything as it was."""
    shown = moved.run("run", "--dry-run")
    assert '"cursor.taken-over"' in shown.err
    assert shown.out.count('"resourceType":"Bundle"') == 3  # its Endpoint, and two studies
    assert set(moved.rows) == {"SyncStateRowKey"}
    assert moved.versions == {"its-study-1": 1, "its-study-2": 1, "its-study-3": 1}


def test_a_cursor_of_another_archive(moved: Deployment) -> None:
    """One that this archive has not reached is no cursor of its."""
    moved.write("SyncStateTable", "SyncStatePartitionKey", "SyncStateRowKey", SyncedSequence=4000)
    refused = moved.run("run", "--once", code=78)
    assert "which this archive has not reached: is it another? Set DICOMCAST_WORKER__START" in refused.err
    moved.run("run", "--once", WORKER__START="beginning")
    assert len(moved.embedded.store.resources("ImagingStudy")) == 5


def test_an_import_from_nowhere(embedded: Embedded) -> None:
    """Without an account there are no tables of its."""
    refused = embedded.run("parked", "import", code=78)
    assert "DICOMCAST_STATE__URL: what DICOM Cast could not store is in its storage account" in refused.err

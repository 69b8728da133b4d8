"""One state store, and an archive that is followed in another way than before."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from dicomcast.state.sqlite import _SCHEMA
from tests.faults import Faults
from tests.orthanc_double import orthanc_double
from tests.servers.embedded import Embedded, Finished

KINDS = ["azure", "orthanc", "dicomweb"]


def run(
    embedded: Embedded, kind: str, *options: str, command: tuple[str, ...] = ("run", "--once"), code: int
) -> Finished:
    """Follow the one archive as a kind, at one public URL."""
    if kind == "orthanc":
        embedded.dicom = Faults(orthanc_double(embedded.archive))
    url = f"{embedded.dicom_url}/v2" if kind == "dicomweb" else embedded.dicom_url
    settings = {"DICOM__KIND": kind, "DICOM__URL": url, "DICOM__PUBLIC_URL": "http://archive.example/dicomweb"}
    return embedded.run(*command, *options, code=code, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_does_not_go_on_from_a_cursor(embedded: Embedded, kind: str) -> None:
    """Its sequences mean something else: exit 78, and what to do instead. Nothing is written or moved."""
    embedded.put("1.2.3")
    run(embedded, kind, code=0)
    assert set(embedded.studies()) == {"1.2.3"}
    embedded.put("1.2.4")
    before = embedded.cursor, embedded.store.total_versions()
    for other in KINDS:
        if other != kind:
            ended = run(embedded, other, code=78)
            assert f"DICOM__KIND: the state store has a cursor of kind {kind}, from which {other}" in ended.err
            assert "give it a new DICOMCAST_STATE__URL" in ended.err
            assert f"has a cursor of kind {kind}" in run(embedded, other, command=("check",), code=78).out
    assert (embedded.cursor, embedded.store.total_versions()) == before


def test_a_cursor_that_says_no_kind_is_azures(embedded: Embedded) -> None:
    """There was no other when it was written: it goes on, and no other kind takes it over."""
    embedded.put("1.2.3")
    run(embedded, "azure", code=0)
    with closing(sqlite3.connect(embedded.state)) as database, database:
        database.execute("UPDATE checkpoint SET position = json_remove(position, '$.kind')")
    embedded.put("1.2.4")
    assert "kind azure" in run(embedded, "dicomweb", code=78).err
    run(embedded, "azure", code=0)
    assert set(embedded.studies()) == {"1.2.3", "1.2.4"}


@pytest.mark.parametrize("kind", ["orthanc", "dicomweb"])
def test_a_dry_run_on_a_state_store_of_the_first_version(embedded: Embedded, kind: str) -> None:
    """It had no inventory: the bundles are shown, and the file is left as it was."""
    with closing(sqlite3.connect(embedded.state)) as database:
        database.executescript(_SCHEMA[0])
        database.execute("PRAGMA user_version = 1")
    embedded.put("1.2.3")
    shown = run(embedded, kind, "--dry-run", code=0)
    assert "urn:oid:1.2.3" in shown.out
    assert embedded.query("PRAGMA user_version") == [(1,)]
    assert embedded.query("SELECT name FROM sqlite_master WHERE name = 'inventory'") == []
    assert embedded.cursor == (0, 0)

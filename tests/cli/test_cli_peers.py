"""What an operator reads, and with which exit code a run ends, when a peer is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import Fault, answer, refuse
from tests.servers.embedded import Embedded, embedded_servers, silent_port

WEB_PAGE = answer(b"<!doctype html><title>Sign in</title>", kind="text/html")
REDIRECT = Fault(302, headers=(("location", "https://login.example/?next=/"),))
# What may answer at a URL that is not the service's: a portal, a login, nothing, some other API.
STRANGERS = {"web page": WEB_PAGE, "login": REDIRECT, "nothing": refuse(404), "other API": answer({"status": "up"})}


@pytest.mark.parametrize("stranger", ["web page", "login", "nothing", "other API"])
def test_dicom_url_of_something_else(embedded: Embedded, stranger: str) -> None:
    """What is no DICOM service is a wrong setting: exit 78, the setting is named, nothing is written."""
    embedded.put("1.2.3")
    embedded.dicom.always(STRANGERS[stranger])
    ended = embedded.run("run", "--once", WORKER__RETRY_BUDGET="1h", code=78)
    assert ended.err.startswith(f"dicomcast: DICOMCAST_DICOM__URL: {embedded.dicom_url} is not a DICOM service")
    assert embedded.store.total_versions() == 0
    assert embedded.cursor == (0, 0)


@pytest.mark.parametrize("stranger", ["web page", "login", "nothing"])
def test_fhir_url_of_something_else(embedded: Embedded, stranger: str) -> None:
    """What has no CapabilityStatement is a wrong setting: exit 78, the setting is named, nothing is written."""
    embedded.put("1.2.3")
    embedded.fhir.always(STRANGERS[stranger])
    ended = embedded.run("run", "--once", WORKER__RETRY_BUDGET="1h", code=78)
    assert f"FHIR__URL: {embedded.fhir_url} is not the base URL of a FHIR server" in ended.err
    assert "<DICOMCAST_FHIR__URL>/metadata" in ended.err
    assert embedded.cursor == (0, 0)


@pytest.mark.parametrize("peer", ["dicom", "fhir"])
def test_a_stranger_where_a_peer_was_followed_before(embedded: Embedded, peer: str) -> None:
    """After a reboot a proxy may be up before its peer: the next run tries again (exit 75)."""
    embedded.put("1.2.3")
    embedded.run("run", "--once", code=0)
    faults = {"dicom": embedded.dicom, "fhir": embedded.fhir}[peer]
    faults.always(refuse(404))
    ended = embedded.run("run", "--once", code=75)
    assert f"{peer.upper()}__URL" in ended.err
    faults.heal()
    embedded.put("1.2.4")
    embedded.run("run", "--once", code=0)
    assert set(embedded.studies()) == {"1.2.3", "1.2.4"}


@pytest.mark.parametrize("version", ["3.0.2", "6.0.0"])
def test_fhir_server_of_another_version(tmp_path: Path, version: str) -> None:
    """A server of STU3 or R6 is refused by its version, before anything is written."""
    with embedded_servers(tmp_path, fhir_options={"version": version}) as embedded:
        embedded.put("1.2.3")
        ended = embedded.run("run", "--once", code=78)
        assert f"FHIR__URL: the server at {embedded.fhir_url} speaks FHIR {version}" in ended.err
        assert embedded.store.total_versions() == 0


def test_recreated_archive(embedded: Embedded) -> None:
    """A feed that ends behind the cursor is another archive: exit 78, nothing is written or moved."""
    for study in ("1.2.3", "1.2.4"):
        embedded.put(study)
    embedded.run("run", "--once", code=0)
    before = embedded.cursor, embedded.store.total_versions()
    embedded.archive.reset()
    embedded.put("1.2.5")
    ended = embedded.run("run", code=78)
    assert "ends at sequence 1, but sequence 2 was settled before" in ended.err
    assert "Nothing was written" in ended.err
    assert (embedded.cursor, embedded.store.total_versions()) == before


@pytest.mark.parametrize(("peer", "status"), [("dicom", 403), ("fhir", 401)])
def test_refused_credentials(embedded: Embedded, peer: str, status: int) -> None:
    """Refused credentials end a run with 77 and the name of the settings group; the next one loses nothing."""
    embedded.put("1.2.3")
    faults = {"dicom": embedded.dicom, "fhir": embedded.fhir}[peer]
    # The capability statement is for everybody, so they are first refused in the middle of a window.
    faults.always(refuse(status), on="POST" if peer == "fhir" else "")
    ended = embedded.run("run", "--once", WORKER__RETRY_BUDGET="1h", code=77)
    assert f"{peer} answered {status}" in ended.err
    assert f"check DICOMCAST_{peer.upper()}__AUTH" in ended.err
    assert embedded.store.total_versions() == 0
    faults.heal()
    embedded.run("run", "--once", code=0)
    assert set(embedded.studies()) == {"1.2.3"}


@pytest.mark.parametrize("peer", ["dicom", "fhir"])
def test_a_peer_that_stays_away(embedded: Embedded, peer: str) -> None:
    """A run waits for a peer for --max-duration and then ends with 75 and a sentence that names it."""
    embedded.put("1.2.3")
    with silent_port() as port:
        away = f"http://127.0.0.1:{port}/base"
        ended = embedded.run(
            *("run", "--once", "--max-duration", "1200ms"),
            **{f"{peer.upper()}__URL": away, "WORKER__POLL_INTERVAL": "1s"},
            code=75,
        )
    assert ended.err.splitlines()[-1] == (
        f"dicomcast: {peer} at {away} cannot be reached: nobody listens on that port (DICOMCAST_{peer.upper()}__URL)"
    )
    assert embedded.store.total_versions() == 0


def test_a_peer_that_comes_back_in_time(embedded: Embedded) -> None:
    """Within --max-duration a server that was down for some requests, and throttled others, is waited for."""
    embedded.put("1.2.3")
    embedded.fhir.script(Fault(lose="request"), refuse(429, retry_after="1"), Fault(lose="response"))
    embedded.dicom.script(refuse(502), Fault(lose="response"), on="changefeed")
    ended = embedded.run("run", "--once", "--strict", "--max-duration", "1m", WORKER__POLL_INTERVAL="1s", code=0)
    assert ended.err.endswith("dicomcast: 1 created; 0 parked now\n")
    assert embedded.store.total_versions() == 3  # an Endpoint, a Patient and a study, each written once


def test_lost_answers_to_writes(embedded: Embedded) -> None:
    """What was written although nobody heard of it is found by the next try, and not written again."""
    embedded.put("1.2.3")
    embedded.fhir.script(Fault(lose="response"), Fault(lose="response"), on="POST /fhir/?$")
    embedded.run("run", "--once", "--strict", WORKER__RETRY_BUDGET="1m", code=0)
    assert embedded.store.total_versions() == 3


def test_a_stranger_in_the_middle_of_the_work(embedded: Embedded) -> None:
    """A proxy's page in place of a peer that was met is waited for, and nothing is lost or parked."""
    embedded.put("1.2.3")
    embedded.fhir.script(REDIRECT, on="_search")
    embedded.fhir.script(WEB_PAGE, on="POST /fhir/?$")
    embedded.dicom.script(answer({"status": "up"}), WEB_PAGE, on=r"changefeed\?")  # and the same without metadata
    ended = embedded.run("run", "--once", "--strict", "--max-duration", "1m", WORKER__POLL_INTERVAL="1s", code=0)
    assert "worker.blocked" in ended.err
    assert set(embedded.studies()) == {"1.2.3"}

"""The command on an on-premises site: a private CA, a password for each server, and what is said when one is amiss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.embedded import Embedded, embedded_servers
from tests.servers.guard import guarded
from tests.servers.pki import Pki

pytestmark = pytest.mark.long

PEERS = ("DICOM", "FHIR")
# A colon and a letter that is no ASCII are legal in a password.
USER, PASSWORD = "dicomcast", "pä:ss wörd"
WAITING = {"WORKER__POLL_INTERVAL": "1s"}
ONCE = ("run", "--once", "--strict")
FOR_A_WHILE = (*ONCE, "--max-duration", "1200ms")


def both(**each: str) -> dict[str, str]:
    """The same settings for both peers."""
    return {f"{peer}__{name}": value for peer in PEERS for name, value in each.items()}


@pytest.fixture
def credentials() -> dict[str, str]:
    """What both servers want."""
    return both(AUTH__KIND="basic", AUTH__USERNAME=USER, AUTH__PASSWORD=PASSWORD)


@pytest.fixture
def site(tmp_path: Path, pki: Pki) -> Iterator[Embedded]:
    """Both servers over https with a certificate of the hospital's CA, and with a password."""
    with embedded_servers(tmp_path, front=guarded(USER, PASSWORD), tls=pki.server()) as site:
        site.put("1.2.3")
        yield site


def test_the_whole_way(site: Embedded, pki: Pki, credentials: dict[str, str]) -> None:
    """`run` casts over https with credentials, and `status` says that both peers are well."""
    settings = credentials | both(TLS__CA_FILE=str(pki.ca_file))
    assert site.dicom_url.startswith("https://") and site.fhir_url.startswith("https://")
    ended = site.run(*ONCE, **settings, code=0)
    assert ended.err.endswith("dicomcast: 1 created; 0 parked now\n")
    assert "credentials.unprotected" not in ended.err
    assert set(site.studies()) == {"1.2.3"}
    status = site.run("status", "--json", **settings, code=0)
    assert (status.json["feed"], status.json["fhir"], status.json["settled"]) == ("ok", "ok", 1)
    shown = {one["variable"]: one["value"] for one in site.run("config", "--json", **settings, code=0).json}
    assert shown["DICOMCAST_DICOM__TLS__CA_FILE"] == str(pki.ca_file)
    assert shown["DICOMCAST_DICOM__AUTH__PASSWORD"] == "********"


def test_files_named_in_toml(site: Embedded, pki: Pki, credentials: dict[str, str]) -> None:
    """The TOML file has a table for TLS, and a relative path is one from where the command is run."""
    (site.folder / "ca.pem").write_bytes(pki.ca_file.read_bytes())
    tables = "".join(f'[{peer.lower()}.tls]\nca_file = "ca.pem"\n' for peer in PEERS)
    (site.folder / "dicomcast.toml").write_text(tables)
    site.run(*ONCE, **credentials, CONFIG="dicomcast.toml", code=0)
    assert set(site.studies()) == {"1.2.3"}


@pytest.mark.parametrize("peer", PEERS)
def test_a_ca_that_is_not_named(site: Embedded, pki: Pki, credentials: dict[str, str], peer: str) -> None:
    """It is waited for, with a sentence that names the setting; `status` says the same. Nothing was sent there."""
    other = next(one for one in PEERS if one != peer)
    settings = {**WAITING, **credentials, f"{other}__TLS__CA_FILE": str(pki.ca_file)}
    ended = site.run(*FOR_A_WHILE, **settings, code=75)
    url = {"DICOM": site.dicom_url, "FHIR": site.fhir_url}[peer]
    said = (
        f"{peer.lower()} at {url} cannot be reached: its TLS certificate is of a CA that is not known here; "
        f"name a file that has it (DICOMCAST_{peer}__TLS__CA_FILE)"
    )
    assert ended.err.splitlines()[-1] == f"dicomcast: {said}"
    assert {"DICOM": site.dicom, "FHIR": site.fhir}[peer].requests == []
    status = site.run("status", "--json", **settings, code=0).json
    assert status["feed" if peer == "DICOM" else "fhir"] == said
    assert status["fhir" if peer == "DICOM" else "feed"] == "ok"


def test_a_wrong_password(site: Embedded, pki: Pki, credentials: dict[str, str]) -> None:
    """Over https as over http: 77, and the group that is to be checked."""
    settings = credentials | both(TLS__CA_FILE=str(pki.ca_file)) | {"FHIR__AUTH__PASSWORD": "another"}
    ended = site.run(*ONCE, **settings, code=77)
    assert "fhir answered 401 to GET /fhir/metadata: check DICOMCAST_FHIR__AUTH" in ended.err
    assert site.store.total_versions() == 0


def test_a_client_certificate(tmp_path: Path, pki: Pki) -> None:
    """Servers that want one get it, with its key beside it; without it they hang up, and the setting is named."""
    certificate, key = pki.pair(pki.leaf("worker@hospital.example"))
    with embedded_servers(tmp_path, tls=pki.demanding()) as site:
        site.put("1.2.3")
        trusted = both(TLS__CA_FILE=str(pki.ca_file))
        ended = site.run(*FOR_A_WHILE, **trusted, **WAITING, code=75)
        assert "does it want a client certificate? (DICOMCAST_DICOM__TLS__CERT_FILE)" in ended.err.splitlines()[-1]
        site.run(*ONCE, **trusted, **both(TLS__CERT_FILE=str(certificate), TLS__KEY_FILE=str(key)), code=0)
        assert set(site.studies()) == {"1.2.3"}


def test_a_file_that_is_not_there(site: Embedded, credentials: dict[str, str]) -> None:
    """A wrong setting, told before anything is asked."""
    for command in (ONCE, ("status",), ("config",)):
        ended = site.run(*command, **credentials, **both(TLS__CA_FILE="none.pem"), code=78)
        remedy = "there is no such file; write the path of one, and in a container mount it there"
        assert ended.err.splitlines() == [f"dicomcast: DICOMCAST_{peer}__TLS__CA_FILE: {remedy}" for peer in PEERS]
    assert site.dicom.requests + site.fhir.requests == []

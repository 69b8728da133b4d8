"""The installed command with its state in an Azure table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from typing import Any

import jwt
import pytest

from tests.history import idle_versions
from tests.servers.azurite import KEY, Tables, azurite
from tests.servers.embedded import Embedded, until
from tests.servers.identity import IdentityEndpoint, identity_endpoint
from tests.servers.pki import Pki

pytestmark = pytest.mark.long

AUDIENCE = "https://storage.azure.com"


@pytest.fixture
def in_tables(embedded: Embedded, tables: str) -> Embedded:
    """The embedded servers, and a table for the state."""
    embedded.tables = Tables(tables)
    return embedded


def test_the_whole_job(in_tables: Embedded) -> None:
    """Cast, changed, cast again, parked and retried: with every command, and no file left behind."""
    in_tables.put("1.2.3", instance="1")
    in_tables.put("1.2.4", instance="1")
    assert "2 created" in in_tables.run("run", "--once", "--strict", code=0).err
    assert in_tables.cursor[0] == 2
    in_tables.put("1.2.3", instance="2")
    in_tables.put("1.2.5")
    in_tables.delete("1.2.4")
    for number in "12":  # two that others made: nobody knows which one to take over
        known = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.5"}
        foreign = {"resourceType": "ImagingStudy", "id": f"theirs-{number}", "identifier": [known], "meta": {}}
        in_tables.store.put(foreign | {"status": "available", "subject": {"display": "somebody"}})
    in_tables.run("run", "--once", code=0)
    [row] = in_tables.tables.parked  # type: ignore[union-attr]
    assert (row.key.study_uid, row.reason) == ("1.2.5", "multiple-match")
    [listed] = in_tables.run("parked", "list", "--json", code=0).json
    assert listed["study"] == "1.2.5"
    assert in_tables.run("status", "--json", code=0).json["parked"] == 1
    for number in "12":
        in_tables.store.delete("ImagingStudy", f"theirs-{number}")
    in_tables.run("parked", "retry", "--all", code=0)
    assert in_tables.parked == 0
    assert {uid: study["numberOfInstances"] for uid, study in in_tables.studies().items()} == {"1.2.3": 2, "1.2.5": 1}
    assert idle_versions(in_tables.store) == []
    assert not in_tables.state.exists()


def test_the_secret_is_hidden(in_tables: Embedded) -> None:
    """`config` shows where it came from and not what it is; nor does the log, where it is refused."""
    shown = in_tables.run("config", code=0)
    assert "DICOMCAST_STATE__CONNECTION_STRING" in shown.out and "********" in shown.out
    assert KEY[:20] not in shown.out
    wrong = in_tables.tables.settings["STATE__CONNECTION_STRING"].replace(KEY[:20], KEY[20:40])  # type: ignore[union-attr]
    refused = in_tables.run("run", "--once", STATE__CONNECTION_STRING=wrong, LOG__LEVEL="debug", code=77)
    assert "is the key that of this account" in refused.err
    assert KEY[20:40] not in refused.err


def test_an_account_that_goes_away(embedded: Embedded, tmp_path: Path) -> None:
    """It is waited for: 75 for a run that ends by itself, and an endless one goes on once it is back."""
    with azurite(tmp_path, lasting=True) as endpoint:
        embedded.tables = Tables(endpoint)
        embedded.put("1.2.3")
        running = embedded.start("run", WORKER__POLL_INTERVAL="1s", WORKER__LEASE="5s")
        until("the study is cast", lambda: embedded.cursor[0] == 1)
    ended = embedded.run("run", "--once", code=75)
    assert "no connection to the storage account" in ended.err
    until("it is told", lambda: "worker.blocked" in running.said)
    with azurite(tmp_path, lasting=True, port=int(endpoint.split(":")[2].split("/")[0])):
        embedded.put("1.2.3", instance="2")
        until("the next entry is cast", lambda: embedded.cursor[0] == 2)
        running.signal(SIGTERM)
        assert running.finish().code == 0


@pytest.fixture
def identity() -> Iterator[IdentityEndpoint]:
    """The identity of a container, whose tokens are for the storage account."""
    with identity_endpoint() as endpoint:
        now = int(time.time())
        told: dict[str, Any] = {"aud": AUDIENCE, "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"}
        endpoint.token = jwt.encode(told | {"iat": now, "nbf": now, "exp": now + 86400}, "k" * 32, algorithm="HS256")
        yield endpoint


def test_a_managed_identity(embedded: Embedded, identity: IdentityEndpoint, pki: Pki, tmp_path: Path) -> None:
    """No secret anywhere: the real credential fetches a token for the account, over TLS, from the platform."""
    files = pki.server()
    with azurite(tmp_path, "--oauth", "basic", certificate=(files["ssl_certfile"], files["ssl_keyfile"])) as endpoint:
        embedded.outside = identity.environ | {"REQUESTS_CA_BUNDLE": str(pki.ca_file)}
        account = {"STATE__URL": endpoint.replace("https://", "azure-tables://")}
        embedded.put("1.2.3")
        assert "1 created" in embedded.run("run", "--once", "--strict", code=0, **account).err
        assert {one["resource"] for one in identity.asked} == {AUDIENCE}
        embedded.put("1.2.3", instance="2")
        assert "1 updated" in embedded.run("run", "--once", "--strict", code=0, **account).err

        identity.token = jwt.encode({"aud": "https://elsewhere.example"}, "k" * 32, algorithm="HS256")
        refused = embedded.run("run", "--once", code=77, **account)
        assert "the role Storage Table Data Contributor" in refused.err
        identity.status = 400
        nobody = embedded.run("run", "--once", code=77, **account)
        assert "give the container a managed identity" in nobody.err

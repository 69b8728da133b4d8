"""Credentials over plain http: closed networks do that, so it is done, and told once at the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicomcast.app import build
from tests.faults import refuse
from tests.given_settings import load
from tests.servers.embedded import embedded_servers
from tests.servers.guard import guarded

USER, PASSWORD = "dicomcast", "sesame"
BASIC = {"KIND": "basic", "USERNAME": USER, "PASSWORD": PASSWORD}
BEARER = {"KIND": "bearer", "TOKEN": PASSWORD}
WAY = "credentials go over plain http, where others can read them; use https (DICOMCAST_DICOM__URL)"


def test_they_are_sent_and_told_once(tmp_path: Path) -> None:
    """At the start, and not with every poll."""
    credentials = {f"{peer}__AUTH__{name}": value for peer in ("DICOM", "FHIR") for name, value in BASIC.items()}
    with embedded_servers(tmp_path, front=guarded(USER, PASSWORD)) as site:
        site.put("1.2.3")
        # This address leads to this machine too, but is not told to be its loopback.
        url = site.dicom_url.replace("127.0.0.1", "0.0.0.0")
        site.fhir.script(*[refuse(503)] * 2, on="metadata")
        ended = site.run(
            "run", "--once", "--max-duration", "1m", **credentials, WORKER__POLL_INTERVAL="1s", DICOM__URL=url, code=0
        )
        told = [json.loads(line) for line in ended.err.splitlines() if "credentials" in line]
        assert "worker.blocked" in ended.err
        assert set(site.studies()) == {"1.2.3"}
    assert [(one["event"], one["level"], one["peer"], one["server"], one["error"]) for one in told] == [
        ("credentials.unprotected", "warning", "dicom", url, WAY)
    ]


@pytest.mark.parametrize(
    ("url", "auth", "told"),
    [
        ("http://archive.hospital.example:8080", BASIC, True),
        ("HTTP://10.0.0.1", BEARER, True),
        ("http://[fd00::1]/fhir", BEARER, True),
        ("http://localhost.hospital.example", BASIC, True),
        ("http://archive.hospital.example", {}, False),
        ("https://archive.hospital.example", BASIC, False),
        ("http://localhost:8080", BASIC, False),
        ("http://archive.localhost", BEARER, False),
        ("http://127.0.0.1", BASIC, False),
        ("http://127.1.2.3:80", BASIC, False),
        ("http://[::1]:8080", BEARER, False),
    ],
)
async def test_when_it_is_told(tmp_path: Path, url: str, auth: dict[str, str], told: bool) -> None:
    """If there are credentials, and they leave this machine without TLS; each peer is told for itself."""
    given = {f"FHIR__AUTH__{name}": value for name, value in auth.items()}
    settings = load(FHIR__URL=url, **given, STATE__URL=f"sqlite:///{tmp_path / 'state.db'}")
    with capture_logs() as logs:
        async with build(settings, read_only=True) as app:
            assert app.fhir.base_url == url
    assert [(one["event"], one["peer"]) for one in logs] == [("credentials.unprotected", "fhir")] * told
    assert PASSWORD not in str(logs)

"""A clinic whose servers want tokens, and the OAuth2 server that issues them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicomcast.app import build
from dicomcast.settings import load_settings
from dicomcast.vitals import Report
from dicomcast.worker import Job, Worker
from tests.servers.embedded import Embedded, embedded_servers
from tests.servers.oauth import CLIENT, SECRET, Keeper, TokenServer, token_server, wanting_tokens

ARCHIVE, RECORD = "https://archive.example", "https://record.example"


@dataclass(slots=True)
class Clinic:
    """Both servers behind a gate-keeper, who knows what the token server issues."""

    embedded: Embedded
    issuer: TokenServer
    keeper: Keeper

    def settings(self, **settings: str) -> dict[str, str]:
        """Client credentials for both peers, and what else a test sets."""
        both = {
            "KIND": "client-credentials",
            "TOKEN_URL": self.issuer.endpoint,
            "CLIENT_ID": CLIENT,
            "CLIENT_SECRET": SECRET,
        }
        given = {f"{peer}__AUTH__{name}": value for peer in ("DICOM", "FHIR") for name, value in both.items()}
        given |= {"DICOM__AUTH__SCOPE": f"{ARCHIVE}/.default", "FHIR__AUTH__AUDIENCE": RECORD}
        return given | settings

    async def run(self, **settings: str) -> Report:
        """`run --once`, in this process."""
        environ = self.embedded.environ(**self.settings(**settings))
        async with build(load_settings(environ)) as app:
            return await Worker(app).run(Job())


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    """A clinic with one study in its archive."""
    with token_server() as issuer:
        keeper = Keeper({"/fhir": RECORD, "/": ARCHIVE})
        with embedded_servers(tmp_path, front=wanting_tokens(issuer, keeper)) as embedded:
            embedded.put("1.2.3")
            yield Clinic(embedded, issuer, keeper)

"""`examples/queries`: what each script prints of a hospital whose archive was cast, and to which others added findings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomcast.demo.fhir_server import fhir_server
from tests.examples.variables import EXAMPLES
from tests.harness import SYSTEM
from tests.made_files import ct
from tests.servers.embedded import Embedded, embedded_servers

FOLDER = EXAMPLES / "queries"
SNOMED = "http://snomed.info/sct"
STAFF, RADIOLOGIST = "urn:oid:2.25.9", "R-7"
MODEL = "urn:example:models|bone-2"

pytestmark = pytest.mark.long


class WithoutIdentifier:
    """A front that knows no modifier `:identifier`, as many servers do not; it keeps what was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.knows, self.addresses = app, True, set[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse such a search with 400."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.addresses.add(f"{scope['path']}?{scope['query_string'].decode()}")
        body = await Request(scope, receive).body()
        if not self.knows and b"%3Aidentifier=" in body:
            return await JSONResponse({"resourceType": "OperationOutcome"}, 400)(scope, receive, send)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self.app(scope, again, send)


class Hospital:
    """Everything that was cast and added, and the scripts to ask for it."""

    def __init__(self, servers: Embedded, front: WithoutIdentifier) -> None:
        self.servers, self.front = servers, front

    def add(self, kind: str, patient: str, **elements: Any) -> str:
        """A resource of others, which the server takes as it takes one by HTTP."""
        subject = {"reference": f"Patient/{self.patient(patient)['id']}"}
        app = fhir_server(self.servers.store)
        resource = {"resourceType": kind, "subject": subject, **elements}
        from starlette.testclient import TestClient

        answer = TestClient(app).post(f"/fhir/{kind}", json=resource)
        assert answer.status_code == 201, answer.text
        return f"{kind}/{answer.json()['id']}"

    def patient(self, id: str) -> dict[str, Any]:
        return next(one for one in self.servers.store.resources("Patient") if one["identifier"][0]["value"] == id)

    def study(self, uid: str) -> dict[str, str]:
        return {"reference": f"ImagingStudy/{self.servers.studies()[uid]['id']}"}

    def run(self, script: str, *arguments: str) -> str:
        """What a script prints."""
        environ = {"FHIR_URL": self.servers.fhir_url}
        command = [sys.executable, "-W", "error", FOLDER / script, *arguments]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def rows(self, script: str, *arguments: str) -> list[dict[str, Any]]:
        """The same for programs."""
        found: list[dict[str, Any]] = json.loads(self.run(script, *arguments, "--json"))
        return found

"""A client of the embedded FHIR server, and the smallest resources that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from dicomcast.demo.fhir_server import fhir_server
from dicomcast.demo.fhir_store import FhirStore

BASE = "http://fhir.test/fhir"
FHIR_JSON = "application/fhir+json"


def patient(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **elements}


def study(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "ImagingStudy", "status": "available", **elements}


class Client:
    """A server with an empty store, and a client of it over HTTP."""

    def __init__(self, **options: Any) -> None:
        self.store = FhirStore()
        self.app = fhir_server(self.store, **options)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(base_url=f"{BASE}/", transport=transport)

    async def send(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        return await self._client.request(method, path, content=content, headers=headers, params=params)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.send("GET", path, params=params)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.send("POST", path, orjson.dumps(body), {"Content-Type": FHIR_JSON, **(headers or {})})

    async def put(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.send("PUT", path, orjson.dumps(body), {"Content-Type": FHIR_JSON, **(headers or {})})

    async def delete(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.send("DELETE", path, headers=headers)

    async def search(self, kind: str, query: Mapping[str, str], method: str = "GET") -> Any:
        """The Bundle of the first page."""
        if method == "GET":
            return (await self.get(kind, query)).json()
        return (await self._client.post(f"{kind}/_search", data=dict(query))).json()

    async def bundle(self, type: str, *entries: Mapping[str, Any]) -> httpx.Response:
        """Post a transaction or a batch to the base."""
        bundle = {"resourceType": "Bundle", "type": type, **({"entry": entries} if entries else {})}
        return await self.post(BASE, bundle)

    def link(self, bundle: Mapping[str, Any], relation: str) -> str:
        return next((one["url"] for one in bundle["link"] if one["relation"] == relation), "")

    def outcome(self, response: httpx.Response, status: int) -> str:
        """The code of the OperationOutcome of an answer of this status."""
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == FHIR_JSON
        assert response.json()["resourceType"] == "OperationOutcome"
        return str(response.json()["issue"][0]["code"])

    async def close(self) -> None:
        await self._client.aclose()

"""What the contenders beside dicomcast share: its HTTP client library and its parser, so that these tell nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

__all__ = ["Peer", "peers"]


class Peer:
    """A server, asked for JSON."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **query: str) -> Any:
        """The JSON of a GET."""
        return orjson.loads((await self._client.get(path, params=query)).raise_for_status().content)

    async def post(self, bundle: bytes) -> Any:
        """Post a bundle to the base."""
        headers = {"Content-Type": "application/fhir+json"}
        return orjson.loads((await self._client.post("", content=bundle, headers=headers)).raise_for_status().content)


@asynccontextmanager
async def peers(*urls: str) -> AsyncIterator[list[Peer]]:
    """A connection to each of these servers."""
    clients = [httpx.AsyncClient(base_url=url + "/", timeout=60) for url in urls]
    try:
        yield [Peer(client) for client in clients]
    finally:
        for client in clients:
            await client.aclose()

"""A peer that answers as it is told, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.errors import DicomCastError
from dicomcast.http import Http

BASE = "http://fhir.test/fhir"
SECRET = "Roentgen-4711"  # stands for a patient's name or id

Handler = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def peer(handler: Handler, **options: Any) -> AsyncIterator[Http]:
    """A peer that answers as `handler` does, and is asked once."""
    http = Http("fhir", BASE, transport=httpx.MockTransport(handler), **({"budget": timedelta(0)} | options))
    yield http
    await http.close()


async def refused(handler: Handler, **request: Any) -> DicomCastError:
    """The error that a request comes to."""
    async with peer(handler) as http:
        with pytest.raises(DicomCastError) as caught:
            await http.request("POST", "Patient/_search", **request)
    return caught.value

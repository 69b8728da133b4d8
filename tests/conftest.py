"""What all tests share: hypothesis' pace, and the embedded servers over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.embedded import Embedded, embedded_servers

_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("quick", deadline=None, max_examples=40, suppress_health_check=_CHECKS)
settings.register_profile("soak", deadline=None, max_examples=3000, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("DICOMCAST_TEST_PROFILE", "quick"))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    """An archive and a FHIR server over HTTP, and the installed command to run on them."""
    with embedded_servers(tmp_path) as servers:
        yield servers

"""What all tests share: hypothesis' pace, the embedded servers over HTTP, and the servers that are not ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import DIFFERENT, SERVERS, require, running
from tests.servers.azurite import azurite
from tests.servers.embedded import Embedded, embedded_servers
from tests.servers.orthanc import Orthanc, orthanc
from tests.servers.pki import Pki
from tests.servers.site import Site, site_at

_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("quick", deadline=None, max_examples=40, suppress_health_check=_CHECKS)
settings.register_profile("soak", deadline=None, max_examples=3000, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("DICOMCAST_TEST_PROFILE", "quick"))


@pytest.fixture(scope="session")
def real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts a FHIR server that is not ours when a test first asks for it; the tests of a session share it."""
    with ExitStack() as stack:

        @cache
        def start(name: str) -> str:
            return stack.enter_context(running(SERVERS[name], tmp_path_factory.mktemp(name)))

        yield start


@pytest.fixture(params=DIFFERENT)
def real_server(request: pytest.FixtureRequest, real_servers: Callable[[str], str]) -> str:
    """The base URL of each of these servers in turn."""
    require(SERVERS[request.param])
    return real_servers(request.param)


@pytest.fixture
def site(real_server: str, tmp_path: Path) -> Iterator[Site]:
    """An archive, a corner of the server for this test alone, and the command line between them."""
    with site_at(real_server, tmp_path) as site:
        yield site


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Azure's tables, which the tests of a session share."""
    with azurite(tmp_path_factory.mktemp("azurite")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A hospital's CA, and the certificates that a test asks of it."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    """An archive and a FHIR server over HTTP, and the installed command to run on them."""
    with embedded_servers(tmp_path) as servers:
        yield servers


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts a real Orthanc with the options of `tests.servers.orthanc.orthanc`; each has a folder of its own."""
    with ExitStack() as stack:
        folders = (tmp_path / f"orthanc-{number}" for number in count())
        yield lambda **options: stack.enter_context(orthanc(next(folders), **options))

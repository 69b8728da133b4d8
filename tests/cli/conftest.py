"""What the tests of the command line and of the settings share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicomcast.settings import sources
from tests.servers.azurite import Tables
from tests.servers.embedded import Embedded


@pytest.fixture(autouse=True, scope="module")
def no_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the /run/secrets of the machine out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "DEFAULT_SECRETS_DIR", tmp_path_factory.mktemp("run") / "secrets")
        yield


@pytest.fixture(params=["sqlite", "azure-tables"])
def each_store(request: pytest.FixtureRequest, embedded: Embedded) -> None:
    """Every kind of state store in turn."""
    if request.param == "azure-tables":
        embedded.tables = Tables(request.getfixturevalue("tables"))

"""One Orthanc with the plugin for the tests that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.orthanc.plugin import Feed, with_feed
from tests.servers.embedded import until


@pytest.fixture(scope="package")
def shared_feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    """The whole feed of an Orthanc that all tests here share."""
    folder = tmp_path_factory.mktemp("shared") / "orthanc"
    with with_feed(folder, MaximumStorageCacheSize=0) as feed:  # so that it misses what is missing
        yield feed


@pytest.fixture
def feed(shared_feed: Feed) -> Feed:
    """An Orthanc without content, and its feed from now on."""
    server = shared_feed.server
    for patient in server.ask("GET", "/patients"):
        server.delete("patient", patient)
    until("all was gone", lambda: all(one["state"] == "Deleted" for one in shared_feed.entries()))
    return Feed(server, len(shared_feed.entries()))

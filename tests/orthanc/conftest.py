"""The plugin: in one Orthanc for all tests that do not stop it, and in none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orthanc.fake_orthanc import Plugin
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


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    """In an Orthanc that is none, with a file of its own."""
    plugin = Plugin(tmp_path / "feed")
    yield plugin
    plugin.close()

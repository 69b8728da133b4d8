"""SIGKILL at any moment: what was settled stays settled, what was not is cast again, and nothing is written twice."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.history import content, idle_versions
from tests.servers.embedded import Embedded, Running, embedded_servers
from tests.traffic import Traffic

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("each_store")]


@dataclass(frozen=True, slots=True)
class Size:
    """How many entries the feed has at least, and how often the command is killed at least."""

    entries: int
    kills: int


SIZE = {"soak": Size(5_000, 100)}.get(os.environ.get("DICOMCAST_TEST_PROFILE", ""), Size(300, 6))
SETTINGS = {"WORKER__LEASE": "1s", "WORKER__WINDOW": "5", "WORKER__RETRY_BUDGET": "10s"}


def requests(embedded: Embedded) -> int:
    """How many requests both servers have seen."""
    return len(embedded.dicom.requests) + len(embedded.fhir.requests)


def killed(embedded: Embedded, running: Running, after: int) -> bool:
    """Kill a process a moment after so many more requests; False if it came to its end before."""
    end = requests(embedded) + after
    while requests(embedded) < end and running.process.poll() is None:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02))
    alive = running.process.poll() is None
    running.process.send_signal(SIGKILL)
    ended = running.finish()
    assert ended.code == (-SIGKILL if alive else 0) or lost_the_lease(ended.err), ended.err[-2000:]
    return alive


def lost_the_lease(err: str) -> bool:
    """A machine that is too busy for a lease of a second: the command ends by itself, and is started again."""
    return "the lease of this source has run out" in err


@pytest.mark.timeout(300)
def test_killed_at_any_moment(embedded: Embedded, tmp_path: Path) -> None:
    """The feed is drained by a command that is killed again and again while the archive changes.

    In the end FHIR holds what one cast of the archive's end state makes, and no version says what the one before
    it said.
    """
    traffic = Traffic(embedded.archive, random.Random(random.getrandbits(32)))
    traffic.flow(SIZE.entries // 2)
    kills, revision = 0, 0
    while kills < SIZE.kills or traffic.entries < SIZE.entries:
        running = embedded.start("run", "--once", **SETTINGS)
        if killed(embedded, running, random.randrange(60)):
            kills += 1
        assert embedded.cursor[1] >= revision, "the cursor went back"
        revision = embedded.cursor[1]
        if traffic.entries < SIZE.entries or embedded.cursor[0] == embedded.archive.latest_v1()["sequence"]:
            traffic.flow(1 + SIZE.entries // (2 * SIZE.kills))

    embedded.run("run", "--once", "--strict", code=0)
    assert embedded.cursor[0] == embedded.archive.latest_v1()["sequence"]
    assert idle_versions(embedded.store) == []
    assert content(embedded.store) == cast_afresh(embedded, tmp_path / "fresh")


def cast_afresh(embedded: Embedded, folder: Path) -> object:
    """What one window over all of the archive's feed makes in another FHIR server."""
    folder.mkdir()
    with embedded_servers(folder) as other:
        state = f"sqlite:///{folder / 'state.db'}"
        settings = {"FHIR__URL": other.fhir_url, "STATE__URL": state, "STATE__CONNECTION_STRING": ""}
        embedded.run("run", "--once", "--strict", **settings, WORKER__WINDOW="10000", code=0)
        return content(other.store)

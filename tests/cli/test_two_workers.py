"""Two workers on one state store: one is active, the other takes over; the cursor never goes back."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import pytest

from tests.cli.test_crash import cast_afresh
from tests.faults import Fault, Gate
from tests.history import content, idle_versions
from tests.servers.embedded import PATIENCE, Embedded, Running, until
from tests.traffic import Traffic

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("each_store")]

SETTINGS = {"WORKER__POLL_INTERVAL": "1s", "WORKER__LEASE": "1s", "WORKER__WINDOW": "5", "WORKER__RETRY_BUDGET": "5s"}
# How often a worker is killed or paused, and how long what is left of the feed may take then.
ROUNDS, REST = (60, 600.0) if os.environ.get("DICOMCAST_TEST_PROFILE") == "soak" else (3, PATIENCE)


@dataclass(slots=True)
class Watch:
    """Looks at the checkpoint and the lease all the time, as a bystander."""

    embedded: Embedded
    seen: tuple[int, int, int] = (0, 0, 0)
    workers: dict[str, Running] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a worker, whose requests to the FHIR server are known by its name."""
        credentials = {"FHIR__AUTH__KIND": "bearer", "FHIR__AUTH__TOKEN": name}
        self.workers[name] = self.embedded.start("run", **SETTINGS, **credentials)

    def pause(self, name: str) -> None:
        """Stop a worker, but not while it holds the lock of the file: then nobody could take over."""
        self.workers[name].signal(SIGSTOP)
        while self._locked():
            self.workers[name].signal(SIGCONT)
            self.workers[name].signal(SIGSTOP)

    def _locked(self) -> bool:
        """Whether somebody holds the lock for longer than a write takes; a table has none."""
        if self.embedded.tables is not None:
            return False
        with closing(sqlite3.connect(self.embedded.state, timeout=2, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            database.execute("ROLLBACK")
            return False

    def look(self) -> None:
        """Neither the sequence, nor the revision, nor the epoch ever goes back."""
        sequence, revision = self.embedded.cursor
        now = (sequence, revision, self.embedded.epoch)
        assert all(before <= after for before, after in zip(self.seen, now, strict=True)), (self.seen, now)
        self.seen = now

    def until(self, what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
        """Look while waiting."""

        def reached() -> Any:
            self.look()
            return condition()

        try:
            until(what, reached, patience)
        except AssertionError as error:
            logs = "\n".join(f"{name}: {running.said[-1500:]}" for name, running in self.workers.items())
            raise AssertionError(f"{error}\n{logs}") from None

    def until_settled(self, windows: int) -> None:
        """Wait until so many windows more are settled."""
        wanted = self.seen[1] + windows
        self.until(f"{windows} more windows are settled", lambda: self.seen[1] >= wanted)

    def writes(self, name: str) -> int:
        """How many transactions a worker has sent."""
        pairs = zip(self.embedded.fhir.requests, self.embedded.fhir.callers, strict=True)
        return sum(request.startswith("POST /fhir/") and "_search" not in request and caller == f"Bearer {name}"
                   for request, caller in pairs)  # fmt: skip

    def end(self) -> None:
        """Both end well, once they are at work."""
        for running in self.workers.values():
            until("it has begun", lambda running=running: running.said)
        for running in self.workers.values():
            running.signal(SIGTERM)
        for running in self.workers.values():
            assert running.finish().code == 0


@pytest.fixture
def watch(embedded: Embedded) -> Watch:
    """A bystander."""
    return Watch(embedded)


def instances(embedded: Embedded) -> int:
    """How many instances FHIR has of the one study."""
    return sum(study["numberOfInstances"] for study in embedded.studies().values())


@pytest.mark.parametrize("moment", ["before its write", "before its write arrives", "before its answer arrives"])
def test_an_owner_that_wakes_up_too_late(embedded: Embedded, watch: Watch, moment: str) -> None:
    """A worker that is paused in the middle of a cast and overtaken writes nothing more under its old epoch."""
    embedded.put("1.2.3", instance="1")
    watch.start("first")
    watch.until("the first worker has cast the study", lambda: embedded.cursor[0] == 1)
    gate = Gate()
    fault = Fault(late=gate) if "answer" in moment else Fault(gate=gate)
    # The study is known from the first cast; another instance's PatientID is looked up before anything is written.
    embedded.fhir.script(fault, on="Patient/_search" if moment == "before its write" else "POST /fhir/?$")
    embedded.put("1.2.3", instance="2", PatientID="P2")
    watch.until("the first worker is in the middle of it", gate.arrived.is_set)
    watch.pause("first")
    embedded.put("1.2.3", instance="3")
    sent, _, epoch = watch.writes("first"), *watch.seen[1:]

    watch.start("second")
    watch.until("the second worker has taken over and cast it", lambda: embedded.cursor[0] == 3)
    assert instances(embedded) == 3
    assert watch.seen[2] == epoch + 1
    gate.opened.set()
    watch.workers["first"].signal(SIGCONT)
    watch.until("the first worker stands by", lambda: "worker.standby" in watch.workers["first"].said)
    assert watch.writes("first") == sent
    assert instances(embedded) == 3
    assert embedded.cursor == watch.seen[:2]

    watch.workers.pop("second").process.send_signal(SIGKILL)
    embedded.put("1.2.3", instance="4")
    watch.until("the first worker is active again", lambda: embedded.cursor[0] == 4)
    assert instances(embedded) == 4
    assert watch.seen[2] == epoch + 2
    assert idle_versions(embedded.store) == []
    watch.end()


def test_killed_and_paused_at_random(embedded: Embedded, watch: Watch, tmp_path: Path) -> None:
    """While the archive changes, one worker or the other is killed or paused; in the end FHIR is right."""
    traffic = Traffic(embedded.archive, random.Random(random.getrandbits(32)))
    for name in ("first", "second"):
        watch.start(name)
    for _ in range(ROUNDS):
        traffic.flow(60)
        watch.until_settled(random.randrange(1, 4))
        name = random.choice(sorted(watch.workers))
        if random.random() < 0.5:
            watch.workers.pop(name).process.send_signal(SIGKILL)
            watch.start(name)
            continue
        watch.pause(name)
        traffic.flow(5)
        watch.until_settled(1)  # by the other one, or before the pause
        watch.workers[name].signal(SIGCONT)

    last = embedded.archive.latest_v1()["sequence"]
    watch.until("all is settled", lambda: embedded.cursor[0] == last, REST)
    watch.end()
    watch.look()
    assert embedded.parked == 0
    assert idle_versions(embedded.store) == []
    assert content(embedded.store) == cast_afresh(embedded, tmp_path / "fresh")

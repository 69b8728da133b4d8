"""SIGTERM and Ctrl-C: the window in hand is finished and saved, nothing is lost, and nothing is written twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from signal import SIGINT, SIGTERM, Signals

import pytest

from dicomcast.app import build
from dicomcast.errors import Retriable
from dicomcast.settings import load_settings
from dicomcast.state import open_store
from dicomcast.worker import Job, Worker
from tests.faults import Fault, Gate, refuse
from tests.history import idle_versions
from tests.servers.embedded import Embedded, Running, until

# Nothing happens by itself: what ends, ends by the signal.
ENDLESS = {"WORKER__POLL_INTERVAL": "1h", "WORKER__LEASE": "1h"}
STUDIES = [f"1.2.{number}" for number in range(3)]

NOTHING = "ended before anything was settled; the next run goes on from the cursor"

both = pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=["SIGTERM", "SIGINT"])


@pytest.fixture(autouse=True)
def three_windows(embedded: Embedded) -> None:
    """Three studies of one Patient, so far apart in the feed that each is a window of its own."""
    for study in STUDIES:
        embedded.put(study)
        embedded.archive.skip_sequences(100)


def ends_well(embedded: Embedded, running: Running, number: Signals) -> str:
    """It ends with 0 and without the lease; returns its last line."""
    ended = running.finish()
    assert ended.code == 0, ended.err
    assert f'"signal": "{number.name}"' in ended.err
    held = "SELECT owner FROM lease WHERE expires_at > strftime('%Y-%m-%dT%H:%M:%S', 'now')"
    assert embedded.query(held) == []
    return ended.err.splitlines()[-1]


def casts_the_rest(embedded: Embedded) -> None:
    """The next run leaves FHIR right, and no version was written for nothing."""
    embedded.run("run", "--once", "--strict", code=0)
    assert sorted(embedded.studies()) == STUDIES
    assert idle_versions(embedded.store) == []


@both
def test_in_the_middle_of_a_transaction(embedded: Embedded, number: Signals) -> None:
    """The window in hand is finished and its cursor saved; the next one is not begun."""
    gate = Gate()
    embedded.fhir.script(Fault(), Fault(gate=gate), on="POST /fhir/?$")  # the first one makes the Endpoint
    running = embedded.start("run", **ENDLESS, WORKER__WINDOW="1")
    assert gate.arrived.wait(30)
    running.signal(number)
    until("the signal is heard", lambda: "worker.stopping" in running.said)
    gate.opened.set()
    assert ends_well(embedded, running, number) == "dicomcast: 1 created; 0 parked now"
    assert list(embedded.studies()) == STUDIES[:1]
    assert embedded.cursor[0] == 1
    casts_the_rest(embedded)


@both
def test_while_a_peer_is_away(embedded: Embedded, number: Signals) -> None:
    """Neither the wait for the next poll nor that for the next try of a request holds up the end."""
    embedded.fhir.always(refuse(503, retry_after="3600"))
    running = embedded.start("run", **ENDLESS, WORKER__RETRY_BUDGET="0s" if number is SIGTERM else "2h")
    if number is SIGTERM:
        until("it waits for the next poll", lambda: "worker.blocked" in running.said)
    else:
        until("it waits for the next try", lambda: embedded.fhir.requests)
    running.signal(number)
    assert ends_well(embedded, running, number) == f"dicomcast: {NOTHING}; 0 parked now"
    assert embedded.cursor == (0, 0)
    embedded.fhir.heal()
    casts_the_rest(embedded)


def test_in_standby(embedded: Embedded) -> None:
    """A worker that stands by ends at once, and leaves the lease to its owner."""

    async def lease(ttl: timedelta) -> None:
        store = open_store(f"sqlite:///{embedded.state}")
        await store.acquire(embedded.dicom_url, "the-other", datetime.now(UTC), ttl)
        await store.close()

    asyncio.run(lease(timedelta(hours=1)))
    running = embedded.start("run", **ENDLESS)
    until("it stands by", lambda: "another worker (the-other) is active" in running.said)
    running.signal(SIGTERM)
    ended = running.finish()
    assert (ended.code, ended.err.splitlines()[-1]) == (0, f"dicomcast: {NOTHING}; 0 parked now")
    assert embedded.query("SELECT owner, epoch FROM lease") == [("the-other", 1)]
    assert embedded.fhir.requests == []
    asyncio.run(lease(timedelta(0)))
    casts_the_rest(embedded)


def test_between_polls(embedded: Embedded) -> None:
    """A worker that waits for the next poll ends at once; there was nothing left to do."""
    running = embedded.start("run", **ENDLESS)
    until("the feed is read to its end", lambda: embedded.cursor[0] == 203)
    running.signal(SIGTERM)
    assert ends_well(embedded, running, SIGTERM) == "dicomcast: 3 created; 0 parked now"
    casts_the_rest(embedded)


async def test_time_runs_out_while_a_peer_hangs(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that had to drop a window when its time was over has not done its job, and says so: exit 75."""
    monkeypatch.setattr("dicomcast.worker._GRACE", 0.1)
    gate = Gate()
    embedded.fhir.script(Fault(gate=gate), on="POST /fhir/?$")
    async with build(load_settings(embedded.environ())) as app:
        with pytest.raises(Retriable, match="did not finish in time") as caught:
            await Worker(app).run(Job(limit=1.0))
        gate.opened.set()
    assert caught.value.exit_code == 75
    casts_the_rest(embedded)


def test_a_second_signal(embedded: Embedded) -> None:
    """Who asks twice does not get to wait for the window in hand; what it wrote is found by the next run."""
    gate = Gate()
    embedded.fhir.script(Fault(), Fault(gate=gate), on="POST /fhir/?$")
    running = embedded.start("run", **ENDLESS)
    assert gate.arrived.wait(30)
    running.signal(SIGTERM)
    until("the signal is heard", lambda: "worker.stopping" in running.said)
    running.signal(SIGTERM)
    assert running.finish().code == -SIGTERM
    gate.opened.set()
    until("the transaction is through", lambda: embedded.studies())
    assert embedded.cursor[0] == 0
    asyncio.run(_give_back(embedded))
    casts_the_rest(embedded)


async def _give_back(embedded: Embedded) -> None:
    """The lease of a process that was killed would last for an hour."""
    store = open_store(f"sqlite:///{embedded.state}")
    lease = await store.lease(embedded.dicom_url)
    assert lease is not None
    await store.release(lease)
    await store.close()

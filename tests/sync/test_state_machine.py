"""Laws 1 to 3 through crashes, lost leases and answers, throttling, conflicts, late rows: convergence each time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dicomcast.errors import DicomCastError
from dicomcast.mapping.rules import Rules
from dicomcast.model import Checkpoint
from tests.harness import CT, SR, SYSTEM, Harness
from tests.trouble import Crash, Trouble, Troubled

STUDIES = ["1.2", "1.3"]
KINDS = [
    *("500", "502", "503", "503 0", "429", "429 0", "412", "401", "403", "422", "404"),
    *("reset", "lost", "garbled", "crash before", "crash after"),
]
# The second takes transactions apart, the third chooses ids itself.
SERVERS: list[dict[str, Any]] = [{}, {"transactions": False}, {"update_create": False}]

places = st.tuples(st.sampled_from(STUDIES), st.sampled_from("12"), st.sampled_from("123"))
attributes = st.fixed_dictionaries(
    {
        "PatientID": st.sampled_from(["P1", "P2"]),
        "PatientName": st.sampled_from(["Doe^Jane", "Roe^Rick"]),
        "SOPClassUID": st.sampled_from([CT, SR]),
        "InstanceNumber": st.sampled_from([None, 1, 2]),
        "StudyDescription": st.sampled_from([None, "a", "b"]),
        "StudyDate": st.sampled_from([None, "20240101", "20240201"]),
    }
)


class Troubles(Harness):
    """A harness whose requests and whose state store meet trouble."""

    def __init__(self, **options: Any) -> None:
        self.trouble = Trouble()
        super().__init__(**options)

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Troubled(transport, peer, self.trouble)

    def restart(self) -> None:
        self.trouble.dead = False
        super().restart()
        advance = self.state.advance
        if getattr(advance, "troubled", False):
            return

        async def troubled(*args: Any, **kwargs: Any) -> Checkpoint:
            kind = self.trouble.strikes("store")
            if kind == "crash before":
                self.trouble.crash()
            if kind == "call" and self.trouble.action is not None:
                await self.trouble.action()
            checkpoint = await advance(*args, **kwargs)
            if kind == "crash after":
                self.trouble.crash()
            return checkpoint

        troubled.troubled = True  # type: ignore[attr-defined]
        self.state.advance = troubled  # type: ignore[method-assign]


class Sync(RuleBasedStateMachine):
    """Whatever happens to the worker, FHIR ends up as the archive is, and the cursor never goes back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.revision = 0
        self.stalled = False

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(
        api=st.sampled_from(["v1", "v2", "orthanc", "dicomweb"]),
        window=st.sampled_from([1, 3, 2500]),
        server=st.sampled_from(SERVERS),
        most=st.sampled_from([None, 0, 1, 2, 3]),
    )
    def begin(self, api: str, window: int, server: dict[str, Any], most: int | None) -> None:
        async def make() -> Troubles:
            return Troubles(api=api, window=window, rules=Rules(SYSTEM, most_listed=most), **server)

        self.server = server
        self.harness = self.run(make())

    @rule(place=places, how=attributes)
    def put(self, place: tuple[str, str, str], how: dict[str, Any]) -> None:
        """An instance is stored, or replaced."""
        study, series, instance = place
        uids = study, f"{study}.{series}", f"{study}.{series}.{instance}"
        if self.harness.api == "dicomweb" and uids in self.present():
            return  # which no search would show
        self.harness.put(*uids, **how)

    @rule(place=places, depth=st.sampled_from([1, 2, 3]))
    def delete(self, place: tuple[str, str, str], depth: int) -> None:
        """A study, a series or an instance is deleted."""
        study, series, instance = place
        uids = [study, f"{study}.{series}", f"{study}.{series}.{instance}"][:depth]
        if any(one[:depth] == tuple(uids) for one in self.present()):
            self.harness.archive.delete("Microsoft.Default", *uids)

    @rule(study=st.sampled_from(STUDIES), patient=st.sampled_from(["P1", "P2", "P3"]))
    def bulk_update(self, study: str, patient: str) -> None:
        """A study gets another PatientID."""
        if any(one[0] == study for one in self.present()):
            change = {"00100020": {"vr": "LO", "Value": [patient]}}
            self.harness.archive.bulk_update("Microsoft.Default", [study], change)

    @rule(kind=st.sampled_from(["missing", "corrupt"]), study=st.sampled_from(STUDIES))
    def poison(self, kind: str, study: str) -> None:
        """The metadata of an instance cannot be read any more."""
        for one in self.present():
            if one[0] == study:
                self.harness.archive.poison(*one, kind=kind)
                return

    @rule()
    def heal(self) -> None:
        """All metadata can be read again."""
        for one in self.present():
            self.harness.archive.heal(*one)

    @rule(count=st.integers(1, 150))
    def gap(self, count: int) -> None:
        """Sequences are lost."""
        self.harness.archive.skip_sequences(count)

    @rule()
    def hold(self) -> None:
        """From now on stores are numbered, but not yet visible."""
        self.harness.archive.hold()

    @rule()
    def release(self) -> None:
        """They become visible, behind entries that were read already."""
        self.harness.archive.release()

    @rule(
        kind=st.sampled_from(KINDS),
        after=st.integers(0, 8),
        peer=st.sampled_from(["dicom", "fhir", "store", ""]),
        minutes=st.sampled_from([0, 5]),
    )
    def cast_in_trouble(self, kind: str, after: int, peer: str, minutes: int) -> None:
        """The worker runs, and meets trouble at one of its steps."""
        self.harness.trouble.kind, self.harness.trouble.countdown = kind, after
        self.harness.trouble.peer = peer
        self.cast(minutes)

    @rule(
        after=st.integers(0, 8),
        peer=st.sampled_from(["dicom", "fhir", "store"]),
        meanwhile=st.sampled_from(["put", "delete", "rename", ""]),
    )
    def lease_is_lost(self, after: int, peer: str, meanwhile: str) -> None:
        """The worker stalls at one of its steps; another takes over and does the work; then the first wakes up."""
        stalled = self.harness

        async def take_over() -> None:
            self.time_passes(10)
            self.archive_changes(meanwhile)  # so that the successor knows more
            rival = Harness(api=stalled.api, window=stalled.window, rules=stalled.rules, rival_of=stalled)
            await rival.drain()
            stalled.tenure.expire()
            self.stalled = True

        self.harness.trouble.kind, self.harness.trouble.countdown = "call", after
        self.harness.trouble.peer, self.harness.trouble.action = peer, take_over
        self.cast(0)

    def archive_changes(self, how: str) -> None:
        """While a worker stalls."""
        present = self.present()
        match how:
            case "put":
                self.harness.put("1.2", "1.2.9", "1.2.9.9")
            case "delete" if present:
                self.harness.archive.delete("Microsoft.Default", *present[0])
            case "rename" if present:
                change = {"00100020": {"vr": "LO", "Value": ["P9"]}}
                self.harness.archive.bulk_update("Microsoft.Default", [present[0][0]], change)

    @rule(study=st.sampled_from(STUDIES), after=st.integers(0, 8), peer=st.sampled_from(["dicom", "fhir", "store"]))
    def somebody_asks_for_a_study(self, study: str, after: int, peer: str) -> None:
        """An operator's replay is handed to the worker while it is at work; then the archive changes."""
        harness = self.harness

        async def ask() -> None:
            await harness.synchronizer.hand_over(await harness.synchronizer.keys_of_studies([study]))

        harness.trouble.kind, harness.trouble.countdown = "call", after
        harness.trouble.peer, harness.trouble.action = peer, ask
        self.cast(0)

    @rule(study=st.sampled_from(STUDIES), after=st.integers(0, 6))
    def somebody_writes_a_note(self, study: str, after: int) -> None:
        """Somebody else changes the ImagingStudy between our look and our write (412)."""

        async def write() -> None:
            for one in self.harness.studies():
                if one["identifier"][0]["value"] == f"urn:oid:{study}":
                    self.harness.store.put(one | {"note": [*one.get("note", []), {"text": "by hand"}]})

        self.harness.trouble.kind, self.harness.trouble.countdown = "call", after
        self.harness.trouble.peer, self.harness.trouble.action = "fhir", write
        self.cast(0)

    @rule(first=st.integers(1, 12))
    def replay(self, first: int) -> None:
        """Entries are delivered again."""

        async def work() -> None:
            await self.harness.open()
            await self.harness.replay(first, first + 4)

        self.attempt(work())

    @rule()
    def retry(self) -> None:
        """The parked studies whose time has come are tried again."""
        self.attempt(self.retried())

    @invariant()
    def cursor_never_goes_back(self) -> None:
        """Law 2: the revision of the checkpoint only grows."""
        if hasattr(self, "harness"):
            revision = self.run(self.harness.state.load(self.harness.feed.source)).revision
            assert revision >= self.revision
            self.revision = revision

    def present(self) -> list[tuple[str, str, str]]:
        tags = ("0020000D", "0020000E", "00080018")
        catalogue = self.harness.archive.catalogue("Microsoft.Default")
        return sorted(
            (one[tags[0]]["Value"][0], one[tags[1]]["Value"][0], one[tags[2]]["Value"][0]) for one in catalogue
        )

    def time_passes(self, minutes: int) -> None:
        """A store takes no longer to become visible than the safety lag: that is the service's side of the law."""
        if minutes:
            self.harness.archive.release()
            self.harness.now += timedelta(minutes=minutes)

    async def retried(self) -> None:
        self.time_passes(1)
        await self.harness.open()
        await self.harness.synchronizer.retry_parked()

    async def drained(self, minutes: int) -> None:
        self.time_passes(minutes)
        await self.harness.drain()

    def cast(self, minutes: int) -> None:
        self.attempt(self.drained(minutes))
        self.harness.trouble.kind = ""

    def attempt(self, work: Coroutine[Any, Any, None]) -> None:
        """Errors of ours stop the worker where it is; after a crash a new process starts."""
        try:
            with contextlib.suppress(DicomCastError):
                self.run(work)
        except Crash:
            self.harness.restart()

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.run(self.converges())
        self.loop.close()

    async def converges(self) -> None:
        harness = self.harness
        harness.archive.release()
        for one in self.present():
            harness.archive.heal(*one)
        harness.restart()
        await self.drained(5)
        for _ in range(2):
            harness.now += timedelta(days=1)
            await harness.open()
            await harness.synchronizer.retry_parked()
        assert await harness.state.parked(harness.feed.source) == []

        fresh = Harness(api=harness.api, rules=harness.rules, **self.server)
        fresh.archive, fresh.dicom_app, fresh.now = harness.archive, harness.dicom_app, harness.now
        fresh.restart()
        await fresh.open()
        await fresh.synchronizer.replay_studies(STUDIES)
        assert _content(harness) == _content(fresh)
        # A create that was under way when its sender stalled may write once more what its successor wrote.
        assert self.stalled or _idle_versions(harness) == []
        await harness.close()
        await fresh.close()


def _content(harness: Harness) -> list[Any]:
    """What is in FHIR, with names instead of ids, which some servers choose."""
    studies = [_bare(one) for one in harness.studies()]
    used = {one["subject"]["reference"] for one in studies}
    patients = [_bare(one) for one in harness.patients() if f"Patient/{one['id']}" in used]
    text = orjson.dumps(sorted(studies + patients, key=lambda one: str(one["identifier"]))).decode()
    for kind in ("ImagingStudy", "Patient", "Endpoint"):
        for one in harness.store.resources(kind):
            text = text.replace(one["id"], f"{kind}-{one['identifier'][0]['value']}")
    content: list[Any] = orjson.loads(text)
    return content


def _bare(resource: dict[str, Any]) -> dict[str, Any]:
    """Without what the server and somebody else wrote."""
    meta = {name: value for name, value in resource["meta"].items() if name == "source"}
    return {name: value for name, value in resource.items() if name != "note"} | {"meta": meta}


def _idle_versions(harness: Harness) -> list[str]:
    """Resources with a version that changed nothing."""
    idle = []
    for kind in ("ImagingStudy", "Patient", "Endpoint"):
        for resource in harness.store.resources(kind):
            history = [one.json for one in harness.store.history(kind, resource["id"])]
            contents = [_content_of(json) for json in history if json is not None]
            idle += [f"{kind}/{resource['id']}" for a, b in pairwise(contents) if a == b]
    return idle


def _content_of(json: bytes) -> dict[str, Any]:
    resource: dict[str, Any] = orjson.loads(json)
    meta = {name: value for name, value in resource["meta"].items() if name == "source"}
    return resource | {"meta": meta}


TestSync = Sync.TestCase
TestSync.settings = settings(settings.get_profile("quick"), max_examples=30, stateful_step_count=25)


@pytest.mark.parametrize("request_number", range(8))
async def test_a_crash_between_the_batches_of_a_study(request_number: int) -> None:
    """On a server without transactions a process may die after any request: the next mends what is done in part, such
    as a Patient of whom there is no study yet."""
    harness = Troubles(transactions=False)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientID="P1", StudyDate="20240101")
    await harness.cast()
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientID="P2", StudyDate="20240101")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientID="P1", StudyDate="20240102")
    harness.trouble.kind, harness.trouble.peer, harness.trouble.countdown = "crash after", "fhir", request_number
    with pytest.raises(Crash):
        await harness.cast()
    harness.restart()
    await harness.cast()
    await harness.writes_nothing("1.2", "1.3")
    subjects = {one["identifier"][0]["value"]: one["subject"]["identifier"]["value"] for one in harness.studies()}
    assert subjects == {"urn:oid:1.2": "P2", "urn:oid:1.3": "P1"}
    await harness.close()

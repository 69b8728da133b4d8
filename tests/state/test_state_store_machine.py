"""Two owners contend for one feed, in any order and at any time: every store does what a dictionary would do."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from dicomcast.errors import CursorMoved, LeaseLost
from dicomcast.model import Checkpoint, Cursor, Lease, Parked
from dicomcast.state import StateStore
from tests.stores import BACKENDS, MINUTE, NOW, Backend, key, row

UIDS = ("1", "2", "3")

_T = TypeVar("_T")

owners = st.sampled_from(["a", "b"])
# What a window parks (with how many attempts) and what it resolves; never both.
settled = st.dictionaries(st.sampled_from(UIDS), st.none() | st.integers(1, 9), max_size=3)
# What is noted of studies: a fingerprint, or that they are gone.
noted = st.dictionaries(st.sampled_from(UIDS), st.none() | st.sampled_from(["", "x", "y"]), max_size=3)
due_times = st.integers(-3, 3)


@dataclass
class Model:
    """What a store has to remember, and when it has to refuse."""

    feed: str
    cursor: Cursor | None = None
    revision: int = 0
    lease: Lease | None = None
    rows: dict[str, Parked] = field(default_factory=dict)
    inventory: dict[str, str] = field(default_factory=dict)
    backfill: set[str] = field(default_factory=set)

    def refusal(self, epoch: int | None, revision: int | None = None) -> type[Exception] | None:
        if epoch is not None and (self.lease is None or self.lease.epoch != epoch):
            return LeaseLost
        if revision is not None and revision != self.revision:
            return CursorMoved
        return None

    def write(self, parked: list[Parked], resolved: list[str]) -> None:
        for uid in resolved:
            self.rows.pop(uid, None)
        self.rows |= {one.key.study_uid: one for one in parked}

    def acquire(self, owner: str, now: datetime) -> Lease:
        held = self.lease
        if held is None or held.owner == owner or held.expires_at <= now:
            epoch = 1 if held is None else held.epoch + (held.owner != owner)
            self.lease = Lease(self.feed, owner, epoch, now + MINUTE)
        assert self.lease is not None
        return self.lease


class Contention(RuleBasedStateMachine):
    """Two owners, each with a connection, the checkpoint that it knows, and the lease that it believes in."""

    backend: Backend
    server: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.feed = f"https://archive.test/{uuid4()}"
        self.model = Model(self.feed)
        self.now = NOW
        self.stores = {"a": self.connect()}
        self.stores["b"] = self.connect() if self.backend.shared else self.stores["a"]
        self.known = {owner: Checkpoint(self.feed, None) for owner in self.stores}
        self.leases: dict[str, Lease] = {}

    def connect(self) -> StateStore:
        return self.backend.open(Path(self.folder.name), self.server)

    def do(self, work: Awaitable[_T]) -> _T:
        async def wait() -> _T:
            return await work

        return self.runner.run(wait())

    def teardown(self) -> None:
        for store in set(self.stores.values()):
            self.do(store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(seconds=st.integers(1, 100))
    def time_passes(self, seconds: int) -> None:
        """The clock is everybody's."""
        self.now += MINUTE * seconds / 60

    @rule(owner=owners)
    def take(self, owner: str) -> None:
        """Take or prolong the lease, or hear who has it."""
        lease = self.do(self.stores[owner].acquire(self.feed, owner, self.now, MINUTE))
        assert lease == self.model.acquire(owner, self.now)
        if lease.owner == owner:
            self.leases[owner] = lease

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        """Say good-bye under the epoch that was last known, which may be over."""
        mine, held = self.leases.get(owner), self.model.lease
        if mine is None:
            return
        self.do(self.stores[owner].release(mine))
        if held is not None and (held.owner, held.epoch) == (owner, mine.epoch):
            found = self.do(self.stores[owner].lease(self.feed))
            assert found is not None and found.expires_at < NOW
            self.model.lease = found

    @rule(owner=owners)
    def look(self, owner: str) -> None:
        """Load the checkpoint anew, as after a start."""
        self.known[owner] = self.do(self.stores[owner].load(self.feed))

    @rule(owner=owners, outcome=settled, due=due_times, fenced=st.booleans(), step=st.integers(-2, 5))
    def settle_a_window(self, owner: str, outcome: dict[str, int | None], due: int, fenced: bool, step: int) -> None:
        """Advance from the checkpoint that this owner knows, under the epoch that it believes in."""
        parked, resolved = self.split(outcome, due)
        epoch = self.epoch(owner) if fenced else None
        at = self.known[owner]
        to = Cursor(max(0, (at.cursor.sequence if at.cursor else 0) + step), position={"by": owner})
        refusal = self.model.refusal(epoch, at.revision)
        work = self.stores[owner].advance(at, to=to, parked=parked, resolved=map_keys(resolved), epoch=epoch)
        with expected(refusal):
            self.known[owner] = self.do(work)
        if refusal is None:
            self.model.cursor, self.model.revision = to, self.model.revision + 1
            self.model.write(parked, resolved)

    @rule(owner=owners, outcome=settled, due=due_times, fenced=st.booleans())
    def settle_rows(self, owner: str, outcome: dict[str, int | None], due: int, fenced: bool) -> None:
        """A retry of the worker's, or the hand of an operator."""
        parked, resolved = self.split(outcome, due)
        epoch = self.epoch(owner) if fenced else None
        refusal = self.model.refusal(epoch)
        with expected(refusal):
            self.do(self.stores[owner].settle(self.feed, parked=parked, resolved=map_keys(resolved), epoch=epoch))
        if refusal is None:
            self.model.write(parked, resolved)

    @rule(owner=owners, seen=noted, fenced=st.booleans())
    def note(self, owner: str, seen: dict[str, str | None], fenced: bool) -> None:
        """What the archive was seen to hold."""
        epoch = self.epoch(owner) if fenced else None
        refusal = self.model.refusal(epoch)
        with expected(refusal):
            self.do(self.stores[owner].record(self.feed, seen, epoch=epoch))
        if refusal is None:
            held = {**self.model.inventory, **seen}
            self.model.inventory = {uid: mark for uid, mark in held.items() if mark is not None}

    @rule(owner=owners, uids=st.sets(st.sampled_from(UIDS), max_size=3), on=st.booleans(), fenced=st.booleans())
    def list_studies(self, owner: str, uids: set[str], on: bool, fenced: bool) -> None:
        """Studies are put on the list of a backfill, or taken off it; taking off none takes off all."""
        epoch, store = self.epoch(owner) if fenced else None, self.stores[owner]
        refusal = self.model.refusal(epoch)
        with expected(refusal):
            if on:
                self.do(store.enlist(self.feed, map_keys(sorted(uids)), epoch=epoch))
            else:
                self.do(store.delist(self.feed, map_keys(sorted(uids)) or None, epoch=epoch))
        if refusal is None:
            self.model.backfill = self.model.backfill | uids if on else self.model.backfill - uids if uids else set()

    @precondition(lambda self: self.backend.shared)
    @rule(owner=owners)
    def restart(self, owner: str) -> None:
        """A new process, which knows nothing."""
        self.do(self.stores[owner].close())
        self.stores[owner] = self.connect()
        self.known[owner] = Checkpoint(self.feed, None)
        self.leases.pop(owner, None)

    @rule(owner=owners, minutes=due_times, limit=st.integers(1, 3))
    def what_is_due(self, owner: str, minutes: int, limit: int) -> None:
        """The rows whose time has come, in that order."""
        moment = NOW + minutes * MINUTE
        due = self.do(self.stores[owner].due(self.feed, moment, limit))
        times = [
            one.next_attempt for one in self.model.rows.values() if one.next_attempt and one.next_attempt <= moment
        ]
        assert [one.next_attempt for one in due] == sorted(times)[:limit]
        assert all(self.model.rows[one.key.study_uid] == one for one in due)

    @invariant()
    def both_see_what_was_written(self) -> None:
        """Whoever looks sees the same, and it is what the model says."""
        for store in self.stores.values():
            found = self.do(store.load(self.feed))
            assert (found.cursor, found.revision) == (self.model.cursor, self.model.revision)
            assert {one.key.study_uid: one for one in self.do(store.parked(self.feed))} == self.model.rows
            assert self.do(store.lease(self.feed)) == self.model.lease
            assert {one.study_uid for one in self.do(store.enlisted(self.feed))} == self.model.backfill
            assert self.do(store.count_enlisted(self.feed)) == len(self.model.backfill)
            assert self.do(store.fingerprints(self.feed, UIDS)) == self.model.inventory
            assert self.do(store.inventory(self.feed, "1", 1)) == sorted(self.model.inventory.keys() - {"1"})[:1]

    def epoch(self, owner: str) -> int:
        return self.leases[owner].epoch if owner in self.leases else 0

    def split(self, outcome: dict[str, int | None], due: int) -> tuple[list[Parked], list[str]]:
        times: dict[str, Any] = {"next_attempt": None if due == 3 else NOW + due * MINUTE}
        parked = [row(uid, attempts=attempts, **times) for uid, attempts in outcome.items() if attempts]
        return parked, [uid for uid, attempts in outcome.items() if attempts is None]


def map_keys(uids: list[str]) -> list[Any]:
    return [key(uid) for uid in uids]


def expected(refusal: type[Exception] | None) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if refusal is None else pytest.raises(refusal)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if one.server else ()) for name, one in BACKENDS.items()]
)
def test_two_owners_contend(name: str, request: pytest.FixtureRequest) -> None:
    """Any sequence of take-overs, stale checkpoints, restarts and operators' hands, against a model in memory."""
    backend = BACKENDS[name]
    server = request.getfixturevalue(backend.server) if backend.server else ""
    machine = type("Machine", (Contention,), {"backend": backend, "server": server})
    examples = settings().max_examples // (8 if backend.server else 2)  # one over HTTP takes half a minute for twenty
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))

"""Law 1 for a backfill: whatever happens meanwhile, FHIR is what one snapshot of the archive's end state makes."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.feeds import KINDS
from tests.filling import Killed, everything, partitioned, worked
from tests.harness import CT, SR
from tests.history import content, idle_versions
from tests.random_feed import change_archive
from tests.scripted import Scripted
from tests.trouble import Crash

pytestmark = pytest.mark.long

STUDIES = ["1.2", "1.3", "1.4", "1.5"]
PARTITIONS = ["north", "south"]

attributes = st.fixed_dictionaries(
    {
        "PatientID": st.sampled_from(["P1", "P2"]),
        "PatientName": st.sampled_from(["Doe^Jane", "Roe^Rick", None]),
        "SOPClassUID": st.sampled_from([CT, SR]),
        "InstanceNumber": st.sampled_from([None, 1, 2]),
        "StudyDate": st.sampled_from([None, "20240101", "20240201"]),
    }
)
place = st.tuples(st.sampled_from(PARTITIONS), st.sampled_from(STUDIES), st.sampled_from("12"), st.sampled_from("12"))
put = st.tuples(st.just("put"), place, attributes)
change = st.one_of(
    put,
    st.tuples(st.just("delete"), place, st.sampled_from([1, 2, 3])),
    st.tuples(st.just("update"), place, st.sampled_from(["P1", "P2", "P3"])),
)
# What happens in front of the requests of a process, at which of them it is killed (0: at none), and how many steps
# of the backfill there are between two polls.
process = st.tuples(
    st.dictionaries(st.integers(1, 40), change, max_size=5),
    st.integers(0, 40),
    st.sampled_from(["before", "after"]),
    st.sampled_from([1, 3, 100]),
)


@pytest.mark.parametrize("kind", KINDS)
@given(
    before=st.lists(put, max_size=8),
    settled=st.booleans(),
    then=st.lists(change, max_size=3),
    processes=st.lists(process, max_size=3),
)
def test_law_1_of_a_backfill(kind: str, before: list[Any], settled: bool, then: list[Any], processes: Any) -> None:
    """Killed at any request and begun again, while the archive changes, with or without a cursor at the start."""
    asyncio.run(_converges(kind, before, settled, then, processes))


async def _converges(kind: str, before: list[Any], settled: bool, then: list[Any], processes: Any) -> None:
    harness = partitioned(kind)
    for one in before:
        change_archive(harness, *one)
    if settled:
        await harness.cast()
    for one in then:
        change_archive(harness, *one)
    for events, kill_at, when, steps in processes:
        harness.restart()
        killed = Killed(harness)
        killed.events = {at: partial(change_archive, harness, *one) for at, one in events.items()}
        (killed.kill_before if when == "before" else killed.kill_after).add(kill_at)
        with contextlib.suppress(Crash):
            await worked(harness, steps)
    Killed(harness)
    harness.restart()
    await worked(harness, 2)
    assert await harness.state.enlisted(harness.feed.source) == []
    await harness.cast()
    assert idle_versions(harness.store) == []
    versions = harness.store.total_versions()
    await harness.cast()
    assert harness.store.total_versions() == versions

    fresh = partitioned(kind)
    fresh.archive, fresh.dicom_app, fresh.now = harness.archive, harness.dicom_app, harness.now
    fresh.restart()
    await fresh.open()
    await fresh.synchronizer.replay_studies(list(everything(harness)))
    assert _content(harness) == _content(fresh)
    assert harness.state.rows() == []
    await harness.close()
    await fresh.close()


def _content(harness: Scripted) -> dict[str, Any]:
    """Studies and their Patients: the Endpoint of a partition that has become empty stays."""
    return {name: one for name, one in content(harness.store).items() if one["resourceType"] != "Endpoint"}

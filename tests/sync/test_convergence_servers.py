"""Law 1 on servers that can less, and beside an ImagingStudy that somebody else created."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dicomcast.mapping.rules import Rules
from tests.harness import CT, SR, SYSTEM, Harness
from tests.random_feed import play

STUDIES = ["1.2", "1.3", "1.4"]
ADOPTED = "1.4"
# Whichever partition is cast first adopts a study of others; so that there is one outcome, one partition holds it.
PLACES = [("north", "1.2"), ("north", "1.3"), ("south", "1.2"), ("south", "1.3"), ("south", ADOPTED)]
SERVERS: list[dict[str, Any]] = [
    {},
    {"transactions": False},
    {"update_create": False},
    {"most_entries": 4},
    {"page_size": 1},
    {"search_lag": 3},
    {"search_lag": 12, "transactions": False},
]

THEIRS: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "theirs",
    "meta": {"source": "https://ris.test"},
    "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{ADOPTED}"}, {"value": "theirs"}],
    "status": "available",
    "subject": {"display": "somebody"},
    "series": [{"uid": "9.9", "modality": {"system": "urn:x", "code": "MR"}, "numberOfInstances": 0}],
    "note": [{"text": "by hand"}],
}

attributes = st.fixed_dictionaries(
    {
        "PatientID": st.sampled_from(["P1", "P2"]),
        "PatientName": st.sampled_from(["Doe^Jane", "Roe^Rick", None]),
        "SOPClassUID": st.sampled_from([CT, SR]),
        "InstanceNumber": st.sampled_from([None, 1, 2]),
        "StudyDate": st.sampled_from([None, "20240101", "20240201", "20240301"]),
    }
)
place = st.tuples(st.sampled_from(PLACES), st.sampled_from("12"), st.sampled_from("12")).map(
    lambda one: (*one[0], *one[1:])
)
step = st.one_of(
    st.tuples(st.just("put"), place, attributes),
    st.tuples(st.just("delete"), place, st.sampled_from([1, 2, 3])),
    st.tuples(st.just("update"), place, st.sampled_from(["P1", "P2", "P3"])),
    st.tuples(st.just("cast"), st.sampled_from([1, 3, 2500]), st.none()),
    st.tuples(st.just("again"), st.integers(1, 8), st.none()),
)


@given(
    server=st.sampled_from(SERVERS),
    adopted=st.booleans(),
    most=st.sampled_from([None, 0, 1, 2, 3]),
    steps=st.lists(step, min_size=1, max_size=14),
)
def test_law_1_on_lesser_servers(server: dict[str, Any], adopted: bool, most: int | None, steps: list[Any]) -> None:
    """Whatever the server can and whoever created a study, a random feed gives what a snapshot of its end gives."""
    asyncio.run(_converges(server, adopted, most, steps))


class _Lesser(Harness):
    """One whose searches may be late, as we are told."""

    search_lag = timedelta(hours=1)


async def _converges(server: dict[str, Any], adopted: bool, most: int | None, steps: list[Any]) -> None:
    folded, fresh = (_Lesser(partitions=True, rules=Rules(SYSTEM, most_listed=most), **server) for _ in range(2))
    if adopted:
        folded.store.put(THEIRS)
        fresh.store.put(THEIRS)
    for kind, what, how in steps:
        await play(folded, kind, what, how)
    await folded.cast()
    await folded.writes_nothing(*STUDIES)

    fresh.archive, fresh.dicom_app, fresh.now = folded.archive, folded.dicom_app, folded.now
    fresh.restart()
    await fresh.open()
    await fresh.synchronizer.replay_studies(STUDIES)
    assert _content(folded) == _content(fresh)
    await folded.close()
    await fresh.close()


def _content(harness: Harness) -> tuple[Any, Any]:
    """Studies and the Patients that they refer to, whatever ids the server gave.

    A study of others that is emptied keeps what was last said of it as a whole.
    """
    names = {one["id"]: one["identifier"][0]["value"] for one in harness.patients()}
    studies, used = [], set()
    for one in harness.studies():
        if one["id"] == "theirs" and len(one["series"]) == 1:
            studies.append({name: one.get(name) for name in ("series", "note", "status")})
            continue
        target = one["subject"].get("reference", "").removeprefix("Patient/")
        used.add(target)
        studies.append(_bare(one, harness) | {"subject": names[target]})
    patients = [_bare(one, harness) for one in harness.patients() if one["id"] in used]
    return sorted(studies, key=_text), sorted(patients, key=_text)


def _text(element: dict[str, Any]) -> str:
    return json.dumps(element, sort_keys=True)


def _bare(resource: dict[str, Any], harness: Harness) -> dict[str, Any]:
    """Without what the server says, and with Endpoints by their names."""
    names = {f"Endpoint/{one['id']}": one["name"] for one in harness.store.resources("Endpoint")}
    bare = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    for element in (bare, *bare.get("series", [])):
        if "endpoint" in element:
            element["endpoint"] = [names[one["reference"]] for one in element["endpoint"]]
    return bare | {"source": resource["meta"]["source"]}

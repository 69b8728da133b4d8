"""A random feed, step by step: what happens in the archive, and when the worker looks."""

from __future__ import annotations

from typing import Any

from dicomcast.demo.archive import DEFAULT_PARTITION
from dicomcast.demo.dicom_json import PATIENT_ID, text
from tests.harness import Harness

__all__ = ["change_archive", "play"]

_UIDS = ("0020000D", "0020000E", "00080018")


async def play(harness: Harness, kind: str, what: Any, how: Any) -> None:
    """One step: `cast` with a window of so many entries, entries delivered `again`, a `gap`, or a change.

    A change is of a place: partition, study, and the last components of series and instance.
    """
    match kind:
        case "cast":
            harness.window = what
            harness.restart()
            await harness.cast()
        case "again":
            await harness.open()
            await harness.replay(what, what + 3)
        case "gap":
            harness.archive.skip_sequences(what)
        case _:
            change_archive(harness, kind, what, how)


def change_archive(harness: Harness, kind: str, place: tuple[str, str, str, str], how: Any) -> None:
    """Something changes in the archive, if it can."""
    partition, study, series, instance = place
    if not harness.archive.partitions:
        partition = DEFAULT_PARTITION
    uids = (study, f"{study}.{series}", f"{study}.{series}.{instance}")
    catalogue = harness.archive.catalogue(partition)
    present = [tuple(one[tag]["Value"][0] for tag in _UIDS) for one in catalogue]
    if kind == "put" and harness.api == "dicomweb":
        if uids in present:
            return  # No search would show what is new about it, or which of two PatientIDs an update changes.
        known = [text(one, PATIENT_ID) for one in catalogue if one[_UIDS[0]]["Value"][0] == study]
        how = {**how, "PatientID": (known[0] or None) if known else how["PatientID"]}
    if kind == "put":
        harness.put(*uids, partition, **how)
    elif kind == "delete" and any(one[:how] == uids[:how] for one in present):
        harness.archive.delete(partition, *uids[:how])
    elif kind == "update" and any(one[0] == study for one in present):
        harness.archive.bulk_update(partition, [study], {"00100020": {"vr": "LO", "Value": [how]}})

"""What happens in an archive all day: instances arrive, are replaced, corrected and deleted, sequences are lost."""

from __future__ import annotations

from random import Random
from typing import Any

from dicomcast.demo.archive import DEFAULT_PARTITION, Archive
from tests.harness import CT, SR, dataset

__all__ = ["Traffic"]

_PATIENT_ID = "00100020"


class Traffic:
    """Random changes; `spread` is how far apart they are in the feed, and so how few of them are in a window."""

    def __init__(self, archive: Archive, random: Random, *, studies: int = 40, spread: int = 9) -> None:
        self.archive = archive
        self.random = random
        self.spread = spread
        self.studies = [f"1.2.826.{number}" for number in range(studies)]
        self.patients = [f"P{number}" for number in range(max(2, studies // 3))]

    def flow(self, entries: int) -> None:
        """Change things until the feed has at least so many entries more."""
        end = self.entries + entries
        while self.entries < end:
            self.change()

    @property
    def entries(self) -> int:
        """How many entries the feed has."""
        return self.archive.length

    def change(self) -> None:
        """Do one thing."""
        study = self.random.choice(self.studies)
        what = self.random.random()
        held = self._held(study)
        if what < 0.72 or not held:
            self._arrive(study)
        elif what < 0.84:
            change = {_PATIENT_ID: {"vr": "LO", "Value": [self.random.choice(self.patients)]}}
            self.archive.bulk_update(DEFAULT_PARTITION, [study], change)
        else:
            level = self.random.choice([1, 2, 3, 3, 3])
            self.archive.delete(DEFAULT_PARTITION, *self.random.choice(held)[:level])
        self.archive.skip_sequences(self.random.randrange(2 * self.spread + 1))

    def _held(self, study: str) -> list[tuple[str, ...]]:
        found = (
            tuple(one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
            for one in self.archive.catalogue(DEFAULT_PARTITION)
        )
        return [uids for uids in found if uids[0] == study]

    def _arrive(self, study: str) -> None:
        """An instance is stored; one that is there already is replaced, as by deleting and storing it again."""
        choice = self.random.choice
        series = f"{study}.{choice((1, 2))}"
        uids = study, series, f"{series}.{choice(range(1, 8))}"
        attributes: dict[str, Any] = {
            "PatientID": choice(self.patients),
            "PatientName": choice(["Doe^Jane", "Roe^Rick", None]),
            "SOPClassUID": choice([CT, CT, SR]),
            "StudyDescription": choice([None, "Head", "Chest"]),
            "StudyDate": choice(["20240101", "20240201"]),
            "InstanceNumber": choice([None, 1, 2, 3]),
        }
        if uids in self._held(study):
            self.archive.delete(DEFAULT_PARTITION, *uids)
        assert self.archive.store(dataset(*uids, **attributes)) == 0

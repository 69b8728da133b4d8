"""QIDO-RS as different servers answer it, over the studies of an embedded archive."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx

from dicomcast.mapping.tags import tag
from tests.scripted import Scripted

__all__ = ["Qido"]

JSON = dict[str, Any]
_STUDY, _DATE, _INSTANCE = tag("StudyInstanceUID"), tag("StudyDate"), tag("SOPInstanceUID")


class Qido:
    """Answers the searches of a harness for studies and their instances; `queries` are those for studies.

    `cap` is how many rows it sends at most, `no_limit` and `no_offset` take no such parameter, `last_again` repeats
    the last row behind the end, `shuffled` has no order; `spelt` rewrites each row.
    """

    def __init__(self, harness: Scripted, *, counts: bool = True) -> None:
        self.harness, self.counts = harness, counts
        self.cap = 10_000
        self.no_limit = self.no_offset = self.last_again = self.shuffled = False
        self.spelt: Callable[[JSON], JSON] = lambda row: row
        self.queries: list[httpx.QueryParams] = []
        self.listed: list[str] = []
        harness.instead = self.answer

    def answer(self, peer: str, request: httpx.Request) -> httpx.Response | None:
        path = request.url.path.removeprefix("/v2")
        if peer != "dicom" or request.method != "GET":
            return None
        match path.strip("/").split("/"):
            case ["studies"]:
                self.queries.append(request.url.params)
                return self._page(self._studies(request.url.params), request.url.params)
            case ["studies", uid, "instances"]:
                self.listed.append(uid)
                return self._page(self._instances(uid), request.url.params)
        return None

    def _page(self, rows: list[JSON], query: httpx.QueryParams) -> httpx.Response:
        assert len(self.queries) + len(self.listed) < 400, "it goes round in circles"
        if self.shuffled:
            random.shuffle(rows)
        offset = 0 if self.no_offset else int(query.get("offset", "0"))
        if self.last_again:
            offset = min(offset, len(rows) - 1)
        limit = len(rows) if self.no_limit else int(query.get("limit", "100"))
        return httpx.Response(200, json=[self.spelt(row) for row in rows[offset : offset + min(limit, self.cap)]])

    def _studies(self, query: httpx.QueryParams) -> list[JSON]:
        by_study: dict[str, list[JSON]] = {}
        for one in self.harness.archive.catalogue("Microsoft.Default"):
            by_study.setdefault(_value(one, _STUDY), []).append(one)
        first, _, last = query.get("StudyDate", "00000000-99999999").partition("-")
        return [
            self._study(uid, some)
            for uid, some in by_study.items()
            if query.get("StudyInstanceUID", uid) == uid
            and ("StudyDate" not in query or first <= _value(some[-1], _DATE) <= last)
        ]

    def _study(self, uid: str, some: list[JSON]) -> JSON:
        kept = map(tag, ("StudyDate", "PatientName", "PatientID", "StudyDescription"))
        row = {name: some[-1][name] for name in kept if name in some[-1]}
        row[_STUDY] = {"vr": "UI", "Value": [uid]}
        if self.counts:
            row[tag("NumberOfStudyRelatedInstances")] = {"vr": "IS", "Value": [len(some)]}
        return row

    def _instances(self, uid: str) -> list[JSON]:
        catalogue = self.harness.archive.catalogue("Microsoft.Default")
        return [{_INSTANCE: one[_INSTANCE]} for one in catalogue if _value(one, _STUDY) == uid]


def _value(dataset: JSON, name: str) -> str:
    return str((dataset.get(name, {}).get("Value") or [""])[0])

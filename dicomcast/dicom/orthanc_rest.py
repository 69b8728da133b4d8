"""What is asked of Orthanc's own REST API (Orthanc Book, "REST API of Orthanc"), and what shape its answers have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dicomcast.dicom.objects import Objects
from dicomcast.dicom.sweep import fingerprint
from dicomcast.errors import ConfigError, NotFound, NotItself
from dicomcast.http import Answer, Http, dump_json, parse_json

__all__ = ["LAST", "Change", "Changes", "OrthancRest"]

JSON = dict[str, Any]

LAST = 2**53  # a sequence that none has reached


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the change log: it names a resource by Orthanc's own id, and does not say what became of it."""

    sequence: int
    kind: str
    resource: str


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of the log. `last` is the newest sequence that was ever given out, where the page is empty."""

    rows: list[Change]
    last: int


class OrthancRest:
    """An Orthanc of 1.9.4 or newer, at its root."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def version(self, *, budget: float | None = None) -> str:
        """Its version.

        Raises:
            ConfigError: it is older than what we ask of it.
        """
        system = _object(await self._http.request("GET", "system", budget=budget))
        (version,) = _values(system, Version=str)
        try:
            await self._http.request("POST", "tools/bulk-content", content=b'{"Resources": []}')
        except NotFound:
            raise ConfigError(f"DICOM__URL: Orthanc {version} is too old: 1.9.4 is the oldest that will do") from None
        return str(version)

    async def dicomweb_root(self) -> str:
        """Where the DICOMweb plugin is, relative to Orthanc's root; "" without the plugin."""
        try:
            plugin = _object(await self._http.request("GET", "plugins/dicom-web"))
        except NotFound:
            return ""
        # Of its own page, it says in `RootUri`: ../dicom-web/app/client/index.html
        return str(plugin.get("RootUri", "")).removeprefix("../").partition("/app/")[0] or "dicom-web"

    async def changes(self, since: int, limit: int, *, budget: float | None = None) -> Changes:
        """The rows behind a sequence, in order."""
        query = {"since": str(since), "limit": str(limit)}
        changes, last = _changes(await self._http.request("GET", "changes", params=query, budget=budget))
        order = [since, *(row.sequence for row in changes)]
        if any(one >= other for one, other in pairwise(order)) or max(order[-1], abs(last)) > LAST:
            raise _strange()  # We would go round in circles, or the state store could not hold it.
        return Changes(changes, last)

    async def last_rows(self) -> list[Change]:
        """The newest row that is still in the log, if there is any."""
        return _changes(await self._http.request("GET", "changes", params={"last": "true"}))[0]

    async def studies(self, since: int, limit: int) -> dict[str, str]:
        """A page of all studies: StudyInstanceUID by Orthanc's id."""
        query = {"expand": "true", "since": str(since), "limit": str(limit)}
        return _uids(_objects(await self._http.request("GET", "studies", params=query)))

    async def studies_of(self, resources: Collection[str]) -> dict[str, str]:
        """The studies that resources of any level belong to; resources that are gone are left out."""
        return _uids(await self._bulk(resources, "Study"))

    async def lookup(self, study_uid: str) -> list[str]:
        """The ids of the studies with this UID: one for each PatientID that it stands under."""
        answer = await self._http.request("POST", "tools/lookup", content=study_uid.encode(errors="replace"))
        found = _objects(answer)
        return sorted(_values(row, ID=str)[0] for row in found if row.get("Type") == "Study")

    async def fingerprints(self, studies: dict[str, str]) -> dict[str, str]:
        """A fingerprint by StudyInstanceUID, of all instances of a study and the times when its parts were stored."""
        facts: dict[str, list[str]] = {uid: [] for uid in studies.values()}
        for series in await self._bulk(studies, "Series"):
            identity, parent = _values(series, ID=str, ParentStudy=str)
            if parent in studies:
                parts = [identity, str(series.get("LastUpdate", "")), *map(str, series.get("Instances", []))]
                facts[studies[parent]] += parts
        return {uid: fingerprint(some) for uid, some in facts.items()}

    async def tags(self, study: str, take: Callable[[JSON], object]) -> None:
        """Hand over the tags of all instances of a study, one by one; after a broken answer some come again."""
        objects = Objects(take, named=True)

        def receive() -> Callable[[bytes], object]:
            nonlocal objects
            objects = Objects(take, named=True)
            return objects.feed

        # The id is a digest of the PatientID and a UID, so a short record number can be guessed from it.
        shown = "studies/[id]/instances-tags"
        try:
            await self._http.request("GET", f"studies/{study}/instances-tags", shown=shown, receive=receive)
            objects.close()
        except ValueError:
            raise _strange() from None

    async def _bulk(self, resources: Iterable[str], level: str) -> list[JSON]:
        resources = list(resources)
        if not resources:
            return []
        wanted = {"Resources": resources, "Level": level, "Full": False, "Metadata": False}
        return _objects(await self._http.request("POST", "tools/bulk-content", content=dump_json(wanted)))


def _changes(answer: Answer) -> tuple[list[Change], int]:
    rows, last = _values(_object(answer), Changes=list, Last=int)
    return [Change(*_values(row, Seq=int, ChangeType=str, ID=str)) for row in rows], last


def _uids(studies: list[JSON]) -> dict[str, str]:
    found = {}
    for study in studies:
        identity, tags = _values(study, ID=str, MainDicomTags=dict)
        (uid,) = _values(tags, StudyInstanceUID=str)
        found[identity] = uid if uid.isprintable() else ""  # What no store can hold nobody can ask for either.
    return found


def _object(answer: Answer) -> JSON:
    value = _json(answer)
    if not isinstance(value, dict):
        raise _strange()
    return value


def _objects(answer: Answer) -> list[JSON]:
    value = _json(answer)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _strange()
    return value


def _json(answer: Answer) -> Any:
    try:
        return parse_json(answer.content)
    except ValueError:
        raise _strange() from None


def _values(row: Any, **kinds: type) -> list[Any]:
    """The members of an object, which have to be of these kinds."""
    values = [row.get(name) if isinstance(row, dict) else None for name in kinds]
    if not all(type(value) is kind for value, kind in zip(values, kinds.values(), strict=True)):
        raise _strange()
    return values


def _strange() -> NotItself:
    return NotItself("what answers at DICOM__URL does not answer as Orthanc does", peer="dicom")

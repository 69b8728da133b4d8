"""What the archive holds now: WADO-RS metadata (PS3.18 §10.4.1.1.2) and QIDO-RS (§10.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from dicomcast.dicom.objects import Objects
from dicomcast.dicom.pages import paged
from dicomcast.errors import ConfigError, NotFound, Rejected, Retriable, Stumbled
from dicomcast.gathering import Gathering
from dicomcast.http import Answer, Http
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.table import select
from dicomcast.mapping.tags import canonical, tag
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey

__all__ = ["JSON", "Dicomweb", "Row", "instance_of"]

JSON = dict[str, Any]
# What a search says of a study, with its UID: "" for one that cannot be asked for.
Row = tuple[str, JSON]
# Begins to take in instances, anew each time that they have to be asked for again.
Begin = Callable[[], Callable[[Instance], object]]

_PAGE = 200
_STUDY = tag("StudyInstanceUID")
_DICOM_JSON = {"Accept": "application/dicom+json"}


class Dicomweb:
    """A DICOMweb service at `path` below its base URL, where `path` depends on the partition."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def snapshot(self, key: StudyKey, path: str, gathering: Callable[[], Gathering]) -> StudyDelta:
        """A whole study, gathered while it is read; a study that is gone has no instances.

        Raises:
            Rejected: the metadata cannot be used.
        """
        gathered = gathering()

        def begin() -> Callable[[Instance], object]:
            nonlocal gathered
            gathered = gathering()
            return gathered.add

        with suppress(NotFound):
            await self._metadata(key, path, f"studies/{_segment(key.study_uid)}/metadata", begin)
        delta = gathered.delta()
        if not delta.instances:
            await self._confirm_absence(key, f"{path}/studies", {})
        return delta

    async def instance(self, key: StudyKey, instance: InstanceKey, path: str) -> Instance | None:
        """One instance, None if it is gone.

        Raises:
            Rejected: the metadata cannot be used.
        """
        uids = map(_segment, (key.study_uid, instance.series_uid, instance.instance_uid))
        address = "studies/{}/series/{}/instances/{}/metadata".format(*uids)
        found = list[Instance]()

        def begin() -> Callable[[Instance], object]:
            found.clear()
            return found.append

        with suppress(NotFound):
            await self._metadata(key, path, address, begin)
        one = next((one for one in found if one.key == instance), None)
        if one is None:
            await self._confirm_absence(key, f"{path}/instances", {"SOPInstanceUID": instance.instance_uid})
        return one

    async def search(self, address: str, query: Mapping[str, str], *, budget: float | None = None) -> list[JSON]:
        """The matches of a search (PS3.18 §10.6), of which a server may send fewer than there are."""
        answer = await self._http.request("GET", address, params=query, headers=_DICOM_JSON, budget=budget)
        return _datasets(answer)

    async def studies(self, address: str, query: Mapping[str, str], size: int = _PAGE) -> AsyncIterator[Sequence[Row]]:
        """All studies that match, in pages.

        Raises:
            ConfigError: the server takes no offset, and there are more than it sends.
        """
        first: list[Row] = []

        async def page(offset: int, limit: int) -> list[Row] | None:
            nonlocal first
            rows = await self.rows(address, query, limit, offset)
            if offset and rows == first:  # It sends all there is at once, or the same for ever.
                if len(rows) == limit < len(await self.rows(address, query, limit + 1)):
                    raise ConfigError("DICOM__KIND: this archive's QIDO-RS takes no offset, so it cannot be listed")
                return None
            first = first or rows
            return rows

        async for rows in paged(page, size):
            yield rows

    async def rows(self, address: str, query: Mapping[str, str], limit: int = _PAGE, offset: int = 0) -> list[Row]:
        """A page of studies."""
        found = await self.search(address, {**query, "limit": str(limit), "offset": str(offset)})
        rows = [row if _STUDY in row else canonical(row) for row in found]
        return [(Dataset(row).identifier(_STUDY), row) for row in rows]

    async def instance_uids(self, study_uid: str) -> set[str]:
        """The UIDs of the instances of a study, by searching for them."""
        found: set[str] = set()
        while True:
            query = {"limit": str(_PAGE), "offset": str(len(found))}
            rows = await self.search(f"studies/{_segment(study_uid)}/instances", query)
            new = {Dataset(row).identifier(tag("SOPInstanceUID")) for row in map(canonical, rows)} - found
            if not new:
                return found
            found |= new

    async def _metadata(self, key: StudyKey, path: str, address: str, begin: Begin) -> None:
        """Hand over the instances that are sent of a study, one by one: all of them may be more than is to be held."""
        objects = Objects(lambda _: None)

        def receive() -> Callable[[bytes], object]:
            nonlocal objects
            take = begin()
            objects = Objects(lambda metadata: take(instance_of(key, metadata)))
            return objects.feed

        try:
            answer = await self._http.request(
                "GET", f"{path}/{address}", headers=_DICOM_JSON, at_once=(Stumbled,), receive=receive
            )
            if answer.status == 206:  # PS3.18 §8.5: a part of it, and what is not in it would be taken for gone
                said = f"the archive answered with a part of the metadata of study {key.study_uid}"
                raise Retriable(said, peer="dicom", status=206)
            objects.close()
        except ValueError:
            raise _unusable(f"the metadata of study {key.study_uid} is not DICOM JSON", "metadata-not-json") from None
        except Stumbled:
            # A service that answers this has stumbled over the study alone.
            await self._search(key, f"{path}/studies", {})
            said = f"the archive cannot read the metadata of study {key.study_uid}"
            raise _unusable(said, "metadata-unreadable") from None

    async def _confirm_absence(self, key: StudyKey, url: str, query: dict[str, str]) -> None:
        """A 404 or nothing may come from a proxy or a wrong path, and would delete a study: the search must agree."""
        try:
            gone = not await self._search(key, url, query)
        except NotFound:
            gone = False
        if not gone:
            raise Retriable(
                f"the archive has no metadata of study {key.study_uid}, but does not say that it is gone", peer="dicom"
            )

    async def _search(self, key: StudyKey, url: str, query: dict[str, str]) -> list[JSON]:
        return await self.search(url, {"StudyInstanceUID": key.study_uid} | query)


def _segment(uid: str) -> str:
    """A UID as one segment of a path, whatever is in it.

    Raises:
        Rejected: it is empty or nothing but dots, which would be another path, escaped or not.
    """
    if not uid.strip("."):
        raise _unusable("a study, series or instance has a UID that is no UID", "uid-unusable")
    return quote(uid, safe="")


def _datasets(answer: Answer) -> list[JSON]:
    """The datasets of an answer: 204 is none, and some servers send one bare."""
    found = list[JSON]()
    objects = Objects(found.append)
    try:
        objects.feed(answer.content)
        objects.close()
    except ValueError:
        raise _unusable("a search is not DICOM JSON", "metadata-not-json") from None
    return found


def _unusable(said: str, reason: str) -> Rejected:
    return Rejected(said, reason=reason, peer="dicom")


def instance_of(key: StudyKey, metadata: dict[str, Any]) -> Instance:
    """An instance of a study that was asked for by its UID; metadata that is of another is refused."""
    mapped = select(metadata)
    dataset = Dataset(mapped)
    study, series, instance = (
        dataset.identifier(tag(keyword)) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    if not (series and instance):
        raise _unusable(f"the metadata of study {key.study_uid} lacks UIDs", "metadata-without-uids")
    if study not in ("", key.study_uid):
        raise _unusable(f"the metadata of study {key.study_uid} is of another study", "metadata-mismatch")
    return Instance(InstanceKey(series, instance), mapped)

"""Orthanc's REST API over an embedded archive, as 1.10.1 was seen to behave (tests/orthanc compares the two).

The log has the rows of what is still there: a deletion takes the earlier rows of what it deletes out of it, and
adds none. Every instance is a resource of its own; ids are digests of the UIDs and the PatientID.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from dicomcast.demo.archive import Archive
from dicomcast.demo.dicom_service import dicom_service
from dicomcast.mapping.tags import tag

__all__ = ["orthanc_double", "tags"]

JSON = dict[str, Any]
_UIDS = [tag(name) for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
_LEVELS = {"Study": 2, "Series": 3, "Instance": 4}


def orthanc_double(archive: Archive, *, dicomweb: bool = True) -> Starlette:
    """The application, with the DICOMweb plugin or without."""
    double = _Double(archive)
    routes = [
        Route("/system", lambda _: JSONResponse({"ApiVersion": 16, "Version": "1.10.1", "Name": "double"})),
        Route("/changes", double.changes),
        Route("/changes", double.empty, methods=["DELETE"]),
        Route("/studies", double.studies),
        Route("/studies/{id}/instances-tags", double.tags),
        Route("/tools/bulk-content", double.bulk, methods=["POST"]),
        Route("/tools/lookup", double.lookup, methods=["POST"]),
    ]
    if dicomweb:
        plugin = {"ID": "dicom-web", "RootUri": "../dicom-web/app/client/index.html"}
        routes += [Route("/plugins/dicom-web", lambda _: JSONResponse(plugin))]
        return Starlette(routes=[*routes, Mount("/dicom-web", _below("/v2", dicom_service(archive)))])
    return Starlette(routes=routes)


def _below(prefix: str, app: Any) -> Callable[[JSON, Any, Any], Awaitable[None]]:
    async def moved(scope: JSON, receive: Any, send: Any) -> None:
        path = prefix + scope["path"].removeprefix(scope.get("root_path", ""))
        await app({**scope, "path": path, "root_path": ""}, receive, send)

    return moved


class _Double:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._emptied = 0

    def _held(self) -> dict[tuple[str, str], JSON]:
        """What there is, by partition and SOPInstanceUID."""
        names = [one["partitionName"] for one in self._archive.partition_list()]
        return {(name, _text(one, _UIDS[3])): one for name in names for one in self._archive.catalogue(name)}

    def _instances(self) -> list[JSON]:
        return list(self._held().values())

    def _rows(self) -> list[tuple[int, str, str]]:
        """(sequence, instance, timestamp) of what is as the row left it."""
        held, entries = self._held(), self._archive.page_v1(0, 10**9, include_metadata=False)
        return [
            (one["sequence"], _id(held[one["partitionName"], one["sopInstanceUid"]], 4), one["timestamp"])
            for one in entries
            if one["state"] == "Current"
        ]

    async def changes(self, request: Request) -> Response:
        newest = "last" in request.query_params
        since, limit = (0, 1) if newest else (int(request.query_params[name]) for name in ("since", "limit"))
        rows = [row for row in self._rows() if row[0] > max(since, self._emptied)][-1 if newest else 0 :]
        told = [
            {"Seq": sequence, "ChangeType": "NewInstance", "ResourceType": "Instance", "ID": identity}
            for sequence, identity, _ in rows[:limit]
        ]
        last = told[-1]["Seq"] if told else self._newest()
        return JSONResponse({"Changes": told, "Done": len(rows) <= limit, "Last": last})

    async def empty(self, _: Request) -> Response:
        """The log has no rows any more, and goes on with the next sequence."""
        self._emptied = self._newest()
        return JSONResponse({})

    def _newest(self) -> int:
        latest = self._archive.latest_v1(include_metadata=False)
        return latest["sequence"] if latest else 0

    async def studies(self, request: Request) -> Response:
        since, limit = (int(request.query_params[name]) for name in ("since", "limit"))
        return JSONResponse(self._told(self._instances(), "Study")[since : since + limit])

    async def bulk(self, request: Request) -> Response:
        wanted = await request.json()
        resources = set(wanted["Resources"])
        chosen = [one for one in self._instances() if resources & {_id(one, depth) for depth in (2, 3, 4)}]
        return JSONResponse(self._told(chosen, wanted["Level"]) if resources else [])

    async def lookup(self, request: Request) -> Response:
        uid = (await request.body()).decode()
        found = {_id(one, 2) for one in self._instances() if _text(one, _UIDS[1]) == uid}
        return JSONResponse([{"ID": one, "Type": "Study"} for one in sorted(found)])

    async def tags(self, request: Request) -> Response:
        chosen = [one for one in self._instances() if _id(one, 2) == request.path_params["id"]]
        return JSONResponse({_id(one, 4): tags(one) for one in chosen}, 200 if chosen else 404)

    def _told(self, instances: list[JSON], level: str) -> list[JSON]:
        depth = _LEVELS[level]
        times = {identity: time for _, identity, time in self._rows()}
        parts: dict[str, list[JSON]] = {}
        for one in instances:
            parts.setdefault(_id(one, depth), []).append(one)
        return [
            {
                "ID": identity,
                "Type": level,
                "ParentStudy": _id(some[0], 2),
                "MainDicomTags": {"StudyInstanceUID": _text(some[0], _UIDS[1])},
                "Instances": [_id(one, 4) for one in some],
                "LastUpdate": max(times.get(_id(one, 4), "") for one in some),
            }
            for identity, some in parts.items()
        ]


def _id(instance: JSON, depth: int) -> str:
    digest = sha1("|".join(_text(instance, name) for name in _UIDS[:depth]).encode()).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _text(instance: JSON, name: str) -> str:
    values = instance.get(name, {}).get("Value") or [""]
    return str(values[0])


def tags(dataset: JSON) -> JSON:
    """A dataset as GET …/instances-tags writes it."""
    return {f"{name[:4]},{name[4:]}".lower(): _tag(element) for name, element in dataset.items()}


def _tag(element: JSON) -> JSON:
    values = element.get("Value", [])
    if element["vr"] == "SQ":
        return {"Type": "Sequence", "Value": [tags(item) for item in values]}
    return {"Type": "String", "Value": "\\".join(map(_written, values))}


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)

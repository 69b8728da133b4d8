"""The HTTP side of the embedded DICOM service: change feed v1 and v2, DICOMweb, delete and bulk update.

It imitates microsoft/dicom-server (the API of Azure's DICOM service) as strictly as it can be told: what the
real one refuses is refused here with the same status and a plain-text body.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomcast.demo import multipart, qido, stow
from dicomcast.demo.archive import (
    DEFAULT_PARTITION,
    PARTITION_NAME,
    UID,
    Archive,
    Fault,
    MetadataUnreadable,
    NotFound,
)
from dicomcast.demo.changefeed import ChangeFeed

Version = Literal["v1", "v2"]

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"

_REPORTED = {"v1": "1.0-prerelease, 1", "v2": "2"}
_UNREADABLE = {
    Fault.MISSING: (
        500,
        "The server encountered an internal error. Please retry the request. If the issue persists, please"
        " contact support.",
    ),
    Fault.CORRUPT: (400, "The syntax of the request body is invalid."),
}


def dicom_service(
    archive: Archive,
    *,
    versions: Sequence[Version] = ("v1", "v2"),
    casing: Literal["camel", "pascal"] = "camel",
    empty: Literal["null", "204"] = "null",
) -> Starlette:
    """The service as an application; `app.state.requests` lists the (method, path) of all requests.

    `casing` is "camel" as on the wire, or "pascal" as the documentation prints it; `empty` is what
    `/changefeed/latest` answers when there is nothing: 200 with `null`, or 204.
    """
    feed = ChangeFeed(archive, casing, empty)
    pages = {"v1": feed.page_v1, "v2": feed.page_v2}
    latest = {"v1": feed.latest_v1, "v2": feed.latest_v2}
    dicomweb = DicomWeb(archive)
    routes = []
    for version in versions:
        resources: list[BaseRoute] = [
            Route("/changefeed", pages[version]),
            Route("/changefeed/latest", latest[version]),
            Route("/partitions", feed.partitions),
            Route("/operations/{operation}", dicomweb.operation),
            *dicomweb.routes(version),
            Mount("/partitions/{partition}", routes=dicomweb.routes(version)),
        ]
        routes += [Mount(prefix, routes=resources) for prefix in _prefixes(version)]
    requests: list[tuple[str, str]] = []
    reported = ", ".join(_REPORTED[version] for version in sorted(versions))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_Envelope, reported=reported, requests=requests)],
        exception_handlers={MetadataUnreadable: _unreadable, NotFound: _not_found},
    )
    app.state.requests = requests
    return app


def _prefixes(version: Version) -> tuple[str, ...]:
    return ("/v1", "/v1.0-prerelease") if version == "v1" else ("/v2",)


class _Envelope:
    """Lists every request, and reports the supported versions on every answer."""

    def __init__(self, app: ASGIApp, reported: str, requests: list[tuple[str, str]]) -> None:
        self.app, self.reported, self.requests = app, reported, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_versions(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["api-supported-versions"] = self.reported
            await send(message)

        if scope["type"] == "http":
            self.requests.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send_with_versions)


def _unreadable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MetadataUnreadable)
    status, body = _UNREADABLE[error.fault]
    return PlainTextResponse(body, status)


def _not_found(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"The specified {error.args[0]} cannot be found.", 404)


class DicomWeb:
    """STOW-RS, WADO-RS metadata, QIDO-RS, delete and bulk update, at the base and below a partition."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.operations: dict[str, dict[str, Any]] = {}

    def routes(self, version: Version) -> list[BaseRoute]:
        """The routes of one version; bulk update came with v2."""
        study = "/studies/{study}"
        series = study + "/series/{series}"
        instance = series + "/instances/{instance}"
        bulk_update = Route("/studies/$bulkUpdate", self.bulk_update, methods=["POST"])
        searches = ("/studies", "/series", "/instances", f"{study}/series", f"{study}/instances", f"{series}/instances")
        return [
            *([bulk_update] if version == "v2" else []),
            *(Route(path, self.store, methods=["POST"]) for path in ("/studies", study)),
            *(Route(path + "/metadata", self.metadata) for path in (study, series, instance)),
            *(Route(path, self.search) for path in searches),
            *(Route(path, self.delete, methods=["DELETE"]) for path in (study, series, instance)),
        ]

    async def store(self, request: Request) -> Response:
        """STOW-RS. A partition comes into being with its first instance."""
        _accept_dicom_json(request)
        partition, study = self._partition(request, must_exist=False), next(iter(_uids(request)), None)
        files = _files(request.headers.get("content-type", ""), await request.body())
        if not files:
            return Response(status_code=204)
        status, response = stow.store(
            self.archive, files, partition=partition, study=study, base_url=_base_url(request)
        )
        return JSONResponse(response, status, media_type=DICOM_JSON)

    async def metadata(self, request: Request) -> Response:
        """WADO-RS metadata of a study, series or instance."""
        _accept_dicom_json(request)
        found = self.archive.metadata(self._partition(request), *_uids(request))
        return JSONResponse(found, media_type=DICOM_JSON)

    async def search(self, request: Request) -> Response:
        """QIDO-RS."""
        _accept_dicom_json(request)
        partition, level = self._partition(request), request.url.path.rsplit("/", 1)[1]
        try:
            query = qido.parse(level, _uids(request), request.query_params.multi_items())
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        found = qido.search(self.archive.catalogue(partition), query)
        return JSONResponse(found, media_type=DICOM_JSON) if found else Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        """Delete a study, series or instance (not part of DICOMweb)."""
        self.archive.delete(self._partition(request), *_uids(request))
        return Response(status_code=204)

    async def bulk_update(self, request: Request) -> Response:
        """Start a bulk update. The real one takes a while; this one is done when it answers."""
        partition = self._partition(request)
        try:
            match json.loads(await request.body()):
                case {"studyInstanceUids": [*study_uids], "changeDataset": {**change}}:
                    changes = {str(tag): element for tag, element in change.items()}
                    result = self.archive.bulk_update(partition, [str(uid) for uid in study_uids], changes)
                case _:
                    raise ValueError("The request body must have studyInstanceUids and changeDataset.")
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        operation = uuid.uuid4().hex
        self.operations[operation] = {
            "operationId": operation,
            "type": "update",
            "status": "failed" if result.failed else "succeeded",
            "percentComplete": 100,
            "results": {
                "studyUpdated": len(result.updated),
                "studyFailed": len(result.failed),
                "instanceUpdated": sum(result.updated.values()),
                "errors": [f"Failed to update instances for study {uid}" for uid in result.failed],
            },
        }
        href = f"{request.base_url}v2/operations/{operation}"
        return JSONResponse({"id": operation, "href": href}, 202, headers={"Location": href})

    async def operation(self, request: Request) -> Response:
        """The status of a bulk update."""
        if (operation := self.operations.get(request.path_params["operation"])) is None:
            raise HTTPException(404, "The specified operation cannot be found.")
        return JSONResponse(operation)

    def _partition(self, request: Request, *, must_exist: bool = True) -> str:
        """The partition that the path names, by the rules of docs/concepts/data-partitions.md."""
        name: str | None = request.path_params.get("partition")
        if not self.archive.partitions:
            if name is not None:
                raise HTTPException(400, "Data partitions feature is disabled.")
            return DEFAULT_PARTITION
        if name is None:
            raise HTTPException(400, "PartitionName value is missing in the route segment.")
        if not PARTITION_NAME.fullmatch(name):
            raise HTTPException(400, "PartitionName value is invalid.")
        if must_exist and name not in (found["partitionName"] for found in self.archive.partition_list()):
            raise HTTPException(400, f"Specified PartitionName {name} does not exist.")
        return name


def _uids(request: Request) -> list[str]:
    """The UIDs of the path from the study down; 400 for what the service does not take for an identifier."""
    named = [(name, request.path_params.get(name)) for name in ("study", "series", "instance")]
    for name, uid in named:
        if uid is not None and not UID.fullmatch(uid):
            raise HTTPException(400, f"DICOM Identifier '{name}' is invalid.")
    return [uid for _, uid in named if uid is not None]


def _accept_dicom_json(request: Request) -> None:
    """406 unless DICOM JSON is named in Accept: `*/*` will not do."""
    accepted = ",".join(request.headers.getlist("accept")).lower()
    if DICOM_JSON not in (re.sub(r"\s*;.*", "", kind).strip() for kind in accepted.split(",")):
        raise HTTPException(406, "The request headers are not acceptable")


def _files(content_type: str, body: bytes) -> list[bytes]:
    """The DICOM files of a STOW-RS request, whether multipart or a single one."""
    match multipart.media_type(content_type):
        case "application/dicom":
            return [body] if body else []
        case "multipart/related" if boundary := multipart.parameter(content_type, "boundary"):
            pass
        case _:
            raise HTTPException(415, f"The specified content type '{content_type}' is not supported.")
    if not body:
        return []
    try:
        parts = multipart.parts(body, boundary)
    except ValueError as error:
        raise HTTPException(400, "There was an error reading the multipart request.") from error
    for kind, _ in parts:
        if kind != DICOM:
            raise HTTPException(415, f"The specified content type '{kind}' is not supported.")
    return [payload for _, payload in parts]


def _base_url(request: Request) -> str:
    """The base URL of the version, and of the partition if the request named one."""
    return str(request.base_url).rstrip("/") + str(request.scope["root_path"])

"""The change feed over HTTP: parameters, their validation, and the two spellings of an entry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicomcast.demo import ticks
from dicomcast.demo.archive import Archive

LONG_MAX = 2**63 - 1


class ChangeFeed:
    """The endpoints of the change feed. It lies at the base and spans all partitions."""

    def __init__(self, archive: Archive, casing: Literal["camel", "pascal"], empty: Literal["null", "204"]) -> None:
        self.archive, self.casing, self.empty = archive, casing, empty

    async def page_v1(self, request: Request) -> Response:
        """A window on the sequence value; times are not bound, hence ignored."""
        query = _Parameters(request)
        offset, limit = query.integer("offset", 0, 0, LONG_MAX), query.integer("limit", 10, 1, 100)
        page = self.archive.page_v1(offset, limit, include_metadata=query.include_metadata())
        return JSONResponse([self._spelt(entry) for entry in page])

    async def page_v2(self, request: Request) -> Response:
        """A window on time, paged by row."""
        query = _Parameters(request)
        offset, limit = query.integer("offset", 0, 0, LONG_MAX), query.integer("limit", 100, 1, 200)
        start, end = query.window()
        page = self.archive.page_v2(offset, limit, start, end, include_metadata=query.include_metadata())
        return JSONResponse([self._spelt(entry) for entry in page])

    async def latest_v1(self, request: Request) -> Response:
        """The newest entry by sequence."""
        include = _Parameters(request).include_metadata()
        return self._latest(self.archive.latest_v1(include_metadata=include))

    async def latest_v2(self, request: Request) -> Response:
        """The newest entry by time."""
        include = _Parameters(request).include_metadata()
        return self._latest(self.archive.latest_v2(include_metadata=include))

    async def partitions(self, _request: Request) -> Response:
        """The list of partitions: how a client finds out whether there are any."""
        if not self.archive.partitions:
            raise HTTPException(400, "Data partitions feature is disabled.")
        found = self.archive.partition_list()
        return JSONResponse([self._spelt(p) for p in found]) if found else Response(status_code=204)

    def _latest(self, entry: dict[str, Any] | None) -> Response:
        if entry is None:
            return JSONResponse(None) if self.empty == "null" else Response(status_code=204)
        return JSONResponse(self._spelt(entry))

    def _spelt(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Camel case as on the wire, or as the documentation prints it: Pascal case with values in lower case."""
        if self.casing == "camel":
            return entry
        lower = {name: entry[name].lower() for name in ("action", "state") if name in entry}
        return {name[0].upper() + name[1:]: value for name, value in (entry | lower).items()}


class _Parameters:
    """Query parameters as ASP.NET binds them: names in any case, and the first of several counts."""

    def __init__(self, request: Request) -> None:
        pairs = reversed(request.query_params.multi_items())
        self.values: Mapping[str, str] = {name.lower(): value for name, value in pairs}

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.get(name, str(default))
        if not re.fullmatch(r"-?\d{1,19}", value, re.ASCII):
            raise _invalid(name, "The value is not a number.")
        if not low <= int(value) <= high:
            raise _invalid(name, f"The field {name} must be between {low} and {high}.")
        return int(value)

    def include_metadata(self) -> bool:
        value = self.values.get("includemetadata", "true").lower()
        if value not in ("true", "false"):
            raise _invalid("includeMetadata", "The value is not true or false.")
        return value == "true"

    def window(self) -> tuple[str | None, str | None]:
        bounds = self._time("startTime", ticks.MIN), self._time("endTime", ticks.MAX)
        if bounds[1] <= bounds[0]:
            raise _invalid("endTime", "The end of the time range must be after its start.")
        return self.values.get("starttime"), self.values.get("endtime")

    def _time(self, name: str, default: int) -> int:
        value = self.values.get(name.lower())
        if value is None:
            return default
        try:
            return ticks.parse(value)
        except ValueError as error:
            raise _invalid(name, str(error)) from error


def _invalid(name: str, reason: str) -> HTTPException:
    return HTTPException(400, f"The query parameter '{name}' is invalid. {reason}")

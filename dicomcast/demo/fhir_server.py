"""The HTTP side of the embedded FHIR server, at `/fhir`: capabilities, read, search, write, Bundles.

It is as strict as the strictest server that we know: what one of them would refuse, it refuses with an
OperationOutcome.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope
from starlette.types import Send as SendMessage

from dicomcast.demo.fhir_index import LateIndex
from dicomcast.demo.fhir_interactions import Interactions, Result
from dicomcast.demo.fhir_search import PARAMETERS, find, parse_form, parse_query
from dicomcast.demo.fhir_store import FhirStore, Resource, Version
from dicomcast.demo.fhir_validation import ID, KINDS, Issue, Refusal

BASE = "/fhir"
FHIR_JSON = "application/fhir+json"
JSON_RANGES = frozenset({FHIR_JSON, "application/json", "application/*", "*/*"})
FORM = "application/x-www-form-urlencoded"
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
# How many searches keep their further pages.
_OPEN_SEARCHES = 100
_CODES = {404: "not-found", 405: "not-supported"}


def fhir_server(
    store: FhirStore | None = None,
    *,
    version: str = "4.0.1",
    transactions: bool = True,
    update_create: bool = True,
    page_size: int = 20,
    most_entries: int = 10_000,
    search_lag: int = 0,
) -> Starlette:
    """The server as an application; `app.state.requests` lists the (method, path) of all requests.

    `version` is the fhirVersion that it states and validates by: R5 from 5.0.0 on, else R4 and R4B, which are alike.
    `page_size` is the most that a page of search results holds, whatever `_count` asks for, `most_entries` the most
    that a Bundle may, and searches find what was written before so many requests as `search_lag` says.
    """
    store = store or FhirStore()
    interactions = Interactions(store, version, update_create=update_create, most_entries=most_entries)
    server = _Server(store, interactions, transactions, page_size, LateIndex(store, search_lag))
    requests: list[tuple[str, str]] = []
    routes = [
        Route("/metadata", server.capabilities),
        Route("/{kind}/_search", server.search, methods=["POST"]),
        Route("/{kind}", server.search, methods=["GET"]),
        Route("/{kind}", server.create, methods=["POST"]),
        Route("/{kind}/{id}", server.read, methods=["GET"]),
        Route("/{kind}/{id}", server.update, methods=["PUT"]),
        Route("/{kind}/{id}", server.delete, methods=["DELETE"]),
        Route("/{kind}/{id}/_history/{number}", server.read, methods=["GET"]),
    ]
    base = [
        route
        for path in (BASE, f"{BASE}/")
        for route in (Route(path, server.bundle, methods=["POST"]), Route(path, server.page, methods=["GET"]))
    ]
    app = Starlette(
        routes=[*base, Mount(BASE, routes=routes)],
        middleware=[Middleware(_Envelope, requests=requests, index=server.index)],
        exception_handlers={Refusal: _refused, HTTPException: _failed},
    )
    app.state.requests, app.state.index = requests, server.index
    return app


class _Envelope:
    """Lists every request, and refuses those that do not accept JSON."""

    def __init__(self, app: ASGIApp, requests: list[tuple[str, str]], index: LateIndex) -> None:
        self.app, self.requests, self.index = app, requests, index

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        if scope["type"] == "http":
            self.requests.append((scope["method"], scope["path"]))
            self.index.tick()
            accepted = Headers(scope=scope).get("accept", "*/*").lower()
            if JSON_RANGES.isdisjoint(kind.partition(";")[0].strip() for kind in accepted.split(",")):
                refusal = Refusal(406, Issue("not-supported", f"only {FHIR_JSON} is served"))
                await _json(406, refusal.outcome)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _Server:
    """The routes."""

    def __init__(
        self, store: FhirStore, interactions: Interactions, transactions: bool, page_size: int, index: LateIndex
    ) -> None:
        self.store = store
        self.interactions = interactions
        self.transactions = transactions
        self.page_size = page_size
        self.index = index
        self.searches: OrderedDict[str, tuple[Sequence[str], frozenset[str]]] = OrderedDict()

    async def capabilities(self, _request: Request) -> Response:
        """The CapabilityStatement (http.html#capabilities)."""
        modes = [*(["transaction"] if self.transactions else []), "batch"]
        interactions = ["read", "vread", "update", "delete", "create", "search-type"]
        resources = [
            {
                "type": kind,
                "interaction": [{"code": code} for code in interactions],
                "versioning": "versioned",
                "updateCreate": self.interactions.update_create,
                "conditionalCreate": True,
                "searchParam": [{"name": name, "type": parameter.type} for name, parameter in PARAMETERS[kind].items()],
            }
            for kind in KINDS
        ]
        statement = {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": datetime.now(UTC).date().isoformat(),
            "kind": "instance",
            "software": {"name": "dicomcast demo"},
            "implementation": {"description": "in memory, for demonstrations and tests"},
            "fhirVersion": self.interactions.version,
            "format": ["json"],
            "rest": [{"mode": "server", "resource": resources, "interaction": [{"code": mode} for mode in modes]}],
        }
        return _json(200, statement)

    async def bundle(self, request: Request) -> Response:
        """A transaction or a batch."""
        bundle = await _body(request)
        answer = self.interactions.bundle(
            bundle, transactions=self.transactions, representation=_wants_representation(request)
        )
        return _json(200, answer)

    async def create(self, request: Request) -> Response:
        """Create, unless the condition of If-None-Exist finds one."""
        kind, resource = _kind(request), await _body(request)
        result = self.interactions.create(resource, kind, request.headers.get("if-none-exist", ""))
        return _written(request, result)

    async def update(self, request: Request) -> Response:
        """Update, or create under the client's id."""
        kind, resource = _kind(request), await _body(request)
        return _written(
            request, self.interactions.update(resource, kind, _id(request), request.headers.get("if-match", ""))
        )

    async def delete(self, request: Request) -> Response:
        """Delete."""
        self.interactions.delete(_kind(request), _id(request), request.headers.get("if-match", ""))
        return Response(status_code=204)

    async def read(self, request: Request) -> Response:
        """The newest version, or the one that is asked for."""
        history, number = self.store.history(_kind(request), _id(request)), request.path_params.get("number")
        versions = [version for version in history if number in (None, str(version.number))]
        if not versions:
            raise Refusal(404, Issue("not-found", "there is no such resource"))
        if versions[-1].json is None:
            raise Refusal(410, Issue("deleted", "the resource was deleted"))
        return _resource(200, versions[-1])

    async def search(self, request: Request) -> Response:
        """GET or POST; what stands in the URL and what in the body counts alike (search.html#introduction)."""
        kind, parameters = _kind(request), request.query_params.multi_items()
        if request.method == "POST":
            _require(request, FORM)
            parameters += parse_form(await request.body())
        query = parse_query(kind, parameters, strict="handling=lenient" not in request.headers.get("prefer", ""))
        found = find(self.index.store, query)
        if query.summary:
            return _json(200, {"resourceType": "Bundle", "type": "searchset", "total": len(found)})
        key = uuid4().hex
        self.searches[key] = [f"{kind}/{resource['id']}" for resource in found], query.elements
        while len(self.searches) > _OPEN_SEARCHES:
            self.searches.popitem(last=False)
        size = min(query.count or self.page_size, self.page_size)
        return self._page(request, key, 0, size)

    async def page(self, request: Request) -> Response:
        """A further page, by a link that only this server understands."""
        query = request.query_params
        offset, size = query.get("_offset", ""), query.get("_count", "")
        if query.get("_getpages", "") not in self.searches or not (offset.isdecimal() and size.isdecimal()):
            raise Refusal(410, Issue("not-found", "the search has expired"))
        return self._page(request, query["_getpages"], int(offset), int(size))

    def _page(self, request: Request, key: str, offset: int, size: int) -> Response:
        base = _base(request)
        found, elements = self.searches[key]
        links = [("self", offset), *([("next", offset + size)] if offset + size < len(found) else [])]
        bundle: Resource = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "link": [
                {
                    "relation": relation,
                    "url": f"{base}?{urlencode({'_getpages': key, '_offset': at, '_count': size})}",
                }
                for relation, at in links
            ],
        }
        entries = [
            {"fullUrl": f"{base}/{reference}", "resource": resource, "search": {"mode": "match"}}
            for reference in found[offset : offset + size]
            if (resource := self._now(reference, elements)) is not None
        ]
        return _json(200, bundle | ({"entry": entries} if entries else {}))

    def _now(self, reference: str, elements: frozenset[str]) -> orjson.Fragment | Resource | None:
        kind, _, id = reference.partition("/")
        version = self.store.latest(kind, id)
        if version is None or version.json is None:
            return None
        if not elements:
            return orjson.Fragment(version.json)
        # https://hl7.org/fhir/R4/search.html#elements
        resource = orjson.loads(version.json)
        wanted = {name: value for name, value in resource.items() if name in elements | {"resourceType", "id", "meta"}}
        return wanted | {"meta": wanted["meta"] | {"tag": [*wanted["meta"].get("tag", []), _SUBSETTED]}}


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/") + BASE


def _kind(request: Request) -> str:
    kind: str = request.path_params["kind"]
    if kind not in KINDS:
        raise Refusal(404, Issue("not-supported", "this type of resource is not served"))
    return kind


def _id(request: Request) -> str:
    id: str = request.path_params["id"]
    if not ID.fullmatch(id):
        raise Refusal(400, Issue("value", "this is not an id"))
    return id


async def _body(request: Request) -> Any:
    _require(request, FHIR_JSON, "application/json")
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise Refusal(400, Issue("structure", "the body is not JSON")) from None


def _require(request: Request, *kinds: str) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise Refusal(415, Issue("not-supported", f"the body must be {' or '.join(kinds)}"))


def _wants_representation(request: Request) -> bool:
    return "return=representation" in request.headers.get("prefer", "")


def _written(request: Request, result: Result) -> Response:
    assert result.version is not None
    minimal = "return=minimal" in request.headers.get("prefer", "")
    location = f"{_base(request)}/{result.version.location}" if result.status == 201 else ""
    return _resource(result.status, result.version, location=location, empty=minimal)


def _resource(status: int, version: Version, *, location: str = "", empty: bool = False) -> Response:
    headers = {"ETag": version.etag, "Last-Modified": version.at.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    headers |= {"Location": location} if location else {}
    return Response(b"" if empty else version.json, status, headers=headers, media_type=FHIR_JSON)


def _json(status: int, resource: Resource) -> Response:
    return Response(orjson.dumps(resource), status, media_type=FHIR_JSON)


def _refused(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return _json(refusal.status, refusal.outcome)


def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(
        error.status_code,
        Refusal(error.status_code, Issue(_CODES.get(error.status_code, "processing"), error.detail)).outcome,
    )

"""What the FHIR server does to its store: create, update, delete, and Bundles of these (R4 http.html)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson

from dicomcast.demo.fhir_search import find, parse_form, parse_query
from dicomcast.demo.fhir_store import FhirStore, Resource, Version, instant, relative_target
from dicomcast.demo.fhir_validation import ID, KINDS, Issue, Refusal, check_bundle, check_resource

# http.html#trules: deletes first, so that what they leave is what conditions are judged by.
_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2}


@dataclass(frozen=True, slots=True)
class Result:
    """The status of an interaction, and the version that there is now (None: there never was one)."""

    status: int
    version: Version | None


@dataclass(slots=True)
class _Entry:
    """An entry of a Bundle, taken apart."""

    where: str
    method: str
    kind: str
    id: str
    full_url: str
    resource: Resource
    if_match: str
    if_none_exist: str
    existing: Version | None = None

    @property
    def target(self) -> str:
        return f"{self.kind}/{self.id}"


class Interactions:
    """All of them keep referential integrity: nothing may refer to what is not there."""

    def __init__(
        self, store: FhirStore, version: str, *, update_create: bool = True, most_entries: int = 10_000
    ) -> None:
        self.store = store
        self.version = version
        self.update_create = update_create
        self.most_entries = most_entries

    def create(self, resource: Any, kind: str, if_none_exist: str = "") -> Result:
        """Create under a new id, unless the condition finds one."""
        check_resource(resource, kind, self.version)
        with self.store.transaction() as written:
            found = self._condition(kind, if_none_exist)
            result = Result(200, found) if found else Result(201, self.store.put(_named(resource, str(uuid4()))))
            self._keep_integrity(written)
        return result

    def update(self, resource: Any, kind: str, id: str, if_match: str = "") -> Result:
        """Write the next version, or the first where the client may choose ids."""
        check_resource(resource, kind, self.version)
        with self.store.transaction() as written:
            result = self._update(resource, kind, id, if_match)
            self._keep_integrity(written)
        return result

    def delete(self, kind: str, id: str, if_match: str = "") -> Result:
        """Delete; what is not there is deleted already (http.html#delete)."""
        with self.store.transaction() as written:
            result = self._delete(kind, id, if_match)
            self._keep_integrity(written)
        return result

    def bundle(self, bundle: Any, *, transactions: bool, representation: bool) -> Resource:
        """Carry out a transaction or a batch, and answer the Bundle of its responses."""
        check_bundle(bundle, self.version)
        entries = list(enumerate(bundle.get("entry", [])))
        if len(entries) > self.most_entries:
            said = f"a Bundle may have no more than {self.most_entries} entries"
            raise Refusal(413, Issue("too-costly", said, "Bundle.entry"))
        if bundle["type"] == "batch":
            responses = [self._alone(entry, index, representation) for index, entry in entries]
        elif not transactions:
            raise Refusal(400, Issue("not-supported", "this server has no transactions", "Bundle.type"))
        else:
            results = self._transaction([_entry(entry, index) for index, entry in entries])
            responses = [_response(result, representation) for result in results]
        answer = {"resourceType": "Bundle", "type": f"{bundle['type']}-response"}
        return answer | ({"entry": responses} if responses else {})

    def _transaction(self, entries: list[_Entry]) -> list[Result]:
        """All or nothing; `urn:uuid:` references become the ids that the entries get."""
        results: dict[str, Result] = {}
        with self.store.transaction() as written:
            ordered = sorted(entries, key=lambda entry: _ORDER[entry.method])
            for entry in ordered:
                with _within(entry):
                    self._prepare(entry, results)
            _refuse_overlap(entries)
            places = {entry.full_url: entry.target for entry in entries if entry.full_url}
            for entry in ordered:
                if entry.where not in results:
                    with _within(entry):
                        results[entry.where] = self._write(entry, _resolved(entry.resource, places))
            self._keep_integrity(written)
        return [results[entry.where] for entry in entries]

    def _prepare(self, entry: _Entry, results: dict[str, Result]) -> None:
        """Delete, or find out under which id the entry will stand."""
        if entry.method == "DELETE":
            results[entry.where] = self._delete(entry.kind, entry.id, entry.if_match)
            return
        check_resource(entry.resource, entry.kind, self.version)
        if entry.method == "POST":
            found = self._condition(entry.kind, entry.if_none_exist)
            entry.id = found.id if found else str(uuid4())
            if found:
                results[entry.where] = Result(200, found)

    def _alone(self, raw: dict[str, Any], index: int, representation: bool) -> Resource:
        """An entry of a batch: its refusal is its own, and it cannot refer to another entry."""
        try:
            entry = _entry(raw, index)
            if entry.method == "DELETE":
                result = self.delete(entry.kind, entry.id, entry.if_match)
            elif entry.method == "PUT":
                result = self.update(entry.resource, entry.kind, entry.id, entry.if_match)
            else:
                result = self.create(entry.resource, entry.kind, entry.if_none_exist)
        except Refusal as refusal:
            return {"response": {"status": _status(refusal.status), "outcome": refusal.outcome}}
        return _response(result, representation)

    def _write(self, entry: _Entry, resource: Resource) -> Result:
        if entry.method == "PUT":
            return self._update(resource, entry.kind, entry.id, entry.if_match)
        return Result(201, self.store.put(_named(resource, entry.id)))

    def _update(self, resource: Resource, kind: str, id: str, if_match: str) -> Result:
        if resource.get("id") != id:
            raise Refusal(400, Issue("value", "the id in the resource is not the one in the URL", f"{kind}.id"))
        present = self.store.exists(f"{kind}/{id}")
        self._match(kind, id, if_match)
        if not present and not self.update_create:
            raise Refusal(405, Issue("not-supported", "this server chooses the ids of new resources"))
        return Result(200 if present else 201, self.store.put(resource))

    def _delete(self, kind: str, id: str, if_match: str) -> Result:
        self._match(kind, id, if_match)
        if not self.store.exists(f"{kind}/{id}"):
            return Result(204, self.store.latest(kind, id))
        return Result(204, self.store.delete(kind, id))

    def _match(self, kind: str, id: str, if_match: str) -> None:
        """If-Match (http.html#concurrency): weak ETags are compared as they stand."""
        latest = self.store.latest(kind, id)
        current = latest.etag if latest and latest.json is not None else None
        if if_match and if_match != current:
            raise Refusal(412, Issue("conflict", "the resource is not at the version of If-Match"))

    def _condition(self, kind: str, if_none_exist: str) -> Version | None:
        """The one resource that a conditional create finds (http.html#ccreate)."""
        if not if_none_exist:
            return None
        found = find(self.store, parse_query(kind, parse_form(if_none_exist.encode())))
        if len(found) > 1:
            raise Refusal(412, Issue("multiple-matches", "the condition finds several resources"))
        return self.store.latest(kind, found[0]["id"]) if found else None

    def _keep_integrity(self, written: Iterable[Version]) -> None:
        for version in written:
            if version.json is None:
                if any(self.store.exists(referrer) for referrer in self.store.referrers(version)):
                    raise Refusal(409, Issue("conflict", "another resource refers to the one to be deleted"))
                continue
            for reference in self.store.references(version):
                target = relative_target(reference)
                if target is None or not self.store.exists(target):
                    raise Refusal(422, Issue("not-found", "a reference leads nowhere", version.type))


def _entry(entry: dict[str, Any], index: int) -> _Entry:
    """Take apart an entry that `check_bundle` has passed."""
    where, request = f"Bundle.entry[{index}]", entry["request"]
    kind, _, id = request["url"].partition("/")
    method = request["method"]
    if method == "GET" or kind not in KINDS or bool(id) == (method == "POST") or (id and not ID.fullmatch(id)):
        raise Refusal(400, Issue("not-supported", "this request is not served", f"{where}.request"))
    return _Entry(
        where=where,
        method=method,
        kind=kind,
        id=id,
        full_url=entry.get("fullUrl", ""),
        resource=entry.get("resource", {}),
        if_match=request.get("ifMatch", ""),
        if_none_exist=request.get("ifNoneExist", ""),
    )


@contextmanager
def _within(entry: _Entry) -> Iterator[None]:
    """Say in which entry it was that a refusal arose."""
    try:
        yield
    except Refusal as refusal:
        raise refusal.within(entry.where) from None


def _refuse_overlap(entries: Iterable[_Entry]) -> None:
    """http.html#trules: a resource may be in a transaction but once."""
    for target, count in Counter(entry.target for entry in entries).items():
        if count > 1:
            raise Refusal(400, Issue("duplicate", f"{target.partition('/')[0]} is written twice", "Bundle.entry"))


def _resolved(node: Any, places: dict[str, str]) -> Any:
    """A copy of a tree, with references to other entries of the Bundle replaced by where these will stand."""
    if isinstance(node, list):
        return [_resolved(item, places) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _resolved(value, places) for key, value in node.items()}
    if isinstance(copy.get("reference"), str):
        copy["reference"] = places.get(copy["reference"], copy["reference"])
    return copy


def _named(resource: Resource, id: str) -> Resource:
    return {**resource, "id": id}


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


def _response(result: Result, representation: bool) -> Resource:
    version, response = result.version, {"status": _status(result.status)}
    if version is None or version.json is None:
        return {"response": response}
    response |= {"location": version.location, "etag": version.etag, "lastModified": instant(version.at)}
    return {"response": response, **({"resource": orjson.Fragment(version.json)} if representation else {})}

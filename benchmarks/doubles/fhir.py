"""A FHIR server that stores JSON by id: search by identifier, transactions, versions, conditions; and checks nothing.

Where it is told to, it keeps the bundles that it gets, so that the least that could have been sent is known afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import orjson

from benchmarks.content import digest, instances_of
from benchmarks.doubles.search import Index
from benchmarks.doubles.wire import Answer, run

JSON = dict[str, Any]

_KINDS = ("Endpoint", "ImagingStudy", "Patient")
_STATEMENT: JSON = {
    "resourceType": "CapabilityStatement",
    "status": "active",
    "date": "2024-07-15",
    "kind": "instance",
    "fhirVersion": "4.0.1",
    "format": ["json"],
    "rest": [
        {
            "mode": "server",
            "interaction": [{"code": "transaction"}, {"code": "batch"}],
            "resource": [{"type": kind, "updateCreate": True, "versioning": "versioned"} for kind in _KINDS],
        }
    ],
}
_INSTANT = "2024-07-15T12:00:00.000Z"
_FHIR_JSON = "application/fhir+json"


class Refused(Exception):
    """The request is answered with this status."""


class FhirDouble:
    """The double."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self, keep: bool = False) -> None:
        self._keep = keep
        self._index = Index()
        self._bundles: list[bytes] = []
        self._counts = {"searches": 0, "reads": 0, "bundles": 0, "versions": 0, "read_back": 0}

    def control(self, name: str, argument: Any) -> Any:
        """Start anew, or tell what was done and what there is."""
        match name:
            case "reset":
                self._clear(keep=argument is True)
            case "counts":
                return self._counts
            case "content":
                return digest(instances_of(self._index.all("ImagingStudy")))
            case "studies":
                return list(self._index.all("ImagingStudy"))
            case "bundles":
                return _save(Path(argument), self._last_words())
        return None

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Answer a request."""
        try:
            match method, path.strip("/").split("/"):
                case "POST", [""]:
                    return _fhir(self._bundle(body))
                case "GET", ["metadata"]:
                    return _fhir(_STATEMENT)
                case "POST", [kind, "_search"]:
                    return _fhir(self._search(kind, body.decode()))
                case "GET", [kind]:
                    return _fhir(self._search(kind, query))
                case "GET", [kind, id]:
                    return _fhir(self._read(kind, id))
            raise Refused(404)
        except Refused as refused:
            outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
            return _fhir(outcome, refused.args[0])

    def _read(self, kind: str, id: str) -> JSON:
        self._counts["reads"] += 1
        found = self._index.get(kind, id)
        if found is None:
            raise Refused(404)
        return found

    def _search(self, kind: str, form: str) -> JSON:
        self._counts["searches"] += 1
        found = self._index.find(kind, dict(parse_qsl(form)))
        self._counts["read_back"] += len(found) if kind == "ImagingStudy" else 0
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "entry": [{"fullUrl": f"{kind}/{one['id']}", "resource": one} for one in found],
        }

    def _bundle(self, body: bytes) -> JSON:
        """A transaction (or a batch, which is taken for one): conditions first, then what it writes."""
        self._counts["bundles"] += 1
        entries = orjson.loads(body)["entry"]
        places = {}
        for entry in entries:
            if entry["request"]["method"] == "POST":
                places[entry.get("fullUrl", "")] = self._place(entry["request"])
            elif (wanted := entry["request"].get("ifMatch")) and wanted != self._etag(entry["request"]["url"]):
                raise Refused(412)
        # References to what gets its id here; ours are known beforehand, and then there are none.
        for full_url, (target, _) in places.items():
            if full_url:
                body = body.replace(full_url.encode(), target.encode())
        entries = orjson.loads(body)["entry"] if places else entries
        if self._keep:
            self._bundles.append(body)
        targets = iter(places.values())
        responses = [self._write(entry, targets) for entry in entries]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": responses}

    def _place(self, request: JSON) -> tuple[str, bool]:
        """Where an entry will stand, and whether it stands there already."""
        kind, condition = request["url"], request.get("ifNoneExist")
        found = self._index.find(kind, dict(parse_qsl(condition))) if condition else []
        return (f"{kind}/{found[0]['id']}", True) if found else (f"{kind}/{uuid4()}", False)

    def _write(self, entry: JSON, places: Iterator[tuple[str, bool]]) -> JSON:
        method, target = entry["request"]["method"], entry["request"]["url"]
        if method == "DELETE":
            self._index.delete(*target.split("/"))
            return {"response": {"status": "204 No Content"}}
        there = False
        if method == "POST":
            target, there = next(places)
        kind, id = target.split("/")
        before = self._index.get(kind, id)
        if not there:
            self._counts["versions"] += kind == "ImagingStudy"
            version = str(int(before["meta"]["versionId"]) + 1 if before else 1)
            meta = {**entry["resource"].get("meta", {}), "versionId": version, "lastUpdated": _INSTANT}
            self._index.put({**entry["resource"], "id": id, "meta": meta})
        etag = self._etag(target)
        location = f"{target}/_history/{etag[3:-1]}"
        status = "200 OK" if before else "201 Created"
        return {"response": {"status": status, "location": location, "etag": etag, "lastModified": _INSTANT}}

    def _etag(self, target: str) -> str:
        found = self._index.get(*target.split("/"))
        return f'W/"{found["meta"]["versionId"]}"' if found else ""

    def _last_words(self) -> Iterator[bytes]:
        """The bundles without what a later one wrote again, and without conditions: the least that says it all."""
        said: set[str] = set()
        kept = []
        for bundle in map(orjson.loads, reversed(self._bundles)):
            left = []
            for entry in reversed(bundle["entry"]):
                if entry["request"]["method"] == "PUT" and entry["request"]["url"] not in said:
                    said.add(entry["request"]["url"])
                    entry["request"].pop("ifMatch", None)
                    left.append(entry)
            if left:
                kept.append(orjson.dumps({**bundle, "entry": left[::-1]}))
        return reversed(kept)


def _fhir(resource: JSON, status: int = 200) -> Answer:
    return Answer(orjson.dumps(resource), status, _FHIR_JSON)


def _save(path: Path, lines: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)


if __name__ == "__main__":
    run(FhirDouble())

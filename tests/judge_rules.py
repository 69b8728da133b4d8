"""The rules that validators are blind to: required bindings, ids, URNs, what is empty or there twice, Bundles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

__all__ = ["bundle_problems", "rule_problems"]

Element = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # R4 datatypes.html#string: all but tab, CR and LF
_ZONELESS = re.compile(r"\d{4}-\d\d-\d\dT(?!.*(Z|[+-]\d\d:\d\d)\Z).*", re.DOTALL)
_ETAG = re.compile(r'W/"[A-Za-z0-9\-.]{1,64}"')

# (what the element stands under, element): the required bindings of R4 and R5; for a Bundle, what is a write.
_CODES = {
    ("Bundle", "type"): "transaction batch".split(),
    ("request", "method"): "PUT POST DELETE".split(),
    ("Endpoint", "status"): "active suspended error off entered-in-error test".split(),
    ("ImagingStudy", "status"): "registered available cancelled entered-in-error unknown".split(),
    ("Patient", "gender"): "male female other unknown".split(),
    ("identifier", "use"): "usual official temp secondary old".split(),
    ("name", "use"): "usual official temp nickname anonymous old maiden".split(),
}
# The codes that each version names for laterality: R4 in its own value set, R5 in DICOM's CID 244.
_SIDES = {"4": "419161000 419465000 51440002".split(), "5": "7771000 24028007 51440002 66459002".split()}
_UNIQUE = frozenset("basedOn connectionType endpoint extension identifier modality".split()) | frozenset(
    "procedure procedureCode reason reasonCode".split()
)
_UIDS = frozenset("ImagingStudy instance series".split())


def rule_problems(resource: Element, version: str) -> Iterator[str]:
    """What breaks a rule in a resource or in a Bundle's shell, each with its place."""
    for path, under, element in _elements(resource, "", ""):
        where = f"rules: {path or under}"
        for key, value in element.items():
            yield from (f"{where}.{key} {problem}" for problem in _of_member(element, under, key, value))
        yield from (f"{where} {problem}" for problem in _of_element(element, under))
        yield from (f"{where} {problem}" for problem in _of_version(element, under, version[0]))


def _elements(node: Any, under: str, path: str) -> Iterator[tuple[str, str, Element]]:
    """Every object below a node, with its path and what it stands under (for a resource its type)."""
    if isinstance(node, dict):
        yield path, str(node.get("resourceType", under)), node
        for key, value in node.items():
            yield from _elements(value, key, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _elements(item, under, f"{path}[{index}]")


def _of_member(element: Element, under: str, key: str, value: Any) -> Iterator[str]:
    paired = isinstance(value, list) and (key.startswith("_") or f"_{key}" in element)
    for item in value if isinstance(value, list) and value else [value]:
        if item in (None, "", [], {}) and not (paired and item is None):
            yield "is empty (json.html: no null, no empty string, array or object)"
        elif isinstance(item, str):
            yield from _of_text(element, under, key, item)
    if key in _UNIQUE and isinstance(value, list) and len(set(map(_canonical, value))) < len(value):
        yield "holds something twice"


def _of_text(element: Element, under: str, key: str, text: str) -> Iterator[str]:
    if text != text.strip():
        yield "begins or ends with a blank"
    if _CONTROL.search(text):
        yield "holds a control character"
    if text not in _CODES.get((under, key), [text]):
        yield "is not in its value set"
    if ((key == "id" and "resourceType" in element) or (key == "uid" and under in _UIDS)) and not _ID.fullmatch(text):
        yield "is no id"
    if _ZONELESS.fullmatch(text) and key in ("started", "lastUpdated", "start", "end"):
        yield "has a time but no zone"
    if key in ("system", "source", "fullUrl", "reference", "url") and not _legal_urn(text):
        yield "is a URN of an illegal OID or UUID"
    if key == "system" and not _URI.fullmatch(text):
        yield "is no absolute URI"


def _legal_urn(uri: str) -> bool:
    pattern = _OID if uri.startswith("urn:oid:") else _UUID if uri.startswith("urn:uuid:") else _URI
    return pattern is _URI or pattern.fullmatch(uri) is not None


def _of_element(element: Element, under: str) -> Iterator[str]:
    named = str(element.get("code" if "code" in element else "value", ""))
    match element.get("system"):
        case "urn:dicom:uid" if not _legal_urn(named) or _OID.fullmatch(f"urn:oid:{named}"):
            yield "is a DICOM UID, so urn:oid: before all that are OIDs, and before no other"
        case "urn:ietf:rfc:3986" if not (_URI.fullmatch(named) and _legal_urn(named)):
            yield "is no URI, though its system says so"
    if under in ("extension", "modifierExtension"):
        values = [key for key in element if key.startswith("value")]
        if "url" not in element or len(values) + ("extension" in element) != 1:
            yield "wants a url, and either one value or extensions (ext-1)"
    kind, _, id = str(element.get("reference", "")).partition("/")
    if kind.isalpha() and (element.get("type", kind) != kind or not _ID.fullmatch(id.split("/_history/")[0])):
        yield "refers to another type than it says, or to no id"
    yield from _of_counts(element, "series", "numberOfSeries")
    yield from _of_counts(element, "instance", "numberOfInstances")
    series = [one for one in element.get("series", []) if isinstance(one, dict)]
    counts = [one["numberOfInstances"] for one in series if isinstance(one.get("numberOfInstances"), int)]
    if series and element.get("numberOfInstances") != sum(counts):
        yield "has another numberOfInstances than its series together"


def _of_version(element: Element, under: str, version: str) -> Iterator[str]:
    if version == "5" and under == "Endpoint" and element.get("status") == "test":
        yield "has a status that only R4 knows"
    if under == "laterality":
        for coding in element.get("coding", [element]):
            if coding.get("system") == "http://snomed.info/sct" and coding.get("code") not in _SIDES[version]:
                yield f"is no laterality of R{version}"


def _of_counts(element: Element, listed: str, count: str) -> Iterator[str]:
    items = element.get(listed)
    if isinstance(items, list):
        # Of a large series only those are listed on which somebody else wrote something.
        some = all(isinstance(one, dict) and "extension" in one for one in items) and element.get(count, 0) > len(items)
        if element.get(count) != len(items) and not some:
            yield f"has another {count} than it lists"
        if len({one.get("uid") for one in items if isinstance(one, dict)}) < len(items):
            yield f"lists one {listed} twice"


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def bundle_problems(bundle: Element) -> Iterator[str]:
    """What is wrong with the entries of a Bundle of writes, one with the other."""
    given = bundle.get("entry")
    entries = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    for index, entry in enumerate(entries):
        yield from (f"entry {index}: {problem}" for problem in _of_entry(entry))
    urls = [entry["fullUrl"] for entry in entries if "fullUrl" in entry]
    if len(set(urls)) < len(urls):
        yield "two entries have one fullUrl (bdl-7)"
    requests = [_request(entry) for entry in entries]
    targets = [request.get("url") for request in requests if request.get("method") != "POST"]
    if len(set(targets)) < len(targets):
        yield "two entries write one resource (http.html#trules)"
    for reference in _local_references(entries):
        if reference not in urls:
            yield f"{reference} is the fullUrl of no entry"


def _request(entry: Element) -> Element:
    request = entry.get("request")
    return request if isinstance(request, dict) else {}


def _of_entry(entry: Element) -> Iterator[str]:
    request, resource = _request(entry), entry.get("resource")
    url = str(request.get("url", ""))
    kind, id = (resource.get("resourceType"), resource.get("id")) if isinstance(resource, dict) else (None, None)
    match request.get("method"):
        case "PUT" if resource is None or url != f"{kind}/{id}":
            yield "the url of a PUT is not its resource's type and id"
        case "POST" if resource is None or url != kind or id is not None:
            yield "a POST has a resource without id, and its type as url"
        case "DELETE" if resource is not None or not re.fullmatch(rf"[A-Za-z]+/{_ID.pattern}", url):
            yield "a DELETE has no resource, and type and id as url"
        case None:
            yield "an entry of writes has a request (bdl-3)"
    if "ifMatch" in request and (not _ETAG.fullmatch(str(request["ifMatch"])) or request.get("method") == "POST"):
        yield "ifMatch is no weak ETag, or stands at a POST"
    if "ifNoneExist" in request and request.get("method") != "POST":
        yield "ifNoneExist stands at no POST"


def _local_references(entries: Iterable[Element]) -> Iterator[str]:
    for _, _, element in _elements([entry.get("resource") for entry in entries], "", ""):
        reference = element.get("reference")
        if isinstance(reference, str) and reference.startswith("urn:uuid:"):
            yield reference

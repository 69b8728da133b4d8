"""What the FHIR server refuses to store, and how it says so.

The models of fhir.resources (those of R4B, structurally R4 for the types served here, or of R5) find unknown elements,
missing ones and malformed dates. They are blind to required bindings, to the length of ids, to blanks in URIs and to
empty arrays, and they read "1" as a number: `_RULES` and `_inspect` see to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

KINDS = tuple(
    "Communication Condition Device DiagnosticReport Endpoint ImagingStudy Observation Patient Practitioner "
    "ServiceRequest".split()
)

ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
# Absolute (RFC 3986 §4.3) and without blanks; an OID is checked as R4 datatypes.html#oid has it.
URI = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+|(?!urn:oid:)[A-Za-z][A-Za-z0-9+.-]*:\S+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # R4 datatypes.html#string: all but tab, CR and LF

Rule = Callable[[Any], object]
Rules = Mapping[tuple[str, str], Rule]


class Issue(NamedTuple):
    """One OperationOutcome.issue: a code of the value set issue-type, words, and a FHIRPath."""

    code: str
    diagnostics: str
    expression: str = ""


class Refusal(Exception):
    """The request is answered with this status and an OperationOutcome."""

    def __init__(self, status: int, *issues: Issue) -> None:
        super().__init__(status, *issues)
        self.status = status
        self.issues = issues

    def within(self, entry: str) -> Refusal:
        """The same refusal of the resource in an entry of a Bundle."""
        return Refusal(self.status, *(issue._replace(expression=_within(entry, issue)) for issue in self.issues))

    @property
    def outcome(self) -> dict[str, Any]:
        """The OperationOutcome."""
        issues: list[dict[str, Any]] = []
        for code, diagnostics, expression in self.issues:
            issue = {"severity": "error", "code": code, "diagnostics": diagnostics}
            issues.append({**issue, "expression": [expression]} if expression else issue)
        return {"resourceType": "OperationOutcome", "issue": issues}


@cache
def _model(kind: str, version: str) -> type[BaseModel]:
    package = "fhir.resources" if _is_r5(version) else "fhir.resources.R4B"
    model: type[BaseModel] = getattr(import_module(f"{package}.{kind.lower()}"), kind)
    return model


def _is_r5(version: str) -> bool:
    return version.startswith("5.")


def check_resource(resource: Any, kind: str, version: str) -> None:
    """Refuse what is not a valid resource of this type: 400 if it is something else, 422 if it is invalid."""
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise Refusal(400, Issue("structure", f"a resource of type {kind} is expected"))
    issues = [*_issues(resource, kind, version)]
    if issues:
        raise Refusal(422, *issues)


def check_bundle(bundle: Any, version: str) -> None:
    """Refuse with 400 what is not a Bundle of requests; the resources in it are left for `check_resource`."""
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise Refusal(400, Issue("structure", "a resource of type Bundle is expected"))
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Refusal(400, Issue("structure", "an array of objects is expected", "Bundle.entry"))
    for index, entry in enumerate(entries):
        where, request = f"Bundle.entry[{index}]", entry.get("request")
        if not isinstance(request, dict):
            raise Refusal(400, Issue("required", "every entry needs a request (bdl-3)", where))
        if (request.get("method") in ("POST", "PUT")) != ("resource" in entry):
            raise Refusal(400, Issue("structure", "POST and PUT carry a resource, the others none", where))
    urls = [entry["fullUrl"] for entry in entries if "fullUrl" in entry]
    if len(set(map(str, urls))) < len(urls):
        raise Refusal(400, Issue("invariant", "a fullUrl must be unique (bdl-7)", "Bundle.entry"))
    shells = [{key: value for key, value in entry.items() if key != "resource"} for entry in entries]
    shell = {**bundle, "entry": shells} if "entry" in bundle else bundle
    issues = [*_issues(shell, "Bundle", version)]
    if issues:
        raise Refusal(400, *issues)


def _within(entry: str, issue: Issue) -> str:
    _, dot, path = issue.expression.partition(".")
    return f"{entry}.resource{dot}{path}" if issue.expression else entry


def _issues(resource: Mapping[str, Any], kind: str, version: str) -> Iterator[Issue]:
    yield from _model_issues(resource, kind, version)
    yield from _inspect(resource, kind, kind, _R5_RULES if _is_r5(version) else _RULES)


def _model_issues(resource: Any, kind: str, version: str) -> Iterator[Issue]:
    try:
        _model(kind, version).model_validate(resource)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False, include_input=False):
            where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
            yield Issue(_issue_type(error["type"]), error["msg"], kind + where)


def _issue_type(error: str) -> str:
    if "missing" in error:
        return "required"
    return "structure" if error in {"extra_forbidden", "list_type", "model_type"} else "value"


def _codes(codes: str) -> Rule:
    allowed = frozenset(codes.split())
    return lambda value: isinstance(value, str) and value in allowed


def _matches(pattern: re.Pattern[str]) -> Rule:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value)


def _is(kind: type) -> Rule:
    return lambda value: type(value) is kind  # a bool is an int to isinstance


def _decimal(value: object) -> bool:
    return type(value) in (int, float)


_PERSON_USE = _codes("usual official temp nickname anonymous old maiden")
_CONTACT_SYSTEM = _codes("phone fax email pager url sms other")
_SYSTEM = _matches(URI)

# (what the element stands under, element); "*" is anything. Value sets: the required bindings of R4.
_RULES: Rules = {
    **{(kind, "id"): _matches(ID) for kind in KINDS},
    ("Bundle", "type"): _codes("transaction batch"),
    ("request", "method"): _codes("GET POST PUT DELETE"),
    ("entry", "fullUrl"): _SYSTEM,
    ("Communication", "status"): _codes(
        "preparation in-progress not-done on-hold stopped completed entered-in-error unknown"
    ),
    ("Communication", "priority"): _codes("routine urgent asap stat"),
    ("Device", "status"): _codes("active inactive entered-in-error unknown"),
    ("DiagnosticReport", "status"): _codes(
        "registered partial preliminary final amended corrected appended cancelled entered-in-error unknown"
    ),
    ("Endpoint", "status"): _codes("active suspended error off entered-in-error test"),
    ("ImagingStudy", "status"): _codes("registered available cancelled entered-in-error unknown"),
    ("series", "uid"): _matches(ID),
    ("instance", "uid"): _matches(ID),
    ("Observation", "status"): _codes(
        "registered preliminary final amended corrected cancelled entered-in-error unknown"
    ),
    ("Patient", "gender"): _codes("male female other unknown"),
    ("Practitioner", "gender"): _codes("male female other unknown"),
    ("link", "type"): _codes("replaced-by replaces refer seealso"),
    ("ServiceRequest", "status"): _codes("draft active on-hold revoked completed entered-in-error unknown"),
    ("ServiceRequest", "intent"): _codes(
        "proposal plan directive order original-order reflex-order filler-order instance-order option"
    ),
    ("ServiceRequest", "priority"): _codes("routine urgent asap stat"),
    ("identifier", "use"): _codes("usual official temp secondary old"),
    ("name", "use"): _PERSON_USE,
    ("address", "use"): _codes("home work temp old billing"),
    ("address", "type"): _codes("postal physical both"),
    ("telecom", "system"): _CONTACT_SYSTEM,
    ("telecom", "use"): _codes("home work temp old mobile"),
    ("contact", "system"): _CONTACT_SYSTEM,
    ("contact", "use"): _codes("home work temp old mobile"),
    ("text", "status"): _codes("generated extensions additional empty"),
    ("valueQuantity", "comparator"): _codes("< <= >= >"),
    ("valueQuantity", "value"): _decimal,
    ("*", "system"): _SYSTEM,
    ("*", "active"): _is(bool),
    ("*", "deceasedBoolean"): _is(bool),
    ("*", "multipleBirthBoolean"): _is(bool),
    ("*", "userSelected"): _is(bool),
    ("*", "valueBoolean"): _is(bool),
    ("*", "multipleBirthInteger"): _is(int),
    ("*", "number"): _is(int),
    ("*", "numberOfSeries"): _is(int),
    ("*", "numberOfInstances"): _is(int),
    ("*", "rank"): _is(int),
    ("*", "valueInteger"): _is(int),
    ("*", "valueDecimal"): _decimal,
}
# Required bindings that R5 changed.
_R5_RULES = {
    **_RULES,
    ("Device", "status"): _codes("active inactive entered-in-error"),
    ("DiagnosticReport", "status"): _codes(
        "registered partial preliminary modified final amended corrected appended cancelled entered-in-error unknown"
    ),
    ("Endpoint", "status"): _codes("active suspended error off entered-in-error"),
    ("valueQuantity", "comparator"): _codes("< <= >= > ad"),
}
_CODED = frozenset({"comparator", "gender", "intent", "method", "priority", "status", "type", "use"})


def _inspect(node: Mapping[str, Any], parent: str, path: str, rules: Rules) -> Iterator[Issue]:
    """Apply rules to a tree, and find what is empty (R4 json.html: no null, "", [] or {})."""
    for key, value in node.items():
        rule = rules.get((parent, key)) or rules.get(("*", key))
        where = f"{path}.{key}"
        if not isinstance(value, list):
            yield from _inspect_value(value, key, where, rule, rules)
            continue
        if not value:
            yield Issue("structure", "an array must not be empty", where)
        # null holds the place of a primitive that has only extensions, or of one that has none
        paired = key.startswith("_") or f"_{key}" in node
        for index, item in enumerate(value):
            if not (item is None and paired):
                yield from _inspect_value(item, key, f"{where}[{index}]", rule, rules)


def _inspect_value(value: Any, key: str, where: str, rule: Rule | None, rules: Rules) -> Iterator[Issue]:
    if isinstance(value, dict) and value:
        yield from _inspect(value, value.get("resourceType", key), where, rules)
    elif value is None or value == {} or isinstance(value, list):
        yield Issue("structure", "a value must not be null or empty", where)
    elif isinstance(value, str) and (not value.strip() or _CONTROL.search(value)):
        yield Issue("value", "a string must not be blank nor hold control characters", where)
    elif rule and not rule(value):
        yield Issue("code-invalid" if key in _CODED else "value", f"not a valid {key}", where)

"""The judge of what dicomcast emits: is it valid FHIR R4?

No validator sees all: the R4B models (of the same structure as R4 in these types) know no value sets, fhirkit no
invariants, the JSON schema no required primitives. So all three speak, and `judge_rules` sees to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import fhirkit
import orjson
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.endpoint import Endpoint
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.patient import Patient
from pydantic import BaseModel, ValidationError

from tests.judge_rules import bundle_problems, rule_problems
from tests.r4_schema import schema_problems

__all__ = ["JUDGES", "problems"]

# What dicomcast emits; anything else is a problem.
_MODELS: Mapping[str, type[BaseModel]] = {
    "Bundle": Bundle,
    "Endpoint": Endpoint,
    "ImagingStudy": ImagingStudy,
    "Patient": Patient,
}


def _model_problems(resource: dict[str, Any]) -> Iterator[str]:
    try:
        _MODELS[resource["resourceType"]].model_validate(resource)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False, include_input=False):
            yield f"models: {'.'.join(map(str, error['loc']))}: {error['msg']}"


def _fhirkit_problems(resource: dict[str, Any]) -> Iterator[str]:
    for issue in fhirkit.validate(resource):
        if issue.severity == "error":
            yield f"fhirkit: {issue.path}: {issue.message}"


JUDGES: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "models": _model_problems,
    "schema": schema_problems,
    "fhirkit": _fhirkit_problems,
    "rules": rule_problems,
}


def problems(resource: Any) -> list[str]:
    """What is wrong with a resource, or with a Bundle and the resources in it. Nothing, if it is valid R4."""
    try:
        content = orjson.dumps(resource)
    except TypeError as error:
        return [f"this cannot be written as JSON: {error}"]
    if not isinstance(resource, dict) or resource.get("resourceType") not in _MODELS:
        return ["dicomcast emits no such type of resource"]
    if resource["resourceType"] != "Bundle":
        return list(_verdict(content))
    found = list(_verdict(orjson.dumps(_shell(resource))))
    entries = resource.get("entry")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and "resource" in entry:
            found += [f"entry {index}: {problem}" for problem in problems(entry["resource"])]
    return found + list(bundle_problems(resource))


# The same resources come by again and again where a feed is folded in many ways.
@lru_cache(maxsize=10_000)
def _verdict(content: bytes) -> tuple[str, ...]:
    resource = orjson.loads(content)
    return tuple(problem for judge in JUDGES.values() for problem in judge(resource))


def _shell(bundle: dict[str, Any]) -> dict[str, Any]:
    """A Bundle without the resources in it, which are judged alone."""
    entries = bundle.get("entry")
    if not isinstance(entries, list):
        return bundle
    bare = [_without_resource(entry) for entry in entries]
    return bundle | {"entry": bare}


def _without_resource(entry: Any) -> Any:
    return {name: value for name, value in entry.items() if name != "resource"} if isinstance(entry, dict) else entry

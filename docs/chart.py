"""The pages of the Helm chart: its values from the comments in values.yaml, and its settings from the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from dicomcast.settings import KNOWN, Settings
from dicomcast.settings.sources import DELIMITER, PREFIX

__all__ = ["readme", "schema", "settings_schema"]

CHART = Path(__file__).parents[1] / "charts" / "dicomcast"
SETTINGS = "settings"
DURATION = r"^([Pp].+|([0-9]+(\.[0-9]+)?(ms|[smhd]))+)$"


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the chart: its path, what its comment says, what this adds to the schema, and its default."""

    path: tuple[str, ...]
    about: str
    extra: Mapping[str, Any]
    default: Any


def _values() -> Iterator[Value]:
    """Those that have a comment `# --`, in the order of the file."""
    text = (CHART / "values.yaml").read_text("utf-8")
    everything = yaml.safe_load(text)
    path: list[str] = []
    about: list[str] = []
    extra: dict[str, Any] = {}
    for line in text.splitlines():
        content = line.strip()
        if content.startswith("# @schema "):
            extra = json.loads(content.removeprefix("# @schema "))
        elif content.startswith("# -- "):
            about = [content.removeprefix("# -- ")]
        elif content.startswith("# ") and about:
            about.append(content.removeprefix("# "))
        elif match := re.match(r"( *)(\w+):", line):
            path[len(match[1]) // 2 :] = [match[2]]
            if about:
                default = everything
                for key in path:
                    default = default[key]
                yield Value(tuple(path), " ".join(about), extra, default)
            about, extra = [], {}


README = """\
# The Helm chart

    helm install dicomcast charts/dicomcast --namespace imaging --values my-values.yaml

with at least

```yaml
image:
  repository: registry.example.com/dicomcast
settings:
  dicom:
    url: https://clinic.dicom.example.com
  fhir:
    url: https://server.example.com/fhir
  patient:
    system: https://hospital.example.com/mrn
```

How to install, replay, upgrade and watch it: [on Kubernetes](../../docs/how-to/kubernetes.md). A value or a setting
that is misspelt is refused, by `values.schema.json`.

| Value | Default | Meaning |
|---|---|---|
"""


def readme() -> str:
    """Make the chart's README: a row for each value."""
    return README + "".join(
        f"| `{'.'.join(value.path)}` | `{json.dumps(value.default)}` | {value.about} |\n" for value in _values()
    )


def schema() -> str:
    """Make values.schema.json."""
    root: dict[str, Any] = _closed({"global": {"type": "object", "description": "What Helm gives to subcharts."}})
    root = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart dicomcast"} | root
    for value in _values():
        group = root["properties"]
        for key in value.path[:-1]:
            group = group.setdefault(key, _closed({}))["properties"]
        if value.path == (SETTINGS,):
            group[SETTINGS] = {"description": value.about} | settings_schema(Settings)
        else:
            group[value.path[-1]] = {"description": value.about} | _of_default(value.default) | dict(value.extra)
    root["required"] = [SETTINGS]
    return json.dumps(root, indent=1, ensure_ascii=False) + "\n"


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _of_default(default: Any) -> dict[str, Any]:
    match default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
    return {} if default is None else {"type": "string"}


def settings_schema(model: type[BaseModel], prefix: str = PREFIX) -> dict[str, Any]:
    """The schema of a group of settings, without its secrets; the members of a union (`AUTH`) in one."""
    closed = _closed({})
    for name, field in model.model_fields.items():
        variable = (prefix + name).upper()
        groups = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_group(kind)]
        if groups:
            closed["properties"][name] = _together(settings_schema(kind, variable + DELIMITER) for kind in groups)
        elif not KNOWN[variable].secret:
            closed["properties"][name] = {"description": KNOWN[variable].description} | _type(field.annotation)
            closed["properties"][name] |= _bounds(field.annotation, field.metadata)
    required = [name for name in closed["properties"] if _is_required(closed["properties"][name], prefix + name)]
    return closed | ({"required": required} if required else {})


def _is_group(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_required(property_: Mapping[str, Any], variable: str) -> bool:
    if property_.get("type") == "object" and variable.upper() not in KNOWN:
        return bool(property_.get("required"))
    return KNOWN[variable.upper()].required


def _together(groups: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """One group with the properties of all; where several have one, it takes what any of them takes."""
    first, *others = groups
    for other in others:
        for name, property_ in other["properties"].items():
            known = first["properties"].setdefault(name, property_)
            if "enum" in known:
                known["enum"] = list(dict.fromkeys([*known["enum"], *property_["enum"]]))
    return first


def _type(annotation: Any) -> dict[str, Any]:
    """What YAML may say for a type; the rest is judged by the settings themselves."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": {"enum": [str(one) for one in arguments[0]]}}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    if arguments:
        kinds = [_type(one) for one in arguments if one is not NoneType]
        return kinds[0] if len(kinds) == 1 else {"type": ["string", "integer"]}
    if annotation is timedelta:
        return {"type": "string", "pattern": DURATION}
    return {"type": {bool: "boolean", int: "integer", str: "string", datetime: "string"}[annotation]}


def _bounds(annotation: Any, metadata: list[Any]) -> dict[str, Any]:
    """From where to where a whole number goes."""
    notes = [*metadata, *(note for one in get_args(annotation) for note in getattr(one, "__metadata__", ()))]
    notes += [inner for note in notes for inner in getattr(note, "metadata", ())]
    names = {"ge": "minimum", "le": "maximum"}
    bounds = {names[side]: getattr(note, side) for note in notes for side in names if hasattr(note, side)}
    return {name: bound for name, bound in bounds.items() if isinstance(bound, int)}

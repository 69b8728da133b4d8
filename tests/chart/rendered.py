"""Helm for tests: values go in, the objects that would be applied come out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT, skip

__all__ = ["CHART", "LEAST", "VERSIONS", "Helm", "Rendered", "helm", "merged"]

CHART = ROOT / "charts" / "dicomcast"
_PYTHON = ROOT / ".venv-chart" / "bin" / "python"
# The oldest one that Chart.yaml allows, the newest one whose schemas there are, and one between.
VERSIONS = ("1.31", "1.34", "1.37")
Values = dict[str, Any]
# What has to be said.
LEAST: Values = {
    "settings": {
        "dicom": {"url": "https://dicom.example.com"},
        "fhir": {"url": "https://fhir.example.com/r4"},
        "patient": {"system": "https://hospital.example.com/mrn"},
    }
}


def merged(*layers: Mapping[str, Any]) -> Values:
    """Values on values, as Helm lays files of them on each other."""

    def over(below: Values, above: Mapping[str, Any]) -> Values:
        both = {
            name: over(below[name], above[name]) for name in above if isinstance(above[name], dict) and below.get(name)
        }
        return {**below, **above, **both}

    return reduce(over, layers, {})


@dataclass(frozen=True, slots=True)
class Rendered:
    """What Helm would apply, in the order of the files, and what it would say; or why it refuses."""

    objects: list[dict[str, Any]]
    notes: str = ""
    refused: str = ""

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind."""
        [found] = self.all(kind)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the settings."""
        found: dict[str, str] = self.all("ConfigMap")[0]["data"]
        return found


class Helm:
    """A process that answers one question after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._valid: dict[str, list[str]] = {}

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def render(self, *values: Mapping[str, Any], name: str = "dicomcast") -> Rendered:
        """What comes of values, on top of the least that has to be said."""
        return self.render_alone(merged(LEAST, *values), name=name)

    def render_alone(self, values: Mapping[str, Any], name: str = "dicomcast") -> Rendered:
        """What comes of values and nothing else."""
        answer = self._ask(ask="render", values=values, name=name, namespace="imaging")
        if "refused" in answer:
            return Rendered([], refused=answer["refused"])
        files = {file.removeprefix("dicomcast/templates/"): text for file, text in sorted(answer["files"].items())}
        notes = files.pop("NOTES.txt")
        objects = [one for text in files.values() for one in yaml.safe_load_all(text) if one]
        return Rendered(objects, notes)

    def problems(self, one: Mapping[str, Any]) -> list[str]:
        """What the schemas of Kubernetes' versions do not allow in an object."""
        key = json.dumps(one, sort_keys=True)
        if key not in self._valid:
            self._valid[key] = self._ask(ask="validate", object=one, versions=VERSIONS)["problems"]
        return self._valid[key]

    def lint(self, values: Mapping[str, Any]) -> list[str]:
        """What `helm lint` warns of."""
        return [one["error"] for one in self._ask(ask="lint", values=values)["messages"] if one["severity"] > 1]

    def promql_problem(self, expression: str) -> str:
        """Why an expression is no PromQL, "" if it is."""
        problem: str = self._ask(ask="parse", expression=expression)["problem"]
        return problem

    def values_of(self, option: str) -> Values:
        """What `--set` makes of its argument."""
        return self._ask(ask="set", expression=option)


@contextmanager
def helm() -> Iterator[Helm]:
    """The process, for as long as the context lasts."""
    if not (ROOT / ".venv" / ".chart").exists():
        skip("Helm is not installed: run `make chart`")
    command = [str(_PYTHON), str(Path(__file__).with_name("engine.py")), str(CHART)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Helm(process)
        finally:
            process.kill()

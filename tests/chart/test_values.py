"""The values: what is misspelt, or does not fit, is refused, and every setting reaches the command by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicomcast import __version__
from dicomcast.settings import KNOWN, load_settings
from dicomcast.settings.sources import DELIMITER, PREFIX, SECRETS_DIR
from tests.chart.rendered import CHART, LEAST, Helm, merged

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
SETTINGS: dict[str, Any] = SCHEMA["properties"]["settings"]


def leaves(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The settings in the schema, each with its path."""
    for name, property_ in schema["properties"].items():
        if "properties" in property_:
            yield from leaves(property_, (*path, name))
        else:
            yield (*path, name), property_


def some_value(schema: Mapping[str, Any]) -> Any:
    """A value that the schema takes."""
    if "enum" in schema:
        return schema["enum"][-1]
    if "pattern" in schema:
        return "90m"
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][-1]
    examples = {
        "boolean": True,
        "string": "text",
        "object": {"A": "urn:oid:1.2"},
        "integer": schema.get("maximum", 10_000_000),
    }
    return [some_value(schema["items"])] * 2 if kind == "array" else examples[kind]


def at(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A value at the end of a path."""
    for name in reversed(path):
        value = {name: value}
    return {"settings": value}


def test_the_schema_knows_every_setting_but_secrets() -> None:
    """By the name of its variable in lower case."""
    names = {(PREFIX + DELIMITER.join(path)).upper() for path, _ in leaves(SETTINGS)}
    assert names == {variable.name for variable in KNOWN.values() if not variable.secret}


def test_every_setting_reaches_the_command(helm: Helm) -> None:
    """Each by its own name, with numbers in full and what is more than one value as the command reads it."""
    everything = merged(*(at(path, some_value(schema)) for path, schema in leaves(SETTINGS)))
    rendered = helm.render(everything)
    assert rendered.refused == ""
    given = rendered.environment
    assert set(given) == {variable.name for variable in KNOWN.values() if not variable.secret}
    assert given["DICOMCAST_DICOM__VANISHED_LIMIT"] == "1000000"
    assert given["DICOMCAST_WORKER__START"] == "10000000"
    assert given["DICOMCAST_MAPPING__STRICT"] == "true"
    assert json.loads(given["DICOMCAST_PATIENT__ISSUERS"]) == {"A": "urn:oid:1.2"}
    assert given["DICOMCAST_MAPPING__EXTRAS"].count(",") == 1


def test_the_least_that_has_to_be_said(helm: Helm, tmp_path: Path) -> None:
    """Two URLs and a system; what the chart adds are settings too."""
    rendered = helm.render()
    settings = load_settings(rendered.environment, secrets_dir=tmp_path)
    assert settings.state.url == "sqlite:////var/lib/dicomcast/state.db"
    assert settings.health.port == 8080
    assert rendered.environment.keys() <= KNOWN.keys()


@pytest.mark.parametrize("group", LEAST["settings"])
def test_what_is_required_is_asked_for(helm: Helm, group: str) -> None:
    """Before anything is started."""
    settings = {name: value for name, value in LEAST["settings"].items() if name != group}
    assert f"missing property '{group}'" in helm.render_alone({"settings": settings}).refused
    name = next(iter(LEAST["settings"][group]))
    assert f"missing property '{name}'" in helm.render_alone({"settings": {**settings, group: {}}}).refused


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mdoe": "cronjob"}, "'mdoe' not allowed"),
        ({"mode": "statefulset"}, "/mode"),
        ({"settings": {"fhir": {"ulr": "x"}}}, "'ulr' not allowed"),
        ({"settings": {"dicom": {"kind": "pacs"}}}, "/settings/dicom/kind"),
        ({"settings": {"worker": {"poll_interval": 30}}}, "/settings/worker/poll_interval"),
        ({"settings": {"worker": {"pollInterval": "30s"}}}, "'pollInterval' not allowed"),
        ({"settings": {"worker": {"concurrency": 65}}}, "/settings/worker/concurrency"),
        ({"settings": {"fhir": {"auth": {"kind": "basic", "password": "x"}}}}, "'password' not allowed"),
        ({"settings": {"fhir": {"auth": {"kind": "bearer", "token": "x"}}}}, "'token' not allowed"),
        ({"secrets": {"token": "x"}}, "'token' not allowed"),
        ({"terminationGracePeriodSeconds": 5}, "/terminationGracePeriodSeconds"),
        ({"persistence": {"accessModes": ["ReadWriteMany"]}}, "/persistence/accessModes"),
        ({"replay": {"study": ["Doe^Jane"]}}, "/replay/study"),
        ({"cronjob": {"backofLimit": 3}}, "'backofLimit' not allowed"),
        ({"metrics": {"prometheusRule": {"lagSeconds": "15m"}}}, "/metrics/prometheusRule/lagSeconds"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(helm: Helm, values: dict[str, Any], said: str) -> None:
    """With the path, or the name that is not known."""
    assert said in helm.render(values).refused


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"standby": True}, "standby: an SQLite file cannot be shared"),
        ({"replay": {"to": 7}}, "replay.to needs a replay.from"),
        ({"settings": {"health": {"port": None}}}, "settings.health.port"),
    ],
    ids=["standby", "replay", "health"],
)
def test_what_does_not_go_together_is_refused(helm: Helm, values: dict[str, Any], said: str) -> None:
    """With the sentence that tells what to do."""
    assert said in helm.render(values).refused


def test_values_of_a_parent_chart_are_let_through(helm: Helm) -> None:
    """Helm gives `global` to every subchart."""
    assert helm.render({"global": {"imageRegistry": "registry.example.com"}}).refused == ""


def test_every_value_has_a_description() -> None:
    """No value is left without a comment, so that README and schema have all of them."""

    def described(values: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> None:
        for name, value in values.items():
            here = schema["properties"][name]
            if "description" not in here:
                described(value, here, f"{path}{name}.")

    described(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")), SCHEMA, "")


def test_the_chart_is_of_this_version() -> None:
    """What it installs if nobody says otherwise."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == __version__


def test_helm_finds_nothing_to_warn_of(helm: Helm) -> None:
    """`helm lint --strict`."""
    assert helm.lint(LEAST) == []


def test_secrets_are_files_beside_tokens_of_service_accounts(helm: Helm) -> None:
    """A volume at /run/secrets itself would leave no place for these."""
    rendered = helm.render({"secrets": {"existingSecret": "passwords"}})
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "secrets"]
    assert mount["mountPath"] == rendered.environment[SECRETS_DIR] == "/run/secrets/dicomcast"
    [volume] = [one["secret"] for one in pod["volumes"] if one["name"] == "secrets"]
    assert volume == {"secretName": "passwords", "defaultMode": 0o440}
    assert SECRETS_DIR not in helm.render().environment

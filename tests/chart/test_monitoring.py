"""What operators watch: alerts and dashboard name metrics that there are, in expressions that Prometheus can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dicomcast.metrics import INSTRUMENTS
from tests.chart.rendered import CHART, Helm
from tests.sync.test_health import exposed

DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards" / "dicomcast.json").read_text("utf-8"))
METRICS = {exposed(name, kind, unit) for name, kind, unit, *_ in INSTRUMENTS}
WATCHED = {
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")}
}


def of_dashboard() -> Iterator[tuple[str, str]]:
    """Each expression of the dashboard, by its panel."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def alerts(helm: Helm) -> dict[str, dict[str, Any]]:
    """The alerts by their name."""
    [group] = helm.render(WATCHED).one("PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def named(expression: str) -> set[str]:
    """The metrics in an expression."""
    return set(re.findall(r"\bdicomcast_\w+", re.sub(r'"[^"]*"', "", expression)))


@pytest.mark.parametrize(("panel", "expression"), [*of_dashboard()])
def test_the_dashboard_names_metrics_that_there_are(helm: Helm, panel: str, expression: str) -> None:
    """In PromQL."""
    assert named(expression) and named(expression) <= METRICS
    assert helm.promql_problem(expression) == ""


def test_the_dashboard_shows_every_metric() -> None:
    """None is exported for nobody."""
    assert set().union(*(named(expression) for _, expression in of_dashboard())) == METRICS


def test_the_dashboard_can_be_imported() -> None:
    """It names no data source of its own, each panel has its place, and the copy of the sidecar is the file."""
    assert {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]} == {
        "${datasource}"
    }
    assert [one["type"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "query"]
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24


def test_the_dashboard_of_the_sidecar_is_the_file(helm: Helm) -> None:
    """With the label by which it is found."""
    [_, config] = sorted(helm.render(WATCHED).all("ConfigMap"), key=lambda one: len(one["metadata"]["name"]))
    assert json.loads(config["data"]["dicomcast.json"]) == DASHBOARD
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_alerts_name_metrics_that_there_are(helm: Helm) -> None:
    """In PromQL, with a sentence and something to do."""
    found = alerts(helm)
    assert set(found) == {
        "DicomcastLagging",
        "DicomcastBlocked",
        "DicomcastNotAtWork",
        "DicomcastParkedGrowing",
        "DicomcastDeadLetters",
        "DicomcastLeaseLost",
    }
    for rule in found.values():
        assert named(rule["expr"]) and named(rule["expr"]) <= METRICS
        assert helm.promql_problem(rule["expr"]) == ""
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] == "warning"


def test_the_judge_of_expressions_has_eyes(helm: Helm) -> None:
    """What is no PromQL is told."""
    assert helm.promql_problem("max(dicomcast_lag_seconds") != ""


def test_monitors_find_the_pods(helm: Helm) -> None:
    """By labels that Service and pods have, at a port of that name."""
    rendered = helm.render(WATCHED)
    template = rendered.one("Deployment")["spec"]["template"]
    [port] = template["spec"]["containers"][0]["ports"]
    service = rendered.one("Service")
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    for kind, labels, endpoints in (
        ("ServiceMonitor", service["metadata"]["labels"], "endpoints"),
        ("PodMonitor", template["metadata"]["labels"], "podMetricsEndpoints"),
    ):
        spec = rendered.one(kind)["spec"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert [(one["port"], one["path"]) for one in spec[endpoints]] == [(port["name"], "/metrics")]


def test_nothing_watches_a_job(helm: Helm) -> None:
    """It is over before anybody asks; Kubernetes itself tells of Jobs that failed."""
    kinds = {one["kind"] for one in helm.render(WATCHED, {"mode": "cronjob"}).objects}
    assert not kinds & {"Service", "ServiceMonitor", "PodMonitor", "PrometheusRule"}

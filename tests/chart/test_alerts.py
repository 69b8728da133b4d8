"""Each alert fires for what it is there for, and for nothing else: judged by Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.rendered import Helm
from tests.servers import skip

# Series by minutes, as promtool writes them; those of a worker that is well go on in each scenario.
WELL = {
    "dicomcast_lag_seconds": "0x180",
    'dicomcast_phase{phase="starting"}': "0x180",
    'dicomcast_phase{phase="blocked"}': "0x180",
    "dicomcast_parked": "3x180",
    "dicomcast_dead": "0x180",
    "dicomcast_lease_lost_total": "0x180",
}
# What is otherwise at two hours, and what has to be said then.
SCENARIOS: dict[str, tuple[dict[str, str], set[str]]] = {
    "all is well": ({}, set()),
    "in step again": ({"dicomcast_lag_seconds": "5000x90 0x90"}, set()),
    "behind": ({"dicomcast_lag_seconds": "0x100 1000x80"}, {"DicomcastLagging"}),
    "a little behind": ({"dicomcast_lag_seconds": "800x180"}, set()),
    "blocked": ({'dicomcast_phase{phase="blocked"}': "0x100 1x80"}, {"DicomcastBlocked"}),
    "blocked for a moment": ({'dicomcast_phase{phase="blocked"}': "0x110 1x70"}, set()),
    "never begins": ({'dicomcast_phase{phase="starting"}': "1x180"}, {"DicomcastNotAtWork"}),
    "parked and parked": ({"dicomcast_parked": "3x90 9x90"}, {"DicomcastParkedGrowing"}),
    "parked for long": ({"dicomcast_parked": "9x180"}, set()),
    "dead letters": ({"dicomcast_dead": "0x100 1x80"}, {"DicomcastDeadLetters"}),
    "lost its lease": ({"dicomcast_lease_lost_total": "0x100 1x80"}, {"DicomcastLeaseLost"}),
    "lost its lease long ago": ({"dicomcast_lease_lost_total": "0x30 1x150"}, set()),
}
OF_THE_POD = 'namespace="imaging",pod="dicomcast-5d4f8c7b9-x2x7l"'


def labelled(series: str) -> str:
    """A series with the labels that a monitor adds."""
    name, _, rest = series.partition("{")
    return f"{name}{{{OF_THE_POD}{',' + rest if rest else '}'}"


def scenario(changes: dict[str, str], fires: set[str], *, gone: bool = False) -> dict[str, object]:
    """A test of promtool."""
    series = {} if gone else WELL | changes
    return {
        "interval": "1m",
        "input_series": [{"series": labelled(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, namespace) (ALERTS{alertstate="firing"})',
                "eval_time": "2h",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}", namespace="imaging"}}', "value": 1} for name in sorted(fires)
                ],
            }
        ],
    }


def told(helm: Helm, folder: Path, test: dict[str, object]) -> str:
    """What promtool has against it, "" where all is as it is expected."""
    if shutil.which("promtool") is None:
        skip("promtool is not installed: on Debian it is in the package prometheus")
    rule = helm.render({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]), "utf-8")
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}), "utf-8")
    command = ["promtool", "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_alert_fires_for_what_it_is_there_for(helm: Helm, tmp_path: Path, name: str) -> None:
    """And no other one does."""
    assert told(helm, tmp_path, scenario(*SCENARIOS[name])) == ""


def test_no_worker_at_all(helm: Helm, tmp_path: Path) -> None:
    """What cannot be asked says nothing, and that is heard too."""
    assert told(helm, tmp_path, scenario({}, {"DicomcastNotAtWork"}, gone=True)) == ""


def test_the_judge_has_eyes(helm: Helm, tmp_path: Path) -> None:
    """An alert that does not fire is told."""
    assert "DicomcastLagging" in told(helm, tmp_path, scenario({}, {"DicomcastLagging"}))

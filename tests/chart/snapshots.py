"""Write what the chart renders for `values/*.yaml` anew: `python -m tests.chart.snapshots`. Review the difference."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.chart.rendered import Helm, helm

__all__ = ["FILES", "snapshot", "snapshot_file"]

_HERE = Path(__file__).parent
FILES = sorted((_HERE / "values").glob("*.yaml"))


def snapshot_file(values: Path) -> Path:
    """Where the snapshot of a file of values is."""
    return _HERE / "snapshots" / values.name


def snapshot(engine: Helm, values: Path) -> str:
    """What is rendered for it, in full."""
    rendered = engine.render_alone(yaml.safe_load(values.read_text("utf-8")))
    assert rendered.refused == ""
    notes = "".join(f"# {line}".rstrip() + "\n" for line in rendered.notes.strip().splitlines())
    return notes + yaml.safe_dump_all(rendered.objects, sort_keys=False, width=120)


if __name__ == "__main__":
    with helm() as started:
        for file in FILES:
            snapshot_file(file).write_text(snapshot(started, file), "utf-8")

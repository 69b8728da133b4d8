"""What is logged: each field that the code gives is on the list of what may be said, and no other gets through."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dicomcast import telemetry

PACKAGE = Path(telemetry.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call of a logger in the package, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = node.func.value
                if isinstance(logger, ast.Name) and logger.id == "_log":
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_every_field_that_is_logged_is_on_the_list() -> None:
    """One that is not would be dropped in silence; one that is given as a dict could be anything."""
    fields = {(place, keyword.arg) for place, call in calls() for keyword in call.keywords}
    assert {"study", "owner", "signal", "sequence"} <= {field for _, field in fields}
    assert {(place, field) for place, field in fields if field not in telemetry._FIELDS} == set()


def test_an_event_is_a_constant() -> None:
    """The name of an event carries no value."""
    for place, call in calls():
        assert [type(argument) for argument in call.args] == [ast.Constant], place


def test_what_is_not_on_the_list_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever else is handed to the logger, a patient among it, is not written."""
    telemetry.configure("info", "json")
    try:
        structlog.get_logger().warning("study.parked", study="1.2.3", patient="Doe^Jane", owner="host:1:ab")
    finally:
        structlog.reset_defaults()
    written = json.loads(capfd.readouterr().err)
    assert written.pop("timestamp").endswith("Z")
    assert written == {"event": "study.parked", "level": "warning", "study": "1.2.3", "owner": "host:1:ab"}

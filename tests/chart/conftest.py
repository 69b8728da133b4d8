"""Helm, started once for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chart.rendered import Helm, helm


@pytest.fixture(scope="session", name="helm")
def helm_() -> Iterator[Helm]:
    """Helm."""
    with helm() as process:
        yield process

"""The preflight on FHIR servers that are not ours: all is well there, and nothing is left behind."""

from __future__ import annotations

import json

import pytest

from tests.servers.site import Site

pytestmark = pytest.mark.long


def test_nothing_is_left_behind(site: Site) -> None:
    """Before the first run and after it: no resource, no version, and no study that was deleted."""
    site.put("a", "1", "1")
    for _ in range(2):
        before, kinds = site.versions(), ("ImagingStudy", "Patient", "Endpoint")
        totals = [len(site.search(kind)) for kind in kinds]
        process = site.start("check", "--json")
        out, log = process.communicate(timeout=120)
        assert process.returncode == 0, out + log
        assert {row["state"] for row in json.loads(out)} == {"ok"}
        assert site.versions() == before and [len(site.search(kind)) for kind in kinds] == totals
        site.run()

"""A backfill of a real Orthanc, by each way to follow it, while somebody is at work there."""

from __future__ import annotations

import time
from collections.abc import Callable
from signal import SIGKILL

import pytest

from tests.history import idle_versions
from tests.orthanc.clinic import KINDS, Clinic, image
from tests.servers.embedded import Embedded, until
from tests.servers.orthanc import Orthanc

pytestmark = pytest.mark.long


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_it_is_cast(kind: str, embedded: Embedded, start_orthanc: Callable[..., Orthanc]) -> None:
    """Killed in the middle, and begun again; what comes and goes meanwhile does so in FHIR too."""
    options, told = KINDS[kind]
    clinic = Clinic(start_orthanc(overwrite=True, **options), embedded, options, told)
    orthanc, settings = clinic.orthanc, clinic.settings | {"WORKER__LEASE": "1s"}
    for study in range(30):
        for instance in "12":
            orthanc.store(image(f"1.2.{study}", "1", instance, PatientID=f"P{study % 7}"))
    running = embedded.start("backfill", "--rate", "3/s", **settings)
    until("some were settled", lambda: 0 < len(embedded.query("SELECT * FROM backfill")) <= 25 and embedded.studies())
    orthanc.delete("study", *orthanc.lookup("1.2.29"))
    orthanc.delete("study", *orthanc.lookup("1.2.0"))
    orthanc.delete("instance", *orthanc.lookup("1.2.28.1.2"))
    orthanc.store(image("1.3"))
    running.signal(SIGKILL)
    running.finish()
    facts = embedded.run("backfill", "--json", **settings, code=0).json
    assert facts["complete"] and facts["settled_before"] >= 5 and facts["studies"] == 30
    time.sleep(1)  # the least time between two sweeps
    embedded.run("run", "--once", "--strict", **settings, code=0)
    assert clinic.in_fhir() == clinic.studies()
    assert idle_versions(embedded.store) == []

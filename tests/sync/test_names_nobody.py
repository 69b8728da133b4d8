"""Law 5 on the status page, in traces and in metrics: no value of any patient, and no UID, whatever happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dicomcast.metrics import observe
from dicomcast.page import render
from dicomcast.tracing import Tracing
from dicomcast.vitals import Phase
from dicomcast.worker import Job, Worker
from tests.golden_files import CASES
from tests.virtual import VirtualHarness, until

pytestmark = pytest.mark.looptime

# What is shorter than this may be in any word; of names, whole words are looked for.
_LEAST = 5
OURS = ("SECRET-ID", "1.2.840.99")


def values(element: Any) -> Iterator[str]:
    """All text in a dataset, but for code strings: the words of the standard are everybody's."""
    match element:
        case {"vr": "CS"}:
            return
        case dict():
            yield from (value for name, inner in element.items() if name != "vr" for value in values(inner))
        case list():
            yield from (value for inner in element for value in values(inner))
        case _:
            yield str(element).strip()


def names(element: Any) -> Iterator[str]:
    """All words in the names of people."""
    match element:
        case {"vr": "PN", "Value": list(people)}:
            yield from (word for value in values(people) for word in re.findall(r"\w\w+", value))
        case dict():
            yield from (word for inner in element.values() for word in names(inner))
        case list():
            yield from (word for inner in element for word in names(inner))


METADATA = [metadata for case in CASES.values() for metadata in case["metadata"]]
SECRETS = {value for value in values(METADATA) if len(value) >= _LEAST}
NAMES = set(names(METADATA))


def discreet(text: str) -> bool:
    """Whether nothing of the golden patients is in it."""
    found = {secret for secret in (*SECRETS, *OURS) if secret in text}
    found |= NAMES & set(re.findall(r"\w\w+", text))
    assert not found
    return True


async def test_golden_patients(harness: VirtualHarness) -> None:
    """All of them in the archive, one of them unreadable; then the FHIR server refuses study after study."""
    assert "Doe" in NAMES and len(SECRETS) > 150
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(spans))
    harness.spans = Tracing(traces.get_tracer("dicomcast"))
    harness.restart()
    for metadata in METADATA:
        harness.archive.store(metadata, "Microsoft.Default")
    first = harness.archive.page_v1(limit=1)[0]
    harness.archive.poison(*(first[f"{level}InstanceUid"] for level in ("study", "series", "sop")), "corrupt")
    app = harness.app()
    harness.note = app.vitals.report.note
    observe(meters.get_meter("dicomcast"), app.vitals)
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.polled_at is not None)
    told = [render(app.vitals, harness.now, version="1")]
    assert "created</span>" in told[0] and "parked</span>" in told[0]
    refused = httpx.Response(422, json={"resourceType": "OperationOutcome", "issue": [{"code": "invalid"}]})
    harness.weather["fhir"] = lambda _: refused
    for number in range(12):
        harness.put(f"1.2.840.99.{number}", f"1.2.840.99.{number}.1", f"1.2.840.99.{number}.1.1", PatientID=OURS[0])
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    told.append(render(app.vitals, harness.now, version="1"))
    measured = reader.get_metrics_data()
    worker.stop()
    await run
    assert measured is not None and "dicomcast.issues" in measured.to_json()
    names = {span.name for span in spans.get_finished_spans()}
    assert {"window", "study", "transaction", "POST"} <= names
    told += [measured.to_json(), *(span.to_json() for span in spans.get_finished_spans())]
    for text in told:
        assert discreet(re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL))

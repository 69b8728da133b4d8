"""Traces: window, study, transaction, request, in this order; what peers and the log hear of them; and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from dicomcast import telemetry
from dicomcast.model import Outcome
from dicomcast.tracing import Tracing
from tests.harness import Harness


class Traced(Harness):
    """A harness that remembers spans, and the headers of requests."""

    def __init__(self, **options: Any) -> None:
        self.memory = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.spans = Tracing(provider.get_tracer("dicomcast"))
        self.asked: list[httpx.Request] = []
        super().__init__(**options)

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Remembering(transport, self.asked)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name, in the order in which they ended."""
        return [span for span in self.memory.get_finished_spans() if span.name == name]


class _Remembering(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, asked: list[httpx.Request]) -> None:
        self._inner, self._asked = inner, asked

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._asked.append(request)
        return await self._inner.handle_async_request(request)


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    """A harness with traces."""
    traced = Traced()
    yield traced
    await traced.close()


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def number(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_window_study_transaction_request(traced: Traced) -> None:
    """Each below the one before, with what came of it."""
    traced.put("1.2", "1.2.1", "1.2.1.1")
    assert await traced.cast() == {Outcome.CREATED: 1}
    (window,), (study,) = traced.named("window"), traced.named("study")
    transactions = {number(span): span for span in traced.named("transaction")}
    assert window.parent is None and parent(study) == number(window)
    assert dict(window.attributes or {}) == {
        "dicomcast.entries": 1,
        "dicomcast.studies": 1,
        "dicomcast.sequence": 1,
    }
    assert dict(study.attributes or {}) == {"dicomcast.shared": False, "dicomcast.outcome": "created"}
    (own,) = [span for span in transactions.values() if parent(span) == number(study)]
    (request,) = [span for span in traced.named("POST") if parent(span) == number(own)]
    assert request.kind is SpanKind.CLIENT
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "dicomcast.peer": "fhir",
        "server.address": "fhir.test",
        "server.port": 80,
        "http.response.status_code": 200,
    }
    assert len({span.context.trace_id for span in traced.memory.get_finished_spans() if span.context}) == 1


async def test_several_studies_in_one_transaction(traced: Traced) -> None:
    """It is below the first of them, and linked to the others."""
    for study in range(5):
        traced.put(f"1.{study}", f"1.{study}.1", f"1.{study}.1.1", PatientID=f"P{study}")
    await traced.cast()
    studies = {number(span) for span in traced.named("study")}
    shared = traced.named("together")
    assert len(studies) == 5 and sum((span.attributes or {})["dicomcast.studies"] for span in shared) == 5  # type: ignore[misc]
    linked = [link.context.span_id for span in shared for link in span.links]
    assert {*map(parent, shared), *linked} == studies
    assert any(span.links for span in shared)


async def test_peers_are_told_of_the_request_that_they_answer(traced: Traced) -> None:
    """W3C traceparent, of the very request; where nothing is under way there is none, and no span of it."""
    traced.put("1.2", "1.2.1", "1.2.1.1")
    await traced.cast()
    spans = {number(span): span for name in ("GET", "POST") for span in traced.named(name)}
    told = [request.headers.get("traceparent") for request in traced.asked]
    ids = [int(one.split("-")[2], 16) for one in told if one]
    assert sorted(ids) == sorted(spans) and ids
    polls = [request for request in traced.asked if "changefeed" in request.url.path]
    assert polls and all("traceparent" not in request.headers for request in polls)
    traced.memory.clear()
    await traced.cast()
    assert traced.memory.get_finished_spans() == ()


async def test_a_study_that_fails_says_why_without_words(traced: Traced) -> None:
    """By the kind of error and its reason: no text, no stack, which may tell of a patient."""
    traced.put("1.2", "1.2.1", "1.2.1.1")
    traced.put("1.3", "1.3.1", "1.3.1.1")
    traced.archive.poison("1.2", "1.2.1", "1.2.1.1", "corrupt")
    assert await traced.cast() == {Outcome.CREATED: 1, Outcome.PARKED: 1}
    outcomes = [(span.attributes or {}).get("dicomcast.outcome") for span in traced.named("study")]
    assert outcomes.count("parked") == 1
    (failed,) = [span for span in traced.named("study") if "dicomcast.reason" in (span.attributes or {})]
    assert (failed.attributes or {})["dicomcast.reason"] == "refused"
    errors = [span for span in traced.memory.get_finished_spans() if span.status.status_code is StatusCode.ERROR]
    assert any((span.attributes or {}).get("http.response.status_code") == 400 for span in errors)
    for span in traced.memory.get_finished_spans():
        assert not span.events and not span.status.description


async def test_a_replay_is_traced_too(traced: Traced) -> None:
    """Without a window, since it is none."""
    traced.put("1.2", "1.2.1", "1.2.1.1")
    await traced.cast()
    traced.memory.clear()
    await traced.replay()
    (studies,), (study,) = traced.named("studies"), traced.named("study")
    assert studies.parent is None and parent(study) == number(studies)
    assert (study.attributes or {})["dicomcast.outcome"] == "unchanged"


async def test_lines_of_the_log_say_where_they_belong(traced: Traced, capfd: pytest.CaptureFixture[str]) -> None:
    """By trace and span, in the form that collectors know; lines of nothing under way have none."""
    telemetry.configure("debug", "json", traced.spans)
    try:
        traced.put("1.2", "1.2.1", "1.2.1.1")
        await traced.cast()
        structlog.get_logger().info("worker.stopping")
    finally:
        structlog.reset_defaults()
    lines = {line["event"]: line for line in map(json.loads, capfd.readouterr().err.splitlines())}
    (study,) = traced.named("study")
    assert study.context is not None
    assert lines["study.cast"]["trace_id"] == f"{study.context.trace_id:032x}"
    assert lines["study.cast"]["span_id"] == f"{study.context.span_id:016x}"
    assert not {"trace_id", "span_id"} & lines["worker.stopping"].keys()


def test_off_it_costs_no_import() -> None:
    """A CronJob pays for what it loads at each run."""
    program = "import sys, dicomcast.cli.run; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

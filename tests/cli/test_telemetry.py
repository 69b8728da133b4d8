"""Traces and metrics of the installed command, taken by real receivers, and by some that are none."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from dicomcast.errors import ConfigError
from dicomcast.insight import insight
from dicomcast.metrics import INSTRUMENTS
from dicomcast.settings import TelemetrySettings
from tests.servers.collector import Collector, collecting
from tests.servers.embedded import Embedded, silent_port

KEY = "00000000-0000-0000-0000-000000000001"
PATIENT = {"PatientName": "Xqzfamily^Xqzgiven", "PatientID": "XQZ-4711", "StudyDescription": "Xqz head"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Takes all that comes."""
    with collecting() as collector:
        yield collector


@pytest.fixture
def hospital(embedded: Embedded) -> Embedded:
    """Three studies, one of them unreadable."""
    for study in ("2.25.4711.1", "2.25.4711.2", "2.25.4711.3"):
        embedded.put(study, **PATIENT)
    embedded.archive.poison("2.25.4711.3", "2.25.4711.3.1", "2.25.4711.3.1.1", "corrupt")
    return embedded


def discreet(collector: Collector) -> bool:
    """Whether neither the patient nor a UID was sent."""
    sent = b"".join(collector.bodies).lower()
    return bool(sent) and b"xqz" not in sent and b"2.25.4711" not in sent


@pytest.mark.long
def test_a_collector_gets_all_of_a_run_that_ends(hospital: Embedded, collector: Collector) -> None:
    """`run --once`, as a CronJob does: spans in their order, every metric that has a value, and who sent it."""
    hospital.outside = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    ended = hospital.run("run", "--once", TELEMETRY__EXPORTER="otlp", LOG__FORMAT="json", code=0)
    (window,) = [span for span in collector.spans if span.name == "window"]
    studies = [span for span in collector.spans if span.name == "study" and span.parent_span_id == window.span_id]
    assert {span.trace_id for span in collector.spans} == {window.trace_id}
    assert window.trace_id.hex() in ended.err
    outcomes = [item.value.string_value for span in studies for item in span.attributes if "outcome" in item.key]
    assert sorted(outcomes) == ["created", "created", "parked"]
    assert set(collector.metrics) <= {name for name, *_ in INSTRUMENTS}
    assert {"dicomcast.studies", "dicomcast.lag.entries", "dicomcast.parked", "dicomcast.requests"} <= set(
        collector.metrics
    )
    counted = {point.attributes[0].value.string_value: point.as_int for point in collector.metrics["dicomcast.studies"]}
    assert counted["created"] == 2 and counted["parked"] == 1
    assert collector.resource["service.name"] == "dicomcast"
    assert collector.resource["deployment.environment.name"] == "test"
    assert discreet(collector)
    assert "telemetry" not in ended.err


@pytest.mark.long
def test_azure_monitor_gets_it_too(hospital: Embedded, collector: Collector) -> None:
    """By its connection string, of the variable that everybody has; nothing is asked of, or told to, anybody else."""
    hospital.outside = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={collector.url}"
    }
    ended = hospital.run("run", "--once", TELEMETRY__EXPORTER="azure-monitor", LOG__FORMAT="json", code=0)
    kinds = {one["data"]["baseType"] for one in collector.envelopes}
    assert kinds == {"RemoteDependencyData", "MetricData"}
    assert {one["iKey"] for one in collector.envelopes} == {KEY}
    assert {one["tags"]["ai.cloud.role"] for one in collector.envelopes} == {"dicomcast"}
    measured = {metric["name"] for one in collector.envelopes for metric in one["data"]["baseData"].get("metrics", ())}
    assert {"dicomcast.studies", "dicomcast.lag.entries"} <= measured
    names = {one["data"]["baseData"].get("name") for one in collector.envelopes}
    assert {"window", "study", "transaction"} <= names
    assert discreet(collector)
    assert "telemetry" not in ended.err


@pytest.mark.long
@pytest.mark.parametrize("exporter", ["otlp", "azure-monitor"])
def test_nobody_takes_it(hospital: Embedded, exporter: str) -> None:
    """The work is done and the end comes all the same; it is told in two lines, without addresses and tracebacks."""
    with silent_port() as port:
        hospital.outside = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{port}",
        }
        ended = hospital.run("run", "--once", TELEMETRY__EXPORTER=exporter, LOG__FORMAT="json", code=0)
    assert "2 created" in ended.err
    assert ended.err.count("telemetry.failed") == 1
    assert str(port) not in ended.err and KEY not in ended.err


def test_the_end_comes_though_a_collector_keeps_its_answer_back(capfd: pytest.CaptureFixture[str]) -> None:
    """It takes the connection and says nothing: what is left is given up, and that is told."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with insight(TelemetrySettings(exporter="otlp"), flush=0.2) as sent, sent.spans.span("window", {}):
            pass
    assert "telemetry.lost" in capfd.readouterr().out
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "telemetry")


def test_off_there_is_nothing() -> None:
    """No spans, no metrics."""
    with insight(TelemetrySettings()) as sent, sent.spans.span("window", {}) as span:
        span.note({"dicomcast.entries": 1})
        span.failed(ValueError())
        assert (sent.spans.here, sent.spans.headers, sent.spans.ids) == (None, {}, {})


@pytest.mark.parametrize("exporter", ["otlp", "azure-monitor"])
def test_an_exporter_that_is_not_there_names_its_extra(monkeypatch: pytest.MonkeyPatch, exporter: str) -> None:
    """Asked for and missing is a wrong setting, and not nothing."""
    for module in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "azure.monitor.opentelemetry.exporter"):
        monkeypatch.setitem(sys.modules, module, None)
    said = rf"TELEMETRY__EXPORTER={exporter} needs more packages .*: pip install '\.\[{exporter}\]' in a clone"
    with pytest.raises(ConfigError, match=said), insight(TelemetrySettings(exporter=exporter)):  # type: ignore[arg-type]
        raise AssertionError("it is there")


@pytest.mark.parametrize(
    "given", ["nonsense-4711", "InstrumentationKey=4711;IngestionEndpoint=https://x.example", None]
)
def test_a_connection_string_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    """Its text is not repeated: it lets anybody send."""
    monkeypatch.delenv("APPLICATIONINSIGHTS_CONNECTION_STRING", raising=False)
    settings = TelemetrySettings(exporter="azure-monitor", connection_string=given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="TELEMETRY__CONNECTION_STRING") as caught, insight(settings):
        raise AssertionError("it was taken")
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] == "true"

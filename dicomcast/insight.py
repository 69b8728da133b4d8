"""Traces and metrics for those who cannot scrape: sent to an OpenTelemetry collector, or to Azure Monitor.

Neither a container instance nor a CronJob can be asked for its metrics, so they are sent, and what is left at the end
too; for that there are a few seconds, and no more, also while nobody takes it. Without `TELEMETRY__EXPORTER` nothing of
OpenTelemetry is imported.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from dicomcast import __version__
from dicomcast.errors import ConfigError
from dicomcast.extras import extra
from dicomcast.metrics import observe
from dicomcast.settings import TelemetrySettings
from dicomcast.spans import SILENT, Spans
from dicomcast.vitals import Vitals

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["FLUSH", "Insight", "insight"]

_log = structlog.get_logger()

# In seconds: how long the end of a run waits for the last of it to be taken.
FLUSH = 5.0
# A collector that keeps an answer back must not outlast that by itself.
_TIMEOUT = 4
# The exporter would tell its maker how it fares, and ask it for advice: a hospital's network is no place for that.
_QUIET = "STATSBEAT_DISABLED_ALL SDKSTATS_DISABLED CONTROLPLANE_DISABLED OPENTELEMETRY_RESOURCE_METRIC_DISABLED".split()


class _Told(logging.Handler):
    """Says once that it does not get through: the libraries would say it each minute, with addresses and tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._told:
            self._told = True
            said = "traces and metrics do not get through; it is tried again, and not said again"
            _log.warning("telemetry.failed", reason=record.name, error=said)


class Insight:
    """What is sent away: `spans`, and the metrics of what it is to `watch`."""

    def __init__(self, spans: Spans = SILENT, meters: MeterProvider | None = None) -> None:
        self.spans = spans
        self._meters = meters

    def watch(self, vitals: Vitals) -> None:
        """Send these from now on."""
        if self._meters is not None:
            observe(self._meters.get_meter("dicomcast", __version__), vitals)


@contextmanager
def insight(settings: TelemetrySettings, *, flush: float = FLUSH) -> Iterator[Insight]:
    """Send traces and metrics while the context lasts, and what is left at its end, for `flush` seconds at most.

    Raises:
        ConfigError: the exporter is not installed, or cannot be set up.
    """
    if settings.exporter == "none":
        yield Insight()
        return
    told = _Told()
    for name in ("azure.monitor", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [told], False
        logger.setLevel(logging.WARNING)  # whatever the log wants of other libraries of theirs
    with extra(settings.exporter, f"TELEMETRY__EXPORTER={settings.exporter}"):
        spans, metrics = _otlp() if settings.exporter == "otlp" else _azure_monitor(settings)
    traces, meters = _providers(spans, metrics)
    from dicomcast.tracing import Tracing

    try:
        yield Insight(Tracing(traces.get_tracer("dicomcast", __version__)), meters)
    finally:
        _finish((traces.shutdown, meters.shutdown), flush)


def _otlp() -> tuple[SpanExporter, MetricExporter]:
    """Where to, and how, is told by the variables that OpenTelemetry has for it (OTEL_EXPORTER_OTLP_…)."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=_TIMEOUT), OTLPMetricExporter(timeout=_TIMEOUT)


def _azure_monitor(settings: TelemetrySettings) -> tuple[SpanExporter, MetricExporter]:
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

    for name in _QUIET:
        os.environ.setdefault(f"APPLICATIONINSIGHTS_{name}", "true")
    given = settings.connection_string
    # What cannot be sent now is not kept on the disk, which may be read-only, and is gone with a container.
    options = {
        "connection_string": given.get_secret_value() if given else None,
        "disable_offline_storage": True,
        "timeout": _TIMEOUT,
        "read_timeout": _TIMEOUT,
    }
    try:
        return AzureMonitorTraceExporter(**options), AzureMonitorMetricExporter(**options)
    except ValueError:  # Its text may have the connection string in it.
        raise ConfigError(
            "TELEMETRY__CONNECTION_STRING: this is not a connection string of Application Insights: "
            "InstrumentationKey=…;IngestionEndpoint=https://…"
        ) from None


def _providers(spans: SpanExporter, metrics: MetricExporter) -> tuple[TracerProvider, MeterProvider]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say has the last word.
    ours = Resource.create({"service.name": "dicomcast", "service.version": __version__})
    resource = ours.merge(OTELResourceDetector().detect())
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(spans))
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)], resource, shutdown_on_exit=False)
    return traces, meters


def _finish(ends: tuple[Callable[[], None], ...], patience: float) -> None:
    """End them side by side, in threads that nobody waits for any longer than that."""
    began = time.monotonic()
    threads = [threading.Thread(target=end, name="telemetry", daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, began + patience - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        _log.warning("telemetry.lost", error="what was measured last was not taken in time", seconds=patience)

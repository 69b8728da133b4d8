"""What the worker tells a monitoring system: OpenTelemetry instruments that read the vitals when asked.

The instruments and their exporter are the extra `prometheus`; without it nothing of this is imported. What is sent away
(`insight`) are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dicomcast.model import Outcome
from dicomcast.vitals import Backlog, Phase, Vitals

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client import CollectorRegistry

__all__ = ["INSTRUMENTS", "Metrics", "observe"]

# (value, attributes) pairs of an instrument; no attribute ever names a study or a patient.
Reading = Callable[[Vitals, datetime], Iterable[tuple[float, dict[str, str]]]]


def _one(read: Callable[[Vitals, datetime], float | None]) -> Reading:
    """One value, or none while it is not known: an alert on it should not take that for 0."""

    def readings(vitals: Vitals, now: datetime) -> list[tuple[float, dict[str, str]]]:
        value = read(vitals, now)
        return [] if value is None else [(value, {})]

    return readings


def _of_backlog(read: Callable[[Backlog, datetime], float | None]) -> Reading:
    return _one(lambda vitals, now: read(vitals.backlog, now) if vitals.backlog else None)


# Name, kind, unit, what it says, how it is read. docs/reference/metrics.md is made from this.
INSTRUMENTS: tuple[tuple[str, str, str, str, Reading], ...] = (
    ("dicomcast.lag.entries", "gauge", "", "Entries of the change feed that are not settled.",
     _of_backlog(lambda backlog, _: backlog.entries)),
    ("dicomcast.lag", "gauge", "s", "How far FHIR may be behind the archive; while a peer is away, how long ago the "
     "feed was last read.",
     _one(lambda vitals, now: vitals.lag_seconds(now))),
    ("dicomcast.polled", "gauge", "s", "When the feed was last read to its end (Unix time): it moves while the feed "
     "is silent, and stands still when the worker does.",
     _one(lambda vitals, _: vitals.polled_at.timestamp() if vitals.polled_at else None)),
    ("dicomcast.phase", "gauge", "", "1 for what the worker is at: starting, active, standby or blocked.",
     lambda vitals, _: [(float(vitals.phase is phase), {"phase": phase.value}) for phase in Phase]),
    ("dicomcast.peer.away", "gauge", "", "1 while a peer gives no usable answers; a refusal, of "
     "credentials too, is one.",
     lambda vitals, _: [(float(bool(one.trouble)), {"peer": one.peer}) for one in vitals.peers]),
    ("dicomcast.parked", "gauge", "", "Studies that could not be cast and will be tried again.",
     _of_backlog(lambda backlog, _: backlog.parked)),
    ("dicomcast.dead", "gauge", "", "Studies that will not be tried again until somebody asks for it.",
     _of_backlog(lambda backlog, _: backlog.dead)),
    ("dicomcast.parked.reasons", "gauge", "", "Studies that are parked or dead, by reason.",
     lambda vitals, _: [(count, {"reason": reason})
                        for reason, count in (vitals.backlog.reasons.items() if vitals.backlog else ())]),
    ("dicomcast.parked.oldest", "gauge", "s", "The age of the oldest study that is parked or dead.",
     _of_backlog(lambda backlog, now: backlog.oldest_seconds(now))),
    ("dicomcast.studies", "counter", "", "Studies cast, by outcome.",
     lambda vitals, _: [(vitals.report.outcomes[one], {"outcome": one.value}) for one in Outcome]),
    ("dicomcast.issues", "counter", "", "Studies cast with an issue in their data, by DICOM tag (or FHIR element) and "
     "by the rule that was broken; one that is cast again counts again.",
     lambda vitals, _: [(count, {"tag": tag, "rule": rule})
                        for (tag, rule), count in list(vitals.report.issues.items())]),
    ("dicomcast.windows", "counter", "", "Windows of the change feed settled.",
     _one(lambda vitals, _: vitals.windows)),
    ("dicomcast.lease.lost", "counter", "", "How often the lease was gone while it was at work: it was stopped or cut "
     "off for too long, or another worker took over.",
     _one(lambda vitals, _: vitals.leases_lost)),
    ("dicomcast.requests", "counter", "", "HTTP requests sent, by peer, retries included.",
     lambda vitals, _: [(one.requests, {"peer": one.peer}) for one in vitals.peers]),
    ("dicomcast.retries", "counter", "", "HTTP requests sent again, by peer.",
     lambda vitals, _: [(one.retries, {"peer": one.peer}) for one in vitals.peers]),
    ("dicomcast.requests.time", "counter", "s", "How long the answers to these requests took altogether, by peer.",
     lambda vitals, _: [(one.seconds, {"peer": one.peer}) for one in vitals.peers]),
)  # fmt: skip


def observe(meter: Meter, vitals: Vitals) -> None:
    """Make all instruments over `vitals`."""
    from opentelemetry.metrics import Observation

    create = {"gauge": meter.create_observable_gauge, "counter": meter.create_observable_counter}

    def callback(read: Reading) -> Any:
        return lambda _: [Observation(value, labels) for value, labels in read(vitals, datetime.now(UTC))]

    for name, kind, unit, description, read in INSTRUMENTS:
        create[kind](name, callbacks=[callback(read)], unit=unit, description=description)


class Metrics:
    """The instruments of one process, in the text format of Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    @classmethod
    def of(cls, vitals: Vitals) -> Metrics | None:
        """The instruments over `vitals`, None where the extra is not installed."""
        try:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from opentelemetry.sdk.metrics import MeterProvider
            from prometheus_client import CollectorRegistry
        except ImportError:
            return None
        registry = CollectorRegistry()
        reader = PrometheusMetricReader(True, scope_info_enabled=False, registry=registry)
        observe(MeterProvider(metric_readers=[reader], shutdown_on_exit=False).get_meter("dicomcast"), vitals)
        return cls(registry)

    @property
    def content_type(self) -> str:
        """The media type of the exposition."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return CONTENT_TYPE_LATEST

    def exposition(self) -> bytes:
        """All instruments as they are now."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

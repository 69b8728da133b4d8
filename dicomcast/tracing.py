"""Spans of OpenTelemetry, within the limits of law 5: an error tells its kind and reason, a request its server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dicomcast.spans import SILENT, Facts, Origin, Span, Spans

__all__ = ["Tracing"]

_W3C = TraceContextTextMapPropagator()


class Tracing(Spans):
    """Makes spans with a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self, name: str, facts: Facts, *, under: Origin | None = None, beside: Sequence[Origin | None] = ()
    ) -> Iterator[Span]:
        parent = trace.set_span_in_context(NonRecordingSpan(under)) if isinstance(under, SpanContext) else None
        links = [Link(one) for one in beside if isinstance(one, SpanContext)]
        with self._tracer.start_as_current_span(
            name, parent, attributes=facts, links=links, record_exception=False, set_status_on_exception=False
        ) as made:
            yield from _judged(made)

    def request(self, method: str, facts: Facts) -> AbstractContextManager[Span]:
        return SILENT.request(method, facts) if self.here is None else self._request(method, facts)

    @contextmanager
    def _request(self, method: str, facts: Facts) -> Iterator[Span]:
        known = {"http.request.method": method, **facts}
        with self._tracer.start_as_current_span(
            method, kind=SpanKind.CLIENT, attributes=known, record_exception=False, set_status_on_exception=False
        ) as made:
            yield from _judged(made)

    @property
    def here(self) -> Origin | None:
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    @property
    def headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        _W3C.inject(found)
        return found

    @property
    def ids(self) -> Mapping[str, str]:
        context = self.here
        if not isinstance(context, SpanContext):
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _judged(made: trace.Span) -> Iterator[Span]:
    span = _Made(made)
    try:
        yield span
    except BaseException as error:
        span.failed(error)
        raise


class _Made:
    """A span of OpenTelemetry, as the core knows it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def note(self, facts: Facts) -> None:
        self._span.set_attributes(facts)

    def failed(self, error: BaseException) -> None:
        self._span.set_status(StatusCode.ERROR)
        self._span.set_attribute("error.type", type(error).__name__)
        reason, status = getattr(error, "reason", None), getattr(error, "status", None)
        if isinstance(reason, str):
            self._span.set_attribute("dicomcast.reason", reason)
        if isinstance(status, int):
            self._span.set_attribute("http.response.status_code", status)

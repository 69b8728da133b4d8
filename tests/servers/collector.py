"""Who takes what is sent away: an OpenTelemetry collector and the ingestion of Azure Monitor, both over real HTTP."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dicomcast.demo.serve import serve

__all__ = ["Collector", "collecting"]


@dataclass
class Collector:
    """What arrived; `spans` and `metrics` of OTLP, `envelopes` of Azure Monitor, `bodies` of both as they came."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    metrics: dict[str, list[Any]] = field(default_factory=dict)
    resource: dict[str, str] = field(default_factory=dict)
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    async def traces(self, request: Request) -> Response:
        """POST /v1/traces, as protobuf."""
        for one in ExportTraceServiceRequest.FromString(await self._body(request)).resource_spans:
            self.resource = {item.key: item.value.string_value for item in one.resource.attributes}
            self.spans += [span for scope in one.scope_spans for span in scope.spans]
        return Response(media_type="application/x-protobuf")

    async def measures(self, request: Request) -> Response:
        """POST /v1/metrics, as protobuf; the last word on each counts."""
        for one in ExportMetricsServiceRequest.FromString(await self._body(request)).resource_metrics:
            for metric in (metric for scope in one.scope_metrics for metric in scope.metrics):
                points = metric.gauge if metric.HasField("gauge") else metric.sum
                self.metrics[metric.name] = list(points.data_points)
        return Response(media_type="application/x-protobuf")

    async def track(self, request: Request) -> Response:
        """POST /v2.1/track, as JSON or lines of it."""
        text = (await self._body(request)).decode()
        some = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        self.envelopes += some
        return JSONResponse({"itemsReceived": len(some), "itemsAccepted": len(some), "errors": []})

    async def _body(self, request: Request) -> bytes:
        body = await request.body()
        body = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
        self.bodies.append(body)
        self.paths.add(request.url.path)
        return body


@contextmanager
def collecting() -> Iterator[Collector]:
    """One on a port of its own."""
    collector = Collector()
    routes = [
        Route("/v1/traces", collector.traces, methods=["POST"]),
        Route("/v1/metrics", collector.measures, methods=["POST"]),
        Route("/v2.1/track", collector.track, methods=["POST"]),
        Route("/v2/track", collector.track, methods=["POST"]),
    ]
    with serve(Starlette(routes=routes)) as collector.url:
        yield collector

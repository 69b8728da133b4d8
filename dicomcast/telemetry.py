"""Logs: events with named fields on stderr, as JSON for machines or as text for people.

Only fields on the list get through: a list of what may be said cannot leak a patient, a list of what
may not would. The libraries below us log URLs, so only their warnings are heard.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from dicomcast.spans import SILENT, Spans

__all__ = ["configure", "whereabouts"]

_FIELDS = frozenset(
    "event level timestamp study outcome reason error sequence entries studies source version "
    "seconds parked created updated unchanged deleted skipped signal first last issues owner peer server "
    "settled left trace_id span_id".split()
)


def _allowed_only(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in event.items() if name in _FIELDS}


def configure(level: str = "info", form: str = "auto", spans: Spans = SILENT) -> None:
    """Set up logging for the process; `form` is `auto`, `json` or `console`, `spans` tell what a line belongs to."""

    def correlated(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(spans.ids)
        return event

    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            correlated,
            _allowed_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    # What is wrong with a value is told by the issues of the mapping, and pydicom would print the value.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    # What it warns of comes as an error too, once it has given up.
    logging.getLogger("azure").setLevel(logging.ERROR)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s", force=True)


def whereabouts(error: BaseException) -> str:
    """Where an error that nobody foresaw arose: its class and line, and not its text, which may tell of a patient."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" in {frame.tb_frame.f_globals.get('__name__', '?')}:{frame.tb_lineno}" if frame else ""
    return f"{type(error).__name__}{place}"

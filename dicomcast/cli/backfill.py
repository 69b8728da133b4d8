"""`backfill`: cast all that the archive holds, with a bar on a terminal."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import shutil
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import Annotated

import typer

from dicomcast import telemetry
from dicomcast.app import build
from dicomcast.backfill import Backfill
from dicomcast.cli.run import DryRun, MaxDuration, Strict, health_of, seconds, show
from dicomcast.durations import format_duration
from dicomcast.insight import Insight, insight
from dicomcast.model import Outcome
from dicomcast.parking import undropped
from dicomcast.progress import Progress
from dicomcast.settings import Settings, TelemetrySettings, load_settings
from dicomcast.worker import Job, Worker

__all__ = ["backfill"]

_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)/([smh])", re.ASCII)
_PER = {"s": 1, "m": 60, "h": 3600}
# The bar moves so often, in seconds, and is so long.
_MOVES, _LONG = 0.2, 20


def _rate(text: str) -> float:
    """Studies a second."""
    found = _RATE.fullmatch(text.strip().lower())
    rate = float(found[1]) / _PER[found[2]] if found else 0.0
    if not rate:
        raise typer.BadParameter("write studies a second, minute or hour, such as 10/s, 300/m or 5000/h")
    return rate


Rate = Annotated[
    float | None,
    typer.Option(parser=_rate, metavar="N/s", help="Cast no more than so many studies a second; also N/m and N/h."),
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what an interrupted backfill has settled.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end, for programs.")]


def backfill(
    rate: Rate = None,
    restart: Restart = False,
    max_duration: MaxDuration = None,
    dry_run: DryRun = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Cast every study that the archive holds, once, while the feed is followed too; then exit.

    For an archive whose feed does not reach back, and for a new FHIR server. Without a cursor, the feed is followed
    from its present end. What was interrupted goes on with the studies that are left. No other worker may be active.

    Example: dicomcast backfill --rate 10/s
    """
    if dry_run and as_json:
        raise typer.BadParameter("--dry-run prints bundles on stdout, and --json the result: choose one")
    settings = load_settings()
    gc.freeze()
    telemetry.configure(settings.log.level, settings.log.format)
    with insight(TelemetrySettings() if dry_run else settings.telemetry) as sent:
        telemetry.configure(settings.log.level, settings.log.format, sent.spans)
        done = asyncio.run(_work(settings, sent, rate, restart, seconds(max_duration), dry_run))
    if as_json:
        print(json.dumps(done.facts))
    dry = "dry run, nothing was written; a backfill would report: " if dry_run else ""
    print(f"dicomcast: {dry}{done}", file=sys.stderr)
    if strict and done.parked_now:
        raise typer.Exit(1)


class _Done:
    """What came of it, and of what the feed told meanwhile."""

    def __init__(self, work: Backfill, outcomes: Counter[Outcome], parked_now: int) -> None:
        self.complete = work.complete
        self.progress = work.progress
        self.live = outcomes - work.progress.outcomes
        self.parked_now = parked_now

    @property
    def facts(self) -> dict[str, object]:
        """For programs."""
        return {
            "complete": self.complete,
            "studies": self.progress.total,
            "settled_before": self.progress.before,
            "left": self.progress.left,
            **{outcome.value: self.progress.outcomes[outcome] for outcome in Outcome},
            "live": {outcome.value: self.live[outcome] for outcome in Outcome},
            "parked_now": self.parked_now,
        }

    def __str__(self) -> str:
        progress = self.progress
        before = f" ({progress.before} settled before)" if progress.before else ""
        if progress.total is None:
            said = f"the list of studies is not whole yet ({progress.listed} so far); the next backfill makes it anew"
        elif self.complete:
            said = f"all {progress.total} studies are settled{before}"
        else:
            said = f"{progress.left} of {progress.total} studies are left{before}; the next backfill goes on with them"
        now = f": {_counts(progress.outcomes)}" if progress.outcomes else ""
        live = f"; from the feed meanwhile: {_counts(self.live)}" if self.live else ""
        return f"{said}{now}{live}; {self.parked_now} parked now"


def _counts(outcomes: Counter[Outcome]) -> str:
    return ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome if outcomes[outcome])


async def _work(
    settings: Settings, sent: Insight, rate: float | None, restart: bool, limit: float | None, dry_run: bool
) -> _Done:
    bar = _Bar() if sys.stderr.isatty() else None
    async with build(settings, dry_run=show if dry_run else None, spans=sent.spans) as app:
        sent.watch(app.vitals)
        app.start = "latest"
        work = Backfill(
            app,
            rate=rate,
            restart=restart,
            lag=settings.dicom.safety_lag if settings.dicom.kind == "azure" else timedelta(0),
            concurrency=settings.worker.concurrency,
            tell=bar,
        )
        try:
            with health_of(app, None if dry_run else settings, optional=True):
                job = Job(once=False, limit=limit, backfill=work)
                report = await Worker(app, poll_interval=settings.worker.poll_interval).run(job)
        finally:
            if bar is not None:
                bar.wipe()
        parked = undropped(await app.store.parked(app.feed.source))
        return _Done(work, report.outcomes, len(parked))


class _Bar:
    """A line on a terminal, which is drawn over by whatever is said next."""

    def __init__(self) -> None:
        self._drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        """Draw it, unless it was drawn just now."""
        if time.monotonic() >= self._drawn + _MOVES:
            self._drawn = time.monotonic()
            self._draw(_line(progress)[: shutil.get_terminal_size().columns - 1])

    def wipe(self) -> None:
        """Leave the line empty."""
        self._draw("")

    def _draw(self, line: str) -> None:
        # The end of the line is wiped, and the next one to write begins at its begin.
        sys.stderr.write(f"\r{line}\x1b[K\r")
        sys.stderr.flush()


def _line(progress: Progress) -> str:
    if progress.total is None:
        return f"listing the archive: {progress.listed} studies so far"
    share = progress.settled / progress.total if progress.total else 1.0
    bar = ("#" * round(share * _LONG)).ljust(_LONG, "-")
    rate = f", {progress.rate:.3g}/s" if progress.rate else ""
    eta = f", {format_duration(progress.eta)} left" if progress.eta is not None else ""
    return f"backfill [{bar}] {progress.settled} of {progress.total} studies{rate}{eta}"

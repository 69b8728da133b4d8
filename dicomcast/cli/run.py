"""`run` and `replay`: follow the feed, or cast a part of it once more."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from dicomcast import telemetry
from dicomcast.app import App, build
from dicomcast.cli.uids import study_uid
from dicomcast.durations import parse_duration
from dicomcast.errors import ConfigError
from dicomcast.insight import Insight, insight
from dicomcast.parking import undropped
from dicomcast.settings import Settings, TelemetrySettings, load_settings
from dicomcast.vitals import Report
from dicomcast.worker import Job, Replay, Worker

__all__ = ["DryRun", "MaxDuration", "Strict", "health_of", "replay", "run", "seconds", "show"]


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ReplayFrom = Annotated[
    int | None, typer.Option(min=1, metavar="SEQ", help="Cast the entries from this sequence on once more.")
]
ReplayTo = Annotated[
    int | None, typer.Option(min=1, metavar="SEQ", help="… up to this sequence; to the end of the feed if left out.")
]
ReplayStudy = Annotated[
    list[str] | None,
    typer.Option(parser=study_uid, metavar="UID", help="Cast this study as it is now; repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the bundles, write nothing, move nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 if any study is parked at the end.")]
MaxDuration = Annotated[
    timedelta | None,
    typer.Option(
        parser=_duration,
        metavar="DURATION",
        help="End after so long, such as 4m, once the window in hand is settled.",
    ),
]


def run(
    once: Annotated[bool, typer.Option("--once", help="Settle the feed to its present end, then exit.")] = False,
    max_duration: MaxDuration = None,
    replay_from: ReplayFrom = None,
    replay_to: ReplayTo = None,
    replay_study: ReplayStudy = None,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> None:
    """Follow the change feed and keep FHIR in step with it.

    A replay goes first and never moves the cursor. A peer that is away is waited for: with --once for
    --max-duration, else for as long as it takes.

    Example: dicomcast run --once --max-duration 4m
    """
    wanted = _replay(replay_from, replay_to, replay_study)
    _run(Job(once or dry_run, wanted, True, seconds(max_duration)), dry_run=dry_run, strict=strict)


def replay(
    replay_from: ReplayFrom = None,
    replay_to: ReplayTo = None,
    replay_study: ReplayStudy = None,
    max_duration: MaxDuration = None,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> None:
    """Cast a stretch of the feed, or single studies, once more; then exit.

    Where a worker is active on the source, the studies are handed to it: it casts them at its next poll.

    Example: dicomcast replay --replay-from 1200 --replay-to 1300
    """
    wanted = _replay(replay_from, replay_to, replay_study)
    if not wanted:
        raise typer.BadParameter("say what to replay: --replay-from SEQ or --replay-study UID")
    _run(Job(True, wanted, False, seconds(max_duration)), dry_run=dry_run, strict=strict)


def _replay(first: int | None, last: int | None, studies: list[str] | None) -> Replay:
    if last is not None and (first is None or last < first):
        raise typer.BadParameter("--replay-to needs a --replay-from that is not behind it")
    return Replay(first, last, tuple(studies or ()))


def seconds(duration: timedelta | None) -> float | None:
    """A duration that was given, or none, for a `Job`."""
    return duration.total_seconds() if duration is not None else None


def _run(job: Job, *, dry_run: bool, strict: bool) -> None:
    settings = load_settings()
    gc.freeze()
    telemetry.configure(settings.log.level, settings.log.format)
    with insight(TelemetrySettings() if dry_run else settings.telemetry) as sent:
        telemetry.configure(settings.log.level, settings.log.format, sent.spans)
        if settings.moved:
            print(f"dicomcast: settings of DICOM Cast: {'; '.join(settings.moved)}", file=sys.stderr)
        report, parked, caught_up = asyncio.run(_work(settings, job, sent, dry_run=dry_run))
    told = str(report)
    if told == str(Report()) and not job.tail:
        told = "nothing was cast"
    elif told == str(Report()) and not caught_up:
        told = "ended before anything was settled; the next run goes on from the cursor"
    dry = "dry run, nothing was written; a run would report: " if dry_run else ""
    for uid in report.absent:
        print(f"dicomcast: study {uid} was skipped: {_whereabouts(settings)}", file=sys.stderr)
    print(f"dicomcast: {dry}{told}; {parked} parked now", file=sys.stderr)
    if strict and parked:
        raise typer.Exit(1)


def _whereabouts(settings: Settings) -> str:
    nowhere = "neither the archive nor FHIR holds it"
    skips = settings.patient.missing_id == "skip"
    return f"{nowhere}, or it has no PatientID (PATIENT__MISSING_ID=skip)" if skips else nowhere


async def _work(settings: Settings, job: Job, sent: Insight, *, dry_run: bool) -> tuple[Report, int, bool]:
    """What was done, how many studies are parked, and whether the feed was read to its end."""
    async with build(settings, dry_run=show if dry_run else None, spans=sent.spans) as app:
        sent.watch(app.vitals)
        served = settings if job.tail and not dry_run else None
        with health_of(app, served, optional=job.once):
            pace = settings.worker
            worker = Worker(app, poll_interval=pace.poll_interval, settle=pace.settle, settle_limit=pace.settle_limit)
            report = await worker.run(job)
        rows = undropped(await app.store.parked(app.feed.source))
        return report, len(rows), app.vitals.polled_at is not None


@contextmanager
def health_of(app: App, settings: Settings | None, *, optional: bool) -> Iterator[None]:
    """Answer on the health port if there is one; an `optional` one is passed over where it cannot be had."""
    with ExitStack() as stack:
        if settings is not None and settings.health.port is not None:
            from dicomcast.health import serve_health  # here, since a CronJob's runs have no port

            try:
                stack.enter_context(serve_health(app.vitals, settings.health.address, settings.health.port))
            except ConfigError:
                if not optional:  # Beside a worker in the same environment the port is that worker's.
                    raise
        yield


def show(bundle: bytes) -> None:
    """Print a bundle of a dry run."""
    try:
        sys.stdout.buffer.write(bundle + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # Who reads has seen enough, as `head` has after ten lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit from None

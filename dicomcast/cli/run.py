"""`run` and `replay`: follow the feed, or cast a part of it once more."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Annotated

import typer

from dicomcast import telemetry
from dicomcast.app import build
from dicomcast.durations import parse_duration
from dicomcast.settings import Settings, load_settings
from dicomcast.worker import Replay, Report, Worker

__all__ = ["replay", "run"]


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ReplayFrom = Annotated[int | None, typer.Option(min=1, help="Cast the entries from this sequence on once more.")]
ReplayTo = Annotated[int | None, typer.Option(min=1, help="… up to this sequence; to the end of the feed if left out.")]
ReplayStudy = Annotated[list[str] | None, typer.Option(metavar="UID", help="Cast this study as it is now; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the bundles, write nothing, move nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 if any study is parked at the end.")]
MaxDuration = Annotated[
    timedelta | None,
    typer.Option(parser=_duration, metavar="DURATION", help="With --once, how long to wait for a peer that is down."),
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

    A replay goes first and never moves the cursor.

    Example: dicomcast run --once --max-duration 4m
    """
    wanted = _replay(replay_from, replay_to, replay_study)
    _run(wanted, once=once or dry_run, tail=True, limit=max_duration, dry_run=dry_run, strict=strict)


def replay(
    replay_from: ReplayFrom = None,
    replay_to: ReplayTo = None,
    replay_study: ReplayStudy = None,
    max_duration: MaxDuration = None,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> None:
    """Cast a stretch of the feed, or single studies, once more; then exit.

    Example: dicomcast replay --replay-from 1200 --replay-to 1300
    """
    wanted = _replay(replay_from, replay_to, replay_study)
    if not wanted:
        raise typer.BadParameter("say what to replay: --replay-from SEQ or --replay-study UID")
    _run(wanted, once=True, tail=False, limit=max_duration, dry_run=dry_run, strict=strict)


def _replay(first: int | None, last: int | None, studies: list[str] | None) -> Replay:
    if last is not None and (first is None or last < first):
        raise typer.BadParameter("--replay-to needs a --replay-from that is not behind it")
    return Replay(first, last, tuple(studies or ()))


def _run(wanted: Replay, *, once: bool, tail: bool, limit: timedelta | None, dry_run: bool, strict: bool) -> None:
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)
    seconds = limit.total_seconds() if limit else None
    report, parked = asyncio.run(_work(settings, wanted, once=once, tail=tail, limit=seconds, dry_run=dry_run))
    print(f"dicomcast: {report}; {parked} parked", file=sys.stderr)
    if strict and parked:
        raise typer.Exit(1)


async def _work(
    settings: Settings, wanted: Replay, *, once: bool, tail: bool, limit: float | None, dry_run: bool
) -> tuple[Report, int]:
    async with build(settings, dry_run=_show if dry_run else None) as app:
        worker = Worker(app, poll_interval=settings.worker.poll_interval)
        report = await worker.run(once=once, replay=wanted, tail=tail, limit=limit)
        return report, len(await app.store.parked(app.feed.source))


def _show(bundle: bytes) -> None:
    sys.stdout.write(bundle.decode() + "\n")
